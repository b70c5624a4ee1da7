"""What pages ask of a request: its language, where it comes from, and the sign-up that this browser made."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from mailer import i18n, links, settings
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin

# The only cookie of readers' pages.
SIGNUP_COOKIE: Final = "mailer_signup"
# How long "check your inbox" shows the address that this browser typed.
TYPED_LIFETIME: Final = timedelta(hours=1)
# How long the browser that filled in the form confirms without a button (same-browser rule).
SAME_BROWSER_LIFETIME: Final = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Signup:
    """What a browser typed into the form: of a newsletter by its slug, with the form's language."""

    request_id: int
    at: datetime
    slug: str
    language: str
    address: str


def chosen_language(request: HTTPConnection) -> str | None:
    """Return the language that the address asks for by ?lang=; None if it asks for none that we speak."""
    asked = request.query_params.get("lang")
    return asked if asked in i18n.LANGUAGES else None


def language(request: HTTPConnection, *known: str | None) -> str:
    """Choose a page's language: ?lang=, else the `known` ones in order (the reader's, the newsletter's), else the browser's."""
    return i18n.choose(chosen_language(request), *known, *_accepted(request.headers.get("accept-language", "")))


def desk_language(request: HTTPConnection) -> str:
    """Choose the language of a page of the newsroom's where nobody is signed in: ?lang=, else the browser's."""
    wanted = (chosen_language(request), *_accepted(request.headers.get("accept-language", "")))
    return i18n.choose(*wanted, among=i18n.DESK_LANGUAGES)


def origin(request: HTTPConnection, *, source: str | None = None, form_version: str | None = None) -> Origin:
    """Say where an act came from, for the consent log: only the client's network is kept."""
    network = subscriptions.truncate(client_host(request))
    return Origin(source=source, form_version=form_version, network=network)


def client_host(request: HTTPConnection) -> str | None:
    """Return the client's IP address. X-Forwarded-For is believed only as far as trusted proxies wrote it."""
    host = request.client.host if request.client else None
    forwarded = [part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    while host and forwarded and forwarded[-1] and _is_trusted(host):
        host = forwarded.pop()
    return host


def remember_signup(response: Response, signup: Signup) -> None:
    """Let this browser be recognised as the one that filled in the form, and show for an hour what it typed."""
    told = (int(signup.at.timestamp()), signup.request_id, signup.slug, signup.language, signup.address)
    response.set_cookie(
        SIGNUP_COOKIE,
        links.seal(links.Purpose.SIGNUP, "\n".join(str(one) for one in told)),
        max_age=int(SAME_BROWSER_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=settings.load().public_url.startswith("https://"),
    )


def remembered_signup(request: Request, *, lifetime: timedelta, now: datetime) -> Signup | None:
    """Return the sign-up that this browser made within `lifetime`, if any."""
    try:
        opened = links.unseal(links.Purpose.SIGNUP, request.cookies.get(SIGNUP_COOKIE, ""))
    except links.TokenInvalid:
        return None
    seconds, request_id, slug, language_, address = opened.split("\n")
    at = datetime.fromtimestamp(int(seconds), UTC)
    if now - at > lifetime:
        return None
    return Signup(request_id=int(request_id), at=at, slug=slug, language=language_, address=address)


def is_prefetch(request: Request) -> bool:
    """Tell whether a browser fetches the page in advance, without anybody having asked for it."""
    hints = (request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return any("prefetch" in hint or "prerender" in hint or "preview" in hint for hint in hints)


def _accepted(header: str) -> list[str]:
    """Return the languages of an Accept-Language header, the most wanted first."""
    wanted: list[tuple[float, int, str]] = []
    for part in header[:500].split(","):
        code, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if code and weight > 0:
            wanted.append((-weight, len(wanted), code))
    return [code for *_, code in sorted(wanted)]


def _is_trusted(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in settings.load().trusted_proxies)
