"""The link by which an installation without accounts gets its owner."""

from mailer import clock, links
from mailer.cli import output
from mailer.db import transaction
from mailer.newsroom import installation


def link() -> None:
    """Print the link by which an installation without accounts gets its owner; it works for one hour.

    Example:

      mailer user link
    """
    found = setup_link()
    if found is None:
        output.fail(
            "There is an account already, so nobody can become its owner by a link. "
            "For a lost password: mailer user sign-in-link ADDRESS",
            output.STATE_FORBIDS,
        )
    output.emit({"setup_link": found}, text=found or "")


def setup_link() -> str | None:
    """Make that link; None once somebody has an account. Reads the database."""
    with transaction() as session:
        if not installation.is_open(session):
            return None
    return links.url(f"/admin/setup/{links.sign_now(links.Purpose.SETUP, 0, clock.now())}")
