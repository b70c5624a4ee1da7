"""The sample publication's web site: home page, articles, pictures, feed. It can also serve an operator's feed file.

For a try and for tests, on a loopback address.
"""

import argparse
import hashlib
import ipaddress
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mailer import clock, i18n
from mailer.embedded import sample, site_feed
from mailer.embedded.sample import Article
from mailer.embedded.site_feed import Addresses

_ZONE: Final = ZoneInfo("Europe/Paris")
_MORE_ARTICLES: Final = 3
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_SNIFF_BYTES: Final = 4096
_CONTENT_TYPES: Final = {
    ".atom": "application/atom+xml",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/feed+json",
    ".rdf": "application/rdf+xml",
    ".rss": "application/rss+xml",
}
# What a feed says in its first bytes, most telling first; for names such as feed.xml that say little.
_LEADING: Final = {
    b"<rss": "application/rss+xml",
    b"<rdf:rdf": "application/rdf+xml",
    b"<feed": "application/atom+xml",
    b"<atom:feed": "application/atom+xml",
    b"<html": "text/html",
    b"<?xml": "application/xml",
}


class SiteFailed(Exception):
    """The site cannot start; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Dates:
    """What a restart must not change: when the site first started, and when the late articles appeared."""

    started_at: datetime
    later_at: datetime | None


class _Site:
    """The endpoints; they read the sample, the dates in the state folder, and the operator's feed file."""

    def __init__(self, addresses: Addresses, feed_file: Path | None, state_file: Path) -> None:
        self._addresses = addresses
        self._feed_file = feed_file
        self._state_file = state_file
        self._dates = _read_dates(state_file)
        self._publication = sample.publication()
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["day"] = _day

    def home(self, _request: Request) -> Response:
        context = {"articles": self._articles(), "more_can_appear": self._dates.later_at is None}
        return self._page("site_home.html", context)

    def article(self, request: Request) -> Response:
        articles = self._articles()
        wanted = next((article for article in articles if article.slug == request.path_params["slug"]), None)
        if wanted is None:
            raise HTTPException(404)
        others = [article for article in articles if article is not wanted]
        others.sort(key=lambda article: article.topic != wanted.topic)  # stable: newest first within the topic
        return self._page("site_article.html", {"article": wanted, "others": others[:_MORE_ARTICLES]})

    def feed(self, request: Request) -> Response:
        return self._feed(request, self._articles())

    def late_feed(self, request: Request) -> Response:
        return self._feed(request, sample.late_articles(later_at=self._dates.later_at))

    def operators_feed(self, request: Request) -> Response:
        """Serve the file as it is. No charset: what the bytes are in is for the feed itself to say."""
        if self._feed_file is None or not self._feed_file.is_file():
            raise HTTPException(404)
        status = self._feed_file.stat()
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if _is_known(request, etag):
            return Response(status_code=304, headers={"ETag": etag})
        headers = {"Content-Type": guess_content_type(self._feed_file), "ETag": etag, "Cache-Control": "no-cache"}
        return FileResponse(self._feed_file, headers=headers)

    def publish_later(self, request: Request) -> Response:
        """Let the late articles appear; a second time changes nothing."""
        if not _is_loopback(request):
            raise HTTPException(403)
        if self._dates.later_at is None:
            self._dates = _Dates(started_at=self._dates.started_at, later_at=clock.now())
            _write_dates(self._state_file, self._dates)
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/", status_code=303)
        late = sample.late_articles(later_at=self._dates.later_at)
        return JSONResponse({"appeared": [article.slug for article in late]})

    def missing(self, _request: Request, _error: Exception) -> Response:
        return self._page("site_missing.html", {}, status_code=404)

    def _articles(self) -> tuple[Article, ...]:
        return sample.articles(started_at=self._dates.started_at, later_at=self._dates.later_at)

    def _feed(self, request: Request, articles: Sequence[Article]) -> Response:
        content = site_feed.write(articles, self._publication, self._addresses, path=request.url.path)
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
        if _is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers | {"Content-Type": "application/rss+xml; charset=utf-8"})

    def _page(self, template: str, context: Mapping[str, object], status_code: int = 200) -> Response:
        own = {"publication": self._publication, "addresses": self._addresses}
        html = self._templates.get_template(template).render(own | dict(context))
        return HTMLResponse(html, status_code=status_code, headers=_PAGE_HEADERS)


def create_app(*, base_url: str, subscribe_url: str, feed_file: Path | None = None, state_dir: Path) -> Starlette:
    """Return the site as an ASGI application.

    `base_url`: where readers reach it, for the feed's absolute addresses. `subscribe_url`: the newsletter's form.
    `feed_file`: a feed of the operator's, served byte for byte as /feed. `state_dir`: keeps the dates over restarts;
    one process at a time. Raises SiteFailed when it cannot be read or written.
    """
    addresses = Addresses(base_url=base_url.rstrip("/"), subscribe_url=subscribe_url)
    site = _Site(addresses, feed_file, state_dir / "site.json")
    return Starlette(
        routes=[
            Route("/", site.home),
            Route("/articles/{slug:str}", site.article),
            Route("/feed.xml", site.feed),
            Route("/late.xml", site.late_feed),
            Route("/feed", site.operators_feed),
            Route("/publish-later", site.publish_later, methods=["POST"]),
            Mount("/pictures", StaticFiles(directory=sample.PICTURES)),
        ],
        exception_handlers={404: site.missing},
    )


def guess_content_type(feed_file: Path) -> str:
    """Return the media type of a feed file, from its name, else from its first bytes; never with a charset."""
    by_name = _CONTENT_TYPES.get(feed_file.suffix.lower())
    if by_name:
        return by_name
    with feed_file.open("rb") as file:
        start = file.read(_SNIFF_BYTES)
    # Without its zero bytes, UTF-16 and UTF-32 markup reads as ASCII.
    text = start.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"{"):
        return "application/feed+json"
    found = next((content_type for mark, content_type in _LEADING.items() if mark in text), None)
    return found or "application/octet-stream"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the site from the command line until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mailer.embedded.site", description=create_app.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--base-url", required=True, metavar="URL")
    parser.add_argument("--subscribe-url", required=True, metavar="URL")
    parser.add_argument("--feed", type=Path, metavar="FILE")
    parser.add_argument("--state-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--ssl-cert", type=Path, metavar="FILE")
    parser.add_argument("--ssl-key", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if (options.ssl_cert is None) != (options.ssl_key is None):
        parser.error("--ssl-cert and --ssl-key go together")
    if options.feed is not None and not options.feed.is_file():
        parser.error(f"--feed: there is no file {options.feed}")
    try:
        app = create_app(
            base_url=options.base_url,
            subscribe_url=options.subscribe_url,
            feed_file=options.feed,
            state_dir=options.state_dir,
        )
    except SiteFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _run(app, options.host, options.port, (options.ssl_cert, options.ssl_key))
    return 0


def _run(app: Starlette, host: str, port: int, ssl: tuple[Path | None, Path | None]) -> None:
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        ssl_certfile=ssl[0],
        ssl_keyfile=ssl[1],
    )


def _read_dates(state_file: Path) -> _Dates:
    """Return the dates of an earlier start, or note that the site starts now."""
    try:
        kept = json.loads(state_file.read_bytes())
        later_at = kept["later_at"]
        return _Dates(
            started_at=datetime.fromisoformat(kept["started_at"]),
            later_at=datetime.fromisoformat(later_at) if later_at else None,
        )
    except FileNotFoundError:
        dates = _Dates(started_at=clock.now(), later_at=None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SiteFailed(f"{state_file} cannot be read; delete it to start the sample site anew.") from error
    try:
        _write_dates(state_file, dates)
    except OSError as error:
        raise SiteFailed(f"Cannot write {state_file}: {error.strerror}.") from error
    return dates


def _write_dates(state_file: Path, dates: _Dates) -> None:
    state_file.parent.mkdir(parents=True, exist_ok=True)
    later_at = dates.later_at.isoformat() if dates.later_at else None
    fresh = state_file.with_suffix(".new")
    fresh.write_text(json.dumps({"started_at": dates.started_at.isoformat(), "later_at": later_at}))
    fresh.replace(state_file)


def _is_known(request: Request, etag: str) -> bool:
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return etag in known or "*" in known


def _is_loopback(request: Request) -> bool:
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _day(moment: datetime) -> str:
    return i18n.format_date("fr", moment.astimezone(_ZONE))


if __name__ == "__main__":
    sys.exit(main())
