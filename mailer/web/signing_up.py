"""From the form to "check your inbox". The answer never tells whether an address is known: nothing here looks."""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mailer import addresses, clock, i18n, settings
from mailer.audience import abuse, proof, signups, typos
from mailer.audience.abuse import Verdict
from mailer.db import transaction
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters
from mailer.web import collecting, dependencies, faces, forms, pages, public
from mailer.web.forms import Age, Filled, Questioned, SignupForm

router = APIRouter()
# What comes by the thousand; the first of all routers, since each one before it costs time.
hot = APIRouter()

# Which wording a reader agreed to, in the consent log. Raise it when the words of the form change (a test tells).
FORM_VERSION: Final = "1"
_SOURCE: Final = re.compile(r"[\w.:/-]{1,100}")


@router.api_route("/check-inbox", methods=["GET", "HEAD"])
def check_inbox(request: Request) -> Response:
    """Tell what happens next (R2). The address is the one that this browser typed a moment ago."""
    typed = dependencies.remembered_signup(request, lifetime=dependencies.TYPED_LIFETIME, now=clock.now())
    newsletter = None
    if typed is not None:
        with transaction() as session:
            try:
                newsletter = faces.publication(newsletters.get(session, typed.slug))
            except newsletters.NewsletterNotFound:
                typed = None
    language = dependencies.language(request, typed.language if typed else None)
    address = typed.address if typed else None
    return pages.render(request, "check_inbox", language=language, newsletter=newsletter, address=address)


@router.api_route("/s/{slug}", methods=["GET", "HEAD"])
def back_to_form(request: Request, slug: str) -> Response:
    """Lead somebody who reloads the page of an error back to the form."""
    with transaction() as session:
        newsletter = public.find(session, slug)
    query = f"?lang={chosen}" if (chosen := dependencies.chosen_language(request)) else ""
    return RedirectResponse(f"/{newsletter.slug}{query}", status_code=303)


@router.api_route("/s/{slug}/stamp", methods=["GET", "HEAD"])
def stamp(slug: str) -> Response:
    """Give the form's script on a publisher's page what our own pages carry: a stamp, and what to calculate if anything."""
    now = clock.now()
    work = proof.challenge(now=now) if settings.load().proof_of_work else None
    return JSONResponse({"t": forms.stamp(slug, now=now), "work": work}, headers=forms.FOR_EVERY_SITE)


@hot.post("/s/{slug}")
def subscribe(request: Request, slug: str, typed: Annotated[SignupForm, Form()]) -> Response:
    """Take what somebody typed (R1e, R2)."""
    now, collector = clock.now(), collecting.of(request)
    known = collector.find(slug)
    filled = _filled(request, known.newsletter, typed)
    try:
        asked, verdict = _judge(request, filled, known.topics, now=now)
    except Questioned as question:
        with transaction() as session:
            return forms.show(request, session, filled, now=now, question=question)
    if verdict == Verdict.NETWORK:
        return forms.too_many(request, filled)
    if verdict == Verdict.TAKEN:
        version = f"page-{FORM_VERSION}/{filled.language}"
        origin = dependencies.origin(request, source=filled.source, form_version=version)
        entry = signups.Entry(newsletter_id=known.newsletter.id, asked=asked, origin=origin, at=now)
        request_id = collector.store(entry)
    else:
        with transaction() as session:
            request_id = signups.blank(session)
    response = forms.thank(request, filled)
    seen = dependencies.Signup(request_id=request_id, at=now, slug=slug, language=asked.language, address=asked.address)
    dependencies.remember_signup(response, seen)
    return response


@router.api_route("/{slug}/embed", methods=["GET", "HEAD"])
def frame(request: Request, slug: str, email: str = "", source: str = "", color: str = "") -> Response:
    """Show the form alone, for a frame on the publisher's site."""
    with transaction() as session:
        typed = SignupForm(email=email, source=source, color=color, frame="yes")
        return forms.show(request, session, _filled(request, public.find(session, slug), typed), now=clock.now())


@router.api_route("/{slug}/embed/sent", methods=["GET", "HEAD"])
def sent(request: Request, slug: str, color: str = "") -> Response:
    """Tell in the frame what happens next."""
    with transaction() as session:
        newsletter = public.find(session, slug)
    return forms.sent(request, _filled(request, newsletter, SignupForm(color=color, frame="yes")))


@router.api_route("/{slug}", methods=["GET", "HEAD"])
def form(request: Request, slug: str, email: str = "", source: str = "") -> Response:
    """Show the sign-up form (R1). ?email= fills it in, ?source= says where the link stood."""
    with transaction() as session:
        typed = SignupForm(email=email, source=source)
        return forms.show(request, session, _filled(request, public.find(session, slug), typed), now=clock.now())


def _filled(request: Request, newsletter: Newsletter, typed: SignupForm) -> Filled:
    spoken = [typed.lang] if typed.lang in i18n.LANGUAGES else []
    language = dependencies.language(request, *spoken, newsletter.language)
    source = typed.source if _SOURCE.fullmatch(typed.source) else None
    return Filled(newsletter=newsletter, language=language, typed=typed, source=source)


def _judge(request: Request, filled: Filled, known: Collection[str], *, now: datetime) -> tuple[signups.Asked, Verdict]:
    """Tell what was asked for and whether it is taken. Raises Questioned if somebody has to look at the form again."""
    typed = filled.typed
    try:
        address = addresses.normalise(typed.email)
    except addresses.AddressInvalid:
        is_empty = not typed.email.strip()
        message = "Enter your email address" if is_empty else "Enter a full address, like name@example.com"
        raise Questioned(message) from None
    asked = _asked(filled, known, address)
    shown = forms.age(typed, filled.newsletter.slug, now=now)
    if typed.website or shown == Age.TOO_SOON:
        return asked, Verdict.ALL
    if shown == Age.STALE:
        raise Questioned("This page was open for a long time. Check your address and send it again.")
    if settings.load().proof_of_work and not proof.is_valid(typed.altcha, now=now):
        raise Questioned("Your browser has to calculate for a second, which keeps robots out. Send the form again.")
    meant = typos.suggestion(address)
    if meant is not None and typed.as_typed.strip() != typed.email.strip():
        raise Questioned("Did you mean {address}?", suggestion=meant)
    network = dependencies.origin(request).network
    return asked, abuse.weigh(address, network, is_stamped=shown == Age.FRESH, now=now)


def _asked(filled: Filled, known: Collection[str], address: str) -> signups.Asked:
    newsletter, typed = filled.newsletter, filled.typed
    chosen: tuple[str, ...] = ()
    if newsletter.asks_topics and typed.topic:
        ticked = set(known).intersection(typed.topic)
        chosen = () if len(ticked) == len(known) else tuple(sorted(ticked))
    is_rhythm = newsletter.asks_rhythm and typed.rhythm in tuple(Rhythm)
    wanted = Rhythm(typed.rhythm) if is_rhythm else Rhythm.EACH
    return signups.Asked(
        address=address,
        language=filled.language,
        topics=chosen,
        rhythm=wanted,
        agrees_to_tracking=newsletter.tracks_readers and bool(typed.tracking),
    )
