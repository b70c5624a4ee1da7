"""What the checks before sending find in an issue, in the words of the newsroom's language."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from mailer import i18n
from mailer.issues import findings, gate
from mailer.issues.contents import Placed
from mailer.issues.findings import Finding, Phrase, Value
from mailer.mail import inlining, rendering
from mailer.models.content import Issue
from mailer.web import pages
from mailer.web.admin.session import Desk

# The parts of a mail, as findings name them.
PLACES: Final = {
    "html": "HTML",
    "text": "Plain text",
    "subject": "Subject",
    "from": "Sender",
    "headers": "Headers",
    "message": "Message",
    "newsletter": "Settings",
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found; or `problem`, in English, when the mail can't even be made."""

    findings: Collection[Finding] = ()
    problem: str | None = None

    @property
    def blocking(self) -> list[Finding]:
        """Those that hold the issue back."""
        return findings.blocking(self.findings)


def look(database: Session, issue: Issue, placed: Placed, desk: Desk) -> Seen:
    """Check the mails of an issue now; about links and pictures, say what they answered last. Asks no network."""
    try:
        return Seen(findings=gate.look(database, issue, placed, now=desk.now))
    except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
        return Seen(problem=str(error))


def words(language: str, finding: Finding) -> str:
    """Say a finding in the language."""
    return _said(language, Phrase(sentence=findings.SENTENCES[finding.code], values=finding.values))


def place(language: str, finding: Finding) -> str:
    """Say where in the mail it was found, such as "HTML, Français"."""
    part, _, version = finding.where.partition(", ")
    said = i18n.gettext(language, PLACES[part]) if part in PLACES else part
    return f"{said}, {pages.LANGUAGE_NAMES.get(version, version)}" if version else said


def values(desk: Desk, seen: Seen) -> dict[str, object]:
    """Return what pages show of it."""
    return {
        "seen": seen,
        "finding_words": functools.partial(words, desk.language),
        "finding_place": functools.partial(place, desk.language),
        "asked": findings.ASKED,
    }


def _said(language: str, value: Value) -> str:
    if isinstance(value, Phrase):
        return i18n.gettext(
            language, value.sentence, **{name: _said(language, one) for name, one in value.values.items()}
        )
    return value if isinstance(value, str) else i18n.format_number(language, value)
