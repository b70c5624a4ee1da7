"""Find the feeds of a site from any address of it: what its pages announce, else where feeds usually are. No database."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from mailer.feeds import encoding, fetch, network, page, parse, troubles, urls

_MOST_ASKED: Final = 24
_AT_ONCE: Final = 6
_LIMITS: Final = fetch.FetchLimits(total_seconds=10)
# Where publishing systems put them: WordPress and Ghost, Hugo and Jekyll, Drupal and SPIP, Blogger, JSON Feed.
_USUAL_PATHS: Final = (
    "feed/",
    "rss/",
    "rss.xml",
    "feed.xml",
    "atom.xml",
    "index.xml",
    "feed.json",
    "spip.php?page=backend",
    "feeds/posts/default",
    "rss",
)
_COMMENTS: Final = ("comment", "коммент")


class NoFeedFound(LookupError):
    """Neither the address nor its site has a feed that can be read; the message says what was met."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A feed that was read and is good; `kind` is "RSS", "Atom" or "JSON Feed", `articles` how many it lists.

    `asked` is the address that was asked, `url` the one that answered.
    """

    asked: str
    url: str
    title: str
    kind: str
    articles: int

    @property
    def is_of_comments(self) -> bool:
        """Tell whether it lists what readers wrote, by its address or title."""
        return any(word in f"{self.url} {self.title}".casefold() for word in _COMMENTS)


def discover(address: str, *, private_networks: Iterable[network.Network] = ()) -> list[Found]:
    """Return the feeds of the site that `address` belongs to, the likeliest first; without https:// it is added.

    An address that is a feed itself is the only answer. Feeds of comments come last. Raises NoFeedFound, or
    FeedUnreachable if the address itself can't be read. Talks to the network, at most some 30 seconds.
    """
    networks = tuple(private_networks)

    def ask(url: str) -> fetch.FetchedFeed | None:
        return fetch.fetch(url, limits=_LIMITS, private_networks=networks)

    answer = _first_answer(address.strip(), ask)
    itself = _read(address.strip(), answer)
    if itself is not None:
        return [itself]
    document = encoding.decode(answer.body, answer.content_type)
    found = _read_all([link.url for link in page.read(document, answer.url).feeds], ask)
    found = found or _read_all(_usual_addresses(answer.url), ask)
    if not found:
        raise NoFeedFound(
            f"No feed was found at {answer.url} or where sites usually have one. Ask who runs the site for its address."
        )
    return sorted(found, key=lambda one: one.is_of_comments)


def _first_answer(address: str, ask: Callable[[str], fetch.FetchedFeed | None]) -> fetch.FetchedFeed:
    attempts = [address] if "://" in address else [f"https://{address}", f"http://{address}"]
    failure = fetch.FeedUnreachable(troubles.Trouble.NO_ANSWER, temporary=True)
    for attempt in attempts:
        try:
            answer = ask(attempt)
        except fetch.FeedUnreachable as error:
            failure = error
        else:
            if answer is not None:
                return answer
    raise failure


def _usual_addresses(url: str) -> list[str]:
    """Return where feeds usually are, below the page's folder first (a blog at /blog/), then below the root."""
    folder = urljoin(url, ".")
    folders = dict.fromkeys((folder, urls.origin(url)))
    return [urljoin(base, path) for path in _USUAL_PATHS for base in folders]


def _read_all(addresses: list[str], ask: Callable[[str], fetch.FetchedFeed | None]) -> list[Found]:
    """Read the addresses and return those that are feeds, in order, each feed once."""

    def read(url: str) -> Found | None:
        try:
            answer = ask(url)
        except fetch.FeedUnreachable:
            return None
        return None if answer is None else _read(url, answer)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        found = list(pool.map(read, addresses[:_MOST_ASKED]))
    once: dict[object, Found] = {}
    for feed in found:
        if feed is not None:
            # The usual addresses often lead to one feed without saying so.
            once.setdefault((feed.kind, feed.title, feed.articles) if feed.title else feed.url, feed)
    return list(once.values())


def _read(asked: str, answer: fetch.FetchedFeed) -> Found | None:
    try:
        parsed = parse.parse(answer.body, content_type=answer.content_type, url=answer.url)
    except parse.FeedInvalid:
        return None
    return Found(asked=asked, url=answer.url, title=parsed.title, kind=parsed.kind, articles=len(parsed.articles))
