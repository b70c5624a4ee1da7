"""Addresses found in feeds: made absolute, kept to the web, compared by what they name. No network."""

import re
from typing import Final
from urllib.parse import urljoin

import httpx

LONGEST: Final = 2000
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
# What most addresses look like, so that nothing about them needs changing.
_PLAIN: Final = re.compile(
    r"https?://(?![a-z0-9.-]*xn--)[a-z0-9][a-z0-9.-]{0,252}(?::\d{1,4})?(?:[/?#][A-Za-z0-9/?#.,;:=&%~+!*_-]*)?"
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LINE_ENDS: Final = re.compile(r"[\t\r\n]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Who sent the reader there, which is no part of what the address names.
_TRACKING: Final = re.compile(
    r"(?:utm_\w*|fbclid|gclid|gclsrc|dclid|gbraid|wbraid|msclkid|yclid|ysclid|twclid|ttclid|li_fat_id|igshid|igsh"
    r"|mc_cid|mc_eid|mkt_tok|_hsenc|_hsmi|__s|s_cid|cmpid|at_(?:medium|campaign|link|link_id|link_type|link_origin|ptr_name)"
    r"|xtor|ref_src|ref_url|_ga|_gl|oly_anon_id|oly_enc_id|vero_id|wickedid)\Z",
    re.IGNORECASE,
)


def web_address(text: str) -> httpx.URL | None:
    """Return `text` as an http or https address without fragment, ready to be asked; None when it is none."""
    try:
        url = httpx.URL(text.strip()).copy_with(fragment=None)
        readable_host = url.host
    except (httpx.InvalidURL, ValueError):
        return None
    if url.scheme not in _DEFAULT_PORTS or not readable_host or not _HOST.fullmatch(url.raw_host.decode("ascii")):
        return None
    if url.port is not None and not 0 < url.port < 65_536:
        return None
    return url


def absolute(text: str, *bases: str | None) -> str | None:
    """Return the http(s) address that `text` means, in ASCII, with its fragment and without a password.

    A relative one is resolved against the first of `bases` that is an address itself. None when it is no web address.
    """
    text = _LINE_ENDS.sub("", text).strip()
    if not text or len(text) > LONGEST:
        return None
    try:
        if not _SCHEME.match(text):
            text = urljoin(next((base for base in bases if base and _SCHEME.match(base)), ""), text)
        if _PLAIN.fullmatch(text):
            return text
        fragment = httpx.URL(text).fragment
    except (httpx.InvalidURL, ValueError):
        return None
    url = web_address(text)
    if url is None:
        return None
    whole = str(url.copy_with(userinfo=b"", fragment=fragment or None))
    return whole if len(whole) <= LONGEST else None


def canonical_url(url: str) -> str:
    """Return what two addresses of one article have in common.

    That is: https, no "www.", no default port, no fragment (but "#!…"), no trailing slash, no tracking parameters.
    What is no web address comes back stripped, otherwise as it was.
    """
    parsed = web_address(url)
    if parsed is None:
        return url.strip()
    host = parsed.raw_host.decode("ascii").lower().rstrip(".")
    host = host.removeprefix("www.") if host.count(".") > 1 else host
    host = f"[{host}]" if ":" in host else host
    port = "" if parsed.port in (None, *_DEFAULT_PORTS.values()) else f":{parsed.port}"
    path, _, query = parsed.raw_path.decode("ascii").partition("?")
    kept = [part for part in re.split("[&;]", query) if part and not _TRACKING.match(part.partition("=")[0])]
    _, hashbang, route = url.strip().partition("#!")
    return "".join(
        (
            f"https://{host}{port}{path.rstrip('/')}",
            f"?{'&'.join(kept)}" if kept else "",
            f"{hashbang}{route}",
        )
    )


def origin(url: str) -> str:
    """Return the address of the site's front page, "https://courrier.example/"; "" when `url` is no web address."""
    parsed = web_address(url)
    return "" if parsed is None else str(parsed.copy_with(userinfo=b"", raw_path=b"/"))
