"""Fetching pictures: take what is due, read it over the network, store small files of it. No transaction spans the network."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from mailer import clock, settings
from mailer.articles import pictures, shrinking
from mailer.db import transaction
from mailer.feeds import fetch, network
from mailer.issues import markdown
from mailer.models.content import Issue, Newsletter

# Each may hold 25 MB for a moment; a small server decodes no more at full speed either.
_AT_ONCE: Final = 2
_PICTURE_SECONDS: Final = 10
# A worker that is told to stop finishes its round first.
_ROUND_SECONDS: Final = 15
_PICTURE_BYTES: Final = 10_000_000
_ACCEPT: Final = "image/jpeg, image/png, image/gif;q=0.9, image/webp;q=0.9, image/avif;q=0.8, */*;q=0.1"

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Failure:
    reason: str
    is_temporary: bool


def fetch_due(*, budget_seconds: float) -> int:
    """Fetch pictures that are due until there are none or the time is over. Returns how many were tried.

    Talks to the network, and to the database before and after. A round that began is finished: at most 15 s more.
    """
    ends = time.monotonic() + budget_seconds
    tried = 0
    while time.monotonic() < ends:
        with transaction() as session:
            taken = pictures.take_due(session, now=clock.now(), limit=_AT_ONCE)
        if not taken:
            break
        _fetch(taken, network.Deadline.after(_ROUND_SECONDS))
        tried += len(taken)
    return tried


def fetch_for_newsletter(newsletter_id: int, *, budget_seconds: float) -> None:
    """Fetch the pictures that a newsletter's next issue may show, as far as the time allows; the rest it does without."""
    with transaction() as session:
        newsletter = session.get_one(Newsletter, newsletter_id)
        now = clock.now()
        since = now - timedelta(days=newsletter.max_age_days)
        taken = pictures.take_for_newsletter(session, newsletter_id, since=since, now=now)
    _fetch(taken, network.Deadline.after(budget_seconds))


def fetch_for_issue(issue_id: int, *, budget_seconds: float) -> None:
    """Fetch the pictures that an issue still misses, as far as the time allows; the rest it does without."""
    with transaction() as session:
        issue = session.get_one(Issue, issue_id)
        site_url = session.get_one(Newsletter, issue.newsletter_id).site_url
        shown = markdown.images(markdown.parse(issue.body), site_url) if issue.body else []
        taken = pictures.take_for_issue(session, issue_id, also=shown, now=clock.now())
    _fetch(taken, network.Deadline.after(budget_seconds))


def read(url: str, *, deadline: network.Deadline) -> shrinking.Shrunk:
    """Read one picture and make our files of it. Talks to the network.

    Raises FeedUnreachable, PictureUnusable, OutOfTime or ShrinkingUnfinished.
    """
    seconds = deadline.left(_PICTURE_SECONDS)
    limits = fetch.FetchLimits(total_seconds=seconds, body_bytes=_PICTURE_BYTES + 1, cuts_body=True)
    networks = settings.load().feed_private_networks
    answer = fetch.fetch(url, limits=limits, private_networks=networks, accept=_ACCEPT)
    body = answer.body if answer else b""
    if len(body) > _PICTURE_BYTES:
        raise shrinking.PictureUnusable(f"The picture is larger than {_PICTURE_BYTES // 1_000_000} MB.")
    return shrinking.shrink(body, seconds=deadline.left())


def _fetch(taken: Mapping[int, str], deadline: network.Deadline) -> None:
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pictures") as pool:
        readings = {pool.submit(_outcome, url, deadline): picture_id for picture_id, url in taken.items()}
        for reading in as_completed(readings):
            _store(readings[reading], reading.result())


def _outcome(url: str, deadline: network.Deadline) -> shrinking.Shrunk | _Failure | None:
    """Read a picture; None when the time was over before its turn."""
    try:
        return read(url, deadline=deadline)
    except fetch.FeedUnreachable as error:
        return _Failure(reason=error.message, is_temporary=error.temporary)
    except shrinking.PictureUnusable as error:
        return _Failure(reason=str(error), is_temporary=False)
    except shrinking.ShrinkingUnfinished:
        return _Failure(reason="There was too little time to unpack the picture.", is_temporary=True)
    except network.OutOfTime:
        return None


def _store(picture_id: int, outcome: shrinking.Shrunk | _Failure | None) -> None:
    now = clock.now()
    if isinstance(outcome, _Failure):
        log.info("picture not fetched", picture=picture_id, error=outcome.reason)
    with transaction() as session:
        if isinstance(outcome, shrinking.Shrunk):
            pictures.keep(session, picture_id, outcome, now=now)
        elif outcome is not None:
            pictures.fail(session, picture_id, outcome.reason, temporary=outcome.is_temporary, now=now)
