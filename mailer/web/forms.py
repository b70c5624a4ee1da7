"""What the sign-up form looks like and how it answers: as a page, in a frame on a publisher's site, or to its script."""

import enum
import functools
import hashlib
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mailer import addresses, i18n, links, settings
from mailer.articles import topics
from mailer.issues import schedules
from mailer.mail import brand
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.web import errors, faces, middleware, pages, public, rhythm

# A form that was shown longer ago is shown again.
STAMP_LIFETIME: Final = timedelta(days=1)
# The form's script on publishers' sites reads the answer; there is nothing in it that belongs to somebody.
FOR_EVERY_SITE: Final = {"Access-Control-Allow-Origin": "*", "Vary": "Accept"}
RETRY_SECONDS: Final = 600


class SignupForm(BaseModel):
    """What a form sends, ours or one on the publisher's site."""

    email: str = ""
    lang: str = ""
    source: str = ""
    rhythm: str = ""
    topic: list[str] = Field(default_factory=list)
    tracking: str = ""
    # When the form was shown, signed; one on the publisher's own page has none.
    t: str = ""
    # The address that a better one was suggested for.
    as_typed: str = ""
    # A solution of proof.challenge.
    altcha: str = ""
    # Sent from a frame, with the colour of its button.
    frame: str = ""
    color: str = ""
    # A field that people don't see and robots fill in.
    website: str = ""


class Age(enum.Enum):
    """What a form's stamp tells."""

    NONE = "none"
    TOO_SOON = "too soon"
    FRESH = "fresh"
    STALE = "stale"


class Questioned(Exception):
    """The form has to be shown again. The message is an English sentence of the catalogue."""

    def __init__(self, message: str, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A form of a newsletter, in a language, with what it is filled in with."""

    newsletter: Newsletter
    language: str
    typed: SignupForm
    source: str | None = None


def stamp(slug: str, *, now: datetime) -> str:
    """Make the mark that tells when a form was shown."""
    return links.sign_now(links.Purpose.FORM, _number(slug), now)


def age(typed: SignupForm, slug: str, *, now: datetime) -> Age:
    """Tell how long ago a form was shown; one with a changed stamp counts as stale."""
    if not typed.t:
        return Age.NONE
    try:
        token = links.read_fresh(links.Purpose.FORM, typed.t, lifetime=STAMP_LIFETIME, now=now)
    except (links.TokenInvalid, links.TokenExpired):
        return Age.STALE
    if token.id != _number(slug):
        return Age.STALE
    return Age.TOO_SOON if (now - token.issued_at).total_seconds() < settings.load().form_seconds else Age.FRESH


def show(
    request: Request, session: Session, filled: Filled, *, now: datetime, question: Questioned | None = None
) -> Response:
    """Show the form as a page or in a frame (R1), or what is wrong with what was typed (R1e)."""
    typed, newsletter = filled.typed, filled.newsletter
    if question and wants_json(request):
        return _told(filled, 422, "suggestion" if question.suggestion else "invalid", question.message, question)
    response = pages.render(
        request,
        "frame" if typed.frame else "form",
        language=filled.language,
        status=422 if question else 200,
        promise=rhythm.promise(filled.language, public.schedule_of(newsletter)),
        latest_issue=public.latest_issue_path(session, newsletter),
        is_sent=False,
        notice=None,
        here=_here(filled),
        is_public=question is None and not typed.frame,
        **values(session, filled, now=now, question=question),
    )
    return _with_policy(response, filled)


def values(session: Session, filled: Filled, *, now: datetime, question: Questioned | None = None) -> dict[str, object]:
    """Return what a page needs that holds the form itself (_signup.html)."""
    typed, newsletter = filled.typed, filled.newsletter
    return {
        "newsletter": _publication(filled),
        "email": typed.email[: addresses.MAX_LENGTH],
        "carried": _carried(filled, shown_at=_shown_at(typed, now=now, is_new=question is None)),
        "topics": _topics(session, filled) if newsletter.asks_topics else [],
        "rhythms": _rhythms(filled, now=now) if newsletter.asks_rhythm else [],
        "error": None if question is None or question.suggestion else question.message,
        "suggestion": question.suggestion if question else None,
        "offers_tracking": newsletter.tracks_readers,
        "is_tracked": bool(typed.tracking),
        "has_proof": settings.load().proof_of_work,
    }


def with_proof(response: Response) -> Response:
    """Let a page that holds the form run the script that calculates, if the form asks for it."""
    response.headers["Content-Security-Policy"] = _policy()
    return response


def thank(request: Request, filled: Filled) -> Response:
    """Lead to what happens next (R2). The same for every address, whatever became of it."""
    if wants_json(request):
        sentence = (
            "We’ve sent a message to the address that you entered. "
            "Open it and press the button to start getting the newsletter."
        )
        return _told(filled, 202, "check_inbox", sentence)
    if filled.typed.frame:
        return RedirectResponse(_here(filled, "/embed/sent", lang=filled.language), status_code=303)
    return RedirectResponse("/check-inbox", status_code=303)


def sent(request: Request, filled: Filled) -> Response:
    """Tell in a frame what happens next."""
    return _notice(request, filled, "", status=200, is_sent=True)


def too_many(request: Request, filled: Filled) -> Response:
    """Ask a network to wait (R17); the address has no part in it."""
    title, advice = errors.MESSAGES[429]
    if wants_json(request):
        response = _told(filled, 429, "too_many", title)
    elif filled.typed.frame:
        response = _notice(request, filled, title, status=429, is_sent=False)
    else:
        told = {"title": title, "advice": advice, "incident": None, "here": None}
        publication = _publication(filled)
        response = pages.render(request, "error", language=filled.language, status=429, newsletter=publication, **told)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def wants_json(request: Request) -> bool:
    """Tell whether the form's script asks, and not a browser's own form."""
    return "application/json" in request.headers.get("accept", "")


def offered_rhythms(newsletter: Newsletter, *, now: datetime) -> list[Rhythm]:
    """Return the rhythms that differ from the newsletter's own; only its own if issues leave once a month."""
    gap = timedelta(days=1)
    if newsletter.cron is not None:
        slots = schedules.next_slots(newsletter.cron, newsletter.timezone, after=now, count=6)
        gap = min(later - earlier for earlier, later in itertools.pairwise(slots))
    lengths = {Rhythm.DAILY: timedelta(hours=23), Rhythm.WEEKLY: timedelta(days=6), Rhythm.MONTHLY: timedelta(days=27)}
    return [Rhythm.EACH, *(one for one, length in lengths.items() if gap < length)]


def frame_policy(newsletter: Newsletter) -> str:
    """Return the content security policy of the form in a frame: which sites may show it."""
    sites = " ".join(["'self'", *newsletter.form_sites]) if newsletter.form_sites else "*"
    return _policy().replace("frame-ancestors 'none'", f"frame-ancestors {sites}")


def _policy() -> str:
    scripts = "; script-src 'self'; connect-src 'self'" if settings.load().proof_of_work else ""
    return middleware.CONTENT_SECURITY_POLICY + scripts


def _with_policy(response: Response, filled: Filled) -> Response:
    if not filled.typed.frame:
        return with_proof(response)
    response.headers["Content-Security-Policy"] = frame_policy(filled.newsletter)
    return response


def _notice(request: Request, filled: Filled, notice: str, *, status: int, is_sent: bool) -> Response:
    response = pages.render(
        request,
        "frame",
        language=filled.language,
        status=status,
        newsletter=_publication(filled),
        notice=notice,
        is_sent=is_sent,
        error=None,
        suggestion=None,
        has_proof=False,
        here=None,
    )
    return _with_policy(response, filled)


def _told(filled: Filled, status: int, word: str, message: str, question: Questioned | None = None) -> Response:
    told = {"status": word, "message": i18n.gettext(filled.language, message)}
    if question and question.suggestion:
        told |= {"message": _did_you_mean(filled.language, question.suggestion), "suggestion": question.suggestion}
    return JSONResponse(told, status_code=status, headers=FOR_EVERY_SITE)


def _did_you_mean(language: str, address: str) -> str:
    return i18n.gettext(language, "Did you mean {address}?", address=address)


def _publication(filled: Filled) -> faces.Publication:
    made = faces.publication(filled.newsletter)
    color = _color(filled.typed)
    if not color:
        return made
    chosen = brand.palette(f"#{color}")
    return faces.recolored(made, chosen)


def _color(typed: SignupForm) -> str:
    is_color = len(typed.color) == 6 and all(one in "0123456789abcdefABCDEF" for one in typed.color)
    return typed.color.upper() if is_color and typed.frame else ""


def _here(filled: Filled, path: str = "", **query: str) -> str:
    typed = filled.typed
    if typed.frame:
        query |= {"color": _color(typed)} if _color(typed) else {}
        path = path or "/embed"
    return f"/{filled.newsletter.slug}{path}" + (f"?{urlencode(query)}" if query else "")


def _carried(filled: Filled, *, shown_at: datetime) -> list[tuple[str, str]]:
    """Return what the form carries unseen; with what was chosen, for the button that only corrects the address."""
    typed = filled.typed
    fields = {
        "lang": filled.language,
        "t": stamp(filled.newsletter.slug, now=shown_at),
        "source": filled.source or "",
        "frame": "yes" if typed.frame else "",
        "color": _color(typed),
        "tracking": "yes" if typed.tracking else "",
        "rhythm": typed.rhythm if typed.rhythm in tuple(Rhythm) else "",
    }
    return [*((name, value) for name, value in fields.items() if value), *(("topic", one) for one in typed.topic[:50])]


def _topics(session: Session, filled: Filled) -> list[tuple[str, str, bool]]:
    ticked = filled.typed.topic
    known = topics.of(session, filled.newsletter.id)
    return [(one.slug, topics.name(one, filled.language), not ticked or one.slug in ticked) for one in known]


def _rhythms(filled: Filled, *, now: datetime) -> list[tuple[str, str, bool]]:
    offered = offered_rhythms(filled.newsletter, now=now)
    chosen = filled.typed.rhythm if filled.typed.rhythm in offered else Rhythm.EACH
    if len(offered) == 1:
        return []
    return [(one.value, rhythm.choice(filled.language, one), one == chosen) for one in offered]


def _shown_at(typed: SignupForm, *, now: datetime, is_new: bool) -> datetime:
    """Nobody needs two seconds for a form that is filled in already."""
    is_filled = bool(typed.email) or not is_new
    return now - timedelta(seconds=settings.load().form_seconds + 1) if is_filled else now


@functools.lru_cache(maxsize=256)
def _number(slug: str) -> int:
    return int.from_bytes(hashlib.blake2b(slug.encode(), digest_size=8).digest(), "big")
