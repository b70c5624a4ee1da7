"""Mails that answer a form say so in a header, by which mail servers find floods of them; no reader's address is in it."""

from datetime import timedelta

import pytest

from mailer import clock
from mailer.audience import moves, readers, signups
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.newsroom import newsletters
from tests.conftest import DkimKeys, SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article
from tests.factories import readers as some_readers


@pytest.fixture
def courrier(installation: SmtpInbox) -> None:
    """A newsletter with the reader r0@example.org."""
    with transaction() as session:
        some_readers(session, a_newsletter(session), 1)


def sign_up(address: str, network: str | None) -> None:
    now = clock.now()
    with transaction() as session:
        origin = Origin(network=network)
        request_id = a_signup(session, newsletters.get(session, "courrier"), address, origin=origin, now=now)
        signups.handle(session, request_id, now=now)


@pytest.mark.parametrize(
    ("network", "header"),
    [
        ("192.0.2.0/24", "v=1;ip=192.0.2.0"),
        ("2001:db8:1::/48", "v=1;ip=2001:db8:1::"),
        (None, "v=1"),
    ],
)
@pytest.mark.parametrize("address", ["lea@example.org", "r0@example.org"])
def test_what_answers_the_form_names_its_network(
    courrier: None, installation: SmtpInbox, address: str, network: str | None, header: str
) -> None:
    sign_up(address, network)
    sending.send_due(budget_seconds=5)
    (mail,) = installation.messages
    assert mail.email.get_all("Form-Sub") == [header]


def test_the_last_form_counts(courrier: None, installation: SmtpInbox) -> None:
    for network in ("192.0.2.0/24", "198.51.100.0/24"):
        sign_up("lea@example.org", network)
    sending.send_due(budget_seconds=5)
    assert [one.email["Form-Sub"] for one in installation.messages] == ["v=1;ip=198.51.100.0"]


def test_other_mails_that_a_form_causes_have_it_without_a_network(courrier: None, installation: SmtpInbox) -> None:
    now = clock.now()
    with transaction() as session:
        readers.send_link(session, readers.request_link(session, "r0@example.org", now=now), now=now)
        moves.ask(session, 1, "new@example.net", now=now)
    sending.send_due(budget_seconds=5)
    assert [one.email["Form-Sub"] for one in installation.messages] == ["v=1", "v=1"]


def test_issues_do_not_have_it(courrier: None, installation: SmtpInbox) -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        issues.start(session, issues.draft(session, newsletter, now=now), batch_size=10, now=now)
    sending.send_due(budget_seconds=5)
    (mail,) = installation.messages
    assert "Form-Sub" not in mail.email


def test_it_is_signed(courrier: None, dkim_keys: DkimKeys, installation: SmtpInbox) -> None:
    sign_up("lea@example.org", "192.0.2.0/24")
    sending.send_due(budget_seconds=5)
    (mail,) = installation.messages
    signed = [one.replace("\n", "").replace(" ", "").lower() for one in mail.email.get_all("DKIM-Signature")]
    assert len(signed) == len(dkim_keys)
    assert all(":form-sub:" in one for one in signed)
