"""The gate that every issue passes before it leaves: each of its mails is made as a reader would get it, and checked.

What blocks holds the issue back, unless an editor let it pass for this issue. The checks themselves are in checks/.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer import links, settings
from mailer.articles import pictures
from mailer.delivery import copies
from mailer.issues import checks, findings, variants
from mailer.issues.checks import reach
from mailer.issues.checks.mail import Facts, parse
from mailer.issues.contents import Placed
from mailer.issues.findings import Code, Finding
from mailer.mail import mails
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import Issue, Newsletter, Variant


class ChecksFailed(Exception):
    """The checks found what blocks; `findings` are all that was found."""

    def __init__(self, found: Collection[Finding]) -> None:
        self.findings = list(found)
        words = "; ".join(f"{one.where}: {one.words}" for one in findings.blocking(self.findings))
        super().__init__(f"The checks before sending found: {words}")


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A mail as one group of readers would get it, and what it should hold."""

    language: str
    content: bytes
    facts: Facts


def check_stored(
    session: Session,
    issue: Issue,
    answers: Mapping[str, reach.Answer] | None,
    *,
    only: Collection[int] | None = None,
) -> list[Finding]:
    """Check the stored variants of an issue (those of `only`), the largest of each language, and return what was found.

    Raises ChecksFailed for what blocks. `answers`: see checks.run.
    """
    statement = select(Variant.language, Variant.id).where(Variant.issue_id == issue.id)
    if only is not None:
        statement = statement.where(Variant.id.in_(only))
    smallest_first = session.execute(statement.order_by(func.length(Variant.html), Variant.id.desc()))
    largest = {row[0]: row[1] for row in smallest_first}
    found = inspect([_specimen(session, issue, one) for one in largest.values()], answers)
    if findings.blocking(found):
        raise ChecksFailed(found)
    return found


def specimens(session: Session, issue: Issue, placed: Placed, *, now: datetime) -> list[Specimen]:
    """Make the mails of an issue that has not started, in each language of its newsletter; nothing of it is stored.

    Raises TemplateInvalid or InliningFailed.
    """
    content = variants.edition(session, issue, placed)
    newsletter = issue.newsletter
    trial = session.begin_nested()
    try:
        made = [
            mails.issue_variant(session, newsletter, issue, content, language, now=now).id
            for language in _languages(session, newsletter)
        ]
        return [_specimen(session, issue, one) for one in made]
    finally:
        trial.rollback()


def inspect(made: Iterable[Specimen], answers: Mapping[str, reach.Answer] | None) -> list[Finding]:
    """Check mails, and return each finding once; where there are several languages, `where` tells which one.

    Only computes. `answers`: see checks.run.
    """
    every = list(made)
    found: dict[tuple[Code, str, str], Finding] = {}
    for specimen in every:
        for one in checks.run(specimen.content, specimen.facts, answers):
            where = f"{one.where}, {specimen.language}" if len(every) > 1 else one.where
            seen = Finding(code=one.code, severity=one.severity, where=where, values=one.values)
            found.setdefault((seen.code, seen.where, seen.words), seen)
    return sorted(found.values(), key=lambda one: one.severity != findings.Severity.BLOCK)


def look(session: Session, issue: Issue, placed: Placed, *, now: datetime) -> list[Finding]:
    """Check the mails of an issue now; about links and pictures, say what they answered last. Asks no network.

    Raises TemplateInvalid or InliningFailed.
    """
    answered = [one for one in of_issue(issue) if one.code in findings.ASKED]
    # What pictures weigh is known in part without asking; what was asked knows more.
    known = {one.code for one in answered}
    found = inspect(specimens(session, issue, placed, now=now), None)
    return [*(one for one in found if one.code not in known), *answered]


def ask(made: Iterable[Specimen]) -> dict[str, reach.Answer] | None:
    """Ask all links and pictures of mails but our own, which are not there yet. Talks to the network; None if not allowed."""
    asked: tuple[list[str], list[str]] = ([], [])
    for specimen in made:
        for several, found in zip(asked, checks.addresses(parse(specimen.content)), strict=True):
            several.extend(found)
    return ask_addresses(*asked)


def ask_addresses(asked_links: Iterable[str], pictures: Iterable[str]) -> dict[str, reach.Answer] | None:
    """Ask these addresses, our own left out. Talks to the network; None if the settings do not allow it."""
    chosen = settings.load()
    if not chosen.check_links:
        return None
    own = links.url("/")
    foreign = ([one for one in several if not one.startswith(own)] for several in (asked_links, pictures))
    return reach.ask(*foreign, private_networks=chosen.feed_private_networks)


def of_issue(issue: Issue) -> list[Finding]:
    """Return what was found last about an issue; codes of another version of ours are left out."""
    kept = []
    for one in issue.findings:
        values = one.get("values")
        if one.get("code") in tuple(Code) and isinstance(values, dict):
            severity = findings.Severity(str(one["severity"]))
            said = {name: findings.value_of(value) for name, value in values.items()}
            kept.append(Finding(code=Code(str(one["code"])), severity=severity, where=str(one["where"]), values=said))
    return kept


def _languages(session: Session, newsletter: Newsletter) -> list[str]:
    """List the newsletter's own language first, then the others that have readers."""
    others = session.execute(
        select(Subscription.language)
        .where(Subscription.newsletter_id == newsletter.id, Subscription.state == SubscriptionState.CONFIRMED)
        .where(Subscription.language != newsletter.language)
        .distinct()
    ).scalars()
    return [newsletter.language, *sorted(others)]


def _specimen(session: Session, issue: Issue, variant_id: int) -> Specimen:
    variant = session.get_one(Variant, variant_id)
    example = copies.example(session, variant_id)
    return Specimen(
        language=variant.language,
        content=example.content,
        facts=_facts(session, issue, example),
    )


def _facts(session: Session, issue: Issue, example: copies.Example) -> Facts:
    newsletter = session.get_one(Newsletter, issue.newsletter_id)
    return Facts(
        address=example.address,
        unsubscribe_url=example.unsubscribe_url,
        postal_address=newsletter.postal_address,
        preview_text=issue.preview_text,
        own_pictures={links.url(path): size for path, size in pictures.weights(session, issue.id).items()},
        blocking=settings.load().blocking - {Code(one) for one in issue.allowed_findings if one in tuple(Code)},
    )
