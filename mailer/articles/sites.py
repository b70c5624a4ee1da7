"""What can be known of a newsroom from the address of its site: feed, name, language, colour, logo, time zone. No database."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mailer import i18n
from mailer.articles import discovery, shrinking
from mailer.feeds import encoding, fetch, front, network, page, urls

# Where most of a country's newsrooms are; a country with several zones has that of its capital.
_ZONES: Final = {
    "AT": "Europe/Vienna",
    "AU": "Australia/Sydney",
    "BE": "Europe/Brussels",
    "BR": "America/Sao_Paulo",
    "BY": "Europe/Minsk",
    "CA": "America/Toronto",
    "CH": "Europe/Zurich",
    "CN": "Asia/Shanghai",
    "CZ": "Europe/Prague",
    "DE": "Europe/Berlin",
    "ES": "Europe/Madrid",
    "FR": "Europe/Paris",
    "GB": "Europe/London",
    "GE": "Asia/Tbilisi",
    "IE": "Europe/Dublin",
    "IT": "Europe/Rome",
    "JP": "Asia/Tokyo",
    "KG": "Asia/Bishkek",
    "KZ": "Asia/Almaty",
    "LU": "Europe/Luxembourg",
    "MA": "Africa/Casablanca",
    "MN": "Asia/Ulaanbaatar",
    "NL": "Europe/Amsterdam",
    "PL": "Europe/Warsaw",
    "PT": "Europe/Lisbon",
    "RU": "Europe/Moscow",
    "SE": "Europe/Stockholm",
    "SN": "Africa/Dakar",
    "TJ": "Asia/Dushanbe",
    "TM": "Asia/Ashgabat",
    "TN": "Africa/Tunis",
    "UA": "Europe/Kyiv",
    "US": "America/New_York",
    "UZ": "Asia/Tashkent",
}
_OF_LANGUAGE: Final = {"fr": "FR", "ru": "RU", "kk": "KZ", "en": "GB"}
_OF_DOMAIN: Final = {"uk": "GB"}
_LIMITS: Final = fetch.FetchLimits(total_seconds=8, body_bytes=2_000_000, cuts_body=True)
_PICTURES: Final = fetch.FetchLimits(total_seconds=6, body_bytes=5_000_000)
_MOST_PICTURES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Site:
    """What was found. `zone` and `language` are always one that we know; `color`, `logo` None where the site has none."""

    url: str
    name: str
    language: str
    zone: str
    feed_url: str
    feed_title: str
    articles: int
    other_feeds: int
    color: str | None
    logo: shrinking.Shrunk | None


def read(address: str, *, private_networks: Iterable[network.Network] = ()) -> Site:
    """Find all that can be known. Talks to the network, at most about a minute.

    Raises discovery.NoFeedFound, or FeedUnreachable if the address itself can't be read.
    """
    networks = tuple(private_networks)
    found = discovery.discover(address, private_networks=networks)
    feed = found[0]
    home = urls.origin(address if "://" in address else feed.url) or feed.url
    home, seen = _front(home, networks)
    logo, color = _logo(seen, networks)
    host = urlsplit(home).hostname or ""
    language = seen.language or "en"
    return Site(
        url=home,
        name=(seen.name or feed.title or host)[:120],
        language=i18n.choose(language),
        zone=_zone(host, language),
        feed_url=feed.url,
        feed_title=feed.title,
        articles=feed.articles,
        other_feeds=sum(not one.is_of_comments for one in found[1:]),
        color=seen.color or color,
        logo=logo,
    )


def _front(home: str, networks: tuple[network.Network, ...]) -> tuple[str, front.Front]:
    """Read the front page; a site whose feed can be read and whose front page can't says nothing more."""
    try:
        answer = fetch.fetch(home, accept=page.ACCEPT, limits=_LIMITS, private_networks=networks)
    except fetch.FeedUnreachable:
        return home, front.Front()
    if answer is None:
        return home, front.Front()
    return urls.origin(answer.url) or home, front.read(encoding.decode(answer.body, answer.content_type), answer.url)


def _logo(seen: front.Front, networks: tuple[network.Network, ...]) -> tuple[shrinking.Shrunk | None, str | None]:
    """Return the first picture that can be a logo, and the colour that the site's pictures are known by."""
    logo = next(filter(None, (_picture(url, networks) for url in seen.logos[:_MOST_PICTURES])), None)
    if logo is not None and logo.color is not None:
        return logo, logo.color
    icon = next(filter(None, (_picture(url, networks) for url in seen.icons[:_MOST_PICTURES])), None)
    return logo or icon, icon.color if icon is not None else None


def _picture(url: str, networks: tuple[network.Network, ...]) -> shrinking.Shrunk | None:
    try:
        answer = fetch.fetch(url, accept="image/*", limits=_PICTURES, private_networks=networks)
        return shrinking.shrink(answer.body, seconds=5, is_logo=True) if answer is not None else None
    except (fetch.FeedUnreachable, shrinking.PictureUnusable, shrinking.ShrinkingUnfinished):
        return None


def _zone(host: str, language: str) -> str:
    """Guess the time zone: by the language's country, the domain's, the language."""
    code, _, country = language.partition("-")
    domain = host.rpartition(".")[2].lower()
    guesses = (_OF_DOMAIN.get(domain, domain.upper()), country.upper(), _OF_LANGUAGE.get(code.lower(), ""))
    return next((_ZONES[one] for one in guesses if one in _ZONES), "UTC")
