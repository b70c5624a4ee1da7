"""What was chosen for the whole installation, and how far its first run has come."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import addresses, i18n
from mailer.articles import shrinking
from mailer.delivery import servers
from mailer.issues import schedules
from mailer.models.accounts import Account
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.installation import Installation, Logo, SiteState
from mailer.newsroom import newsletters


class Step(enum.StrEnum):
    """The first run, in order."""

    SITE = "site"
    RHYTHM = "rhythm"
    SENDING = "sending"
    TEST = "test"


class Todo(enum.StrEnum):
    """What remains to be done after it."""

    NEWSLETTER = "newsletter"
    SERVER = "server"
    POSTAL = "postal"
    DNS = "dns"
    FORM = "form"
    IMPORT = "import"
    ISSUE = "issue"


# Fields of the publication, and the column of a newsletter that follows.
FOLLOWED: Final = {
    "language": "language",
    "publisher": "publisher",
    "postal_address": "postal_address",
    "contact_address": "reply_to",
    "brand_color": "brand_color",
    "logo_url": "logo_url",
    "logo_width": "logo_width",
}
LENGTHS: Final = {"name": 120, "publisher": 300, "postal_address": 300, "contact_address": 254}
# What holds where neither the row nor a newsletter says otherwise.
_NOTHING: Final[dict[str, object]] = {
    "name": "",
    "language": "en",
    "timezone": "UTC",
    "publisher": "",
    "postal_address": "",
    "contact_address": "",
    "brand_color": "#0F5C5C",
    "logo_url": None,
    "logo_width": 160,
}


class ChoiceInvalid(ValueError):
    """Something chosen can't be used; `errors` has a sentence for each field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


def of(session: Session) -> Installation:
    """Return what was chosen; before anything was, what holds then, which is not to be changed."""
    return session.get(Installation, 1) or Installation(
        id=1,
        site_url="",
        site_state=SiteState.NONE,
        site_found={},
        is_sandbox=False,
        steps={},
        dismissed=[],
        **_beginning(session),
    )


def lock(session: Session, *, now: datetime) -> Installation:
    """Return the row to be changed, making it at the first time; others wait until the transaction ends."""
    if session.get(Installation, 1) is None:
        first = insert(Installation).values(id=1, updated_at=now, **_beginning(session))
        session.execute(first.on_conflict_do_nothing())
    return session.execute(select(Installation).where(Installation.id == 1).with_for_update()).scalar_one()


def is_open(session: Session) -> bool:
    """Tell whether nobody has an account yet, so that a link may create the owner."""
    return not session.execute(select(exists().select_from(Account))).scalar_one()


def settle(session: Session, step: Step, how: str, *, now: datetime) -> None:
    """Note that a step is "done" or "skipped"; one that was done stays so."""
    row = lock(session, now=now)
    if row.steps.get(step) != "done":
        row.steps = {**row.steps, step.value: how}
        row.updated_at = now
        session.flush()


def next_step(row: Installation) -> Step | None:
    """Return the first step that is neither done nor skipped; None when the first run is over."""
    return next((step for step in Step if step.value not in row.steps), None)


def change(session: Session, values: Mapping[str, object], *, now: datetime) -> list[str]:
    """Change fields; newsletters that had the old value follow. Returns their names. Raises ChoiceInvalid."""
    errors = _errors(values)
    if errors:
        raise ChoiceInvalid(errors)
    row = lock(session, now=now)
    followers = set()
    for name, value in values.items():
        old = getattr(row, name)
        setattr(row, name, value)
        if value != old:
            followers |= _follow(session, name, old, value, now=now)
    row.updated_at = now
    session.flush()
    return sorted(followers)


def keep_logo(session: Session, made: shrinking.Shrunk, *, now: datetime) -> str:
    """Keep a logo, and return the path of its file."""
    file = made.files[0]
    values = {"width": file.width, "height": file.height, "kind": file.kind, "content": file.content}
    row = insert(Logo).values(digest=made.digest, created_at=now, **values)
    session.execute(row.on_conflict_do_nothing())
    return f"/img/{made.digest}/{file.width}.{file.kind}"


def logo_file(session: Session, digest: str, width: int, kind: str) -> bytes | None:
    """Return the file of a logo; None for an address that none has."""
    chosen = (Logo.digest == digest, Logo.width == width, Logo.kind == kind)
    return session.execute(select(Logo.content).where(*chosen)).scalar_one_or_none()


def newest_draft(session: Session) -> int | None:
    """Return the issue to try things with: the newest that has not been started; None if there is none."""
    states = (IssueState.DRAFT, IssueState.SCHEDULED)
    chosen = select(Issue.id).where(Issue.state.in_(states)).order_by(Issue.id.desc()).limit(1)
    return session.execute(chosen).scalar_one_or_none()


def remaining(session: Session) -> list[Todo]:
    """List what is still to be done, in order; what somebody called done is left out."""
    row = of(session)
    return [one for one in Todo if one.value not in row.dismissed and not _is_done(session, one)]


def dismiss(session: Session, todo: Todo, *, now: datetime) -> None:
    """Take something off the list for good."""
    row = lock(session, now=now)
    row.dismissed = list(dict.fromkeys([*row.dismissed, todo.value]))
    row.updated_at = now
    session.flush()


def is_site_waiting(session: Session, *, before: datetime) -> bool:
    """Tell whether a site was asked for before a moment, and nobody has read it yet."""
    waiting = (Installation.site_state.in_((SiteState.ASKED, SiteState.FOUND)), Installation.asked_at < before)
    return session.execute(select(Installation.id).where(*waiting)).scalar_one_or_none() is not None


def _beginning(session: Session) -> dict[str, object]:
    """Return what the oldest newsletter says of its publication, for an installation that is older than this page."""
    found = session.execute(select(Newsletter).order_by(Newsletter.id).limit(1)).scalar_one_or_none()
    if found is None:
        return dict(_NOTHING)
    followed = {name: getattr(found, column) or _NOTHING[name] for name, column in FOLLOWED.items()}
    return _NOTHING | followed | {"name": found.publisher, "timezone": found.timezone}


def _errors(values: Mapping[str, object]) -> dict[str, str]:
    errors = {}
    for name, most in LENGTHS.items():
        if len(str(values.get(name, ""))) > most:
            errors[name] = "This is too long"
    if values.get("contact_address"):
        try:
            addresses.normalise(str(values["contact_address"]))
        except addresses.AddressInvalid:
            errors["contact_address"] = "Enter a full address, like name@example.com"
    if values.get("language", "en") not in i18n.LANGUAGES:
        errors["language"] = "Choose one of the languages"
    if "timezone" in values:
        try:
            schedules.zone(str(values["timezone"]) or "?")
        except schedules.ScheduleInvalid:
            errors["timezone"] = "Enter a time zone such as Europe/Paris"
    return errors


def _follow(session: Session, name: str, old: object, value: object, *, now: datetime) -> set[str]:
    """Give the new value to the newsletters that had the old one, and return their names."""
    changed = set()
    for newsletter in newsletters.all_newsletters(session):
        if name == "timezone" and newsletter.timezone == old:
            cron = newsletter.cron
            newsletters.schedule(session, newsletter, cron=cron, timezone=str(value), now=now, since=now)
        elif name in FOLLOWED and (getattr(newsletter, FOLLOWED[name]) or "") == (old or ""):
            column = FOLLOWED[name]
            if value == "" and column in ("publisher", "postal_address"):
                continue
            newsletters.edit(session, newsletter, values={column: value or None}, now=now)
        else:
            continue
        changed.add(newsletter.name)
    return changed


def _is_done(session: Session, todo: Todo) -> bool:
    every = newsletters.all_newsletters(session)
    if todo == Todo.NEWSLETTER:
        return bool(every)
    if todo == Todo.SERVER:
        return bool(servers.routes(session)) and not servers.is_sandbox(session)
    if not every:
        return True
    if todo == Todo.POSTAL:
        return all(one.postal_address for one in every)
    if todo == Todo.FORM:
        return any(one.form_sites for one in every)
    if todo == Todo.IMPORT:
        confirmed = select(Subscription.id).where(Subscription.state == SubscriptionState.CONFIRMED).limit(1)
        return session.execute(confirmed).scalar_one_or_none() is not None
    if todo == Todo.ISSUE:
        sent = select(Issue.id).where(Issue.state == IssueState.SENT).limit(1)
        return session.execute(sent).scalar_one_or_none() is not None
    return False
