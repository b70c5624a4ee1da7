"""Whether links answer and pictures exist: asked from the network, safely, in parallel and in bounded time."""

import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from mailer.feeds import fetch, network
from mailer.feeds.troubles import SENTENCES
from mailer.issues.checks.mail import Found, found
from mailer.issues.findings import Code, Phrase, Value

TOTAL_SECONDS: Final = 15.0
ONE_SECONDS: Final = 6.0
AT_ONCE: Final = 8
MOST_ADDRESSES: Final = 100
HEAVIEST_BYTES: Final = 1_000_000
# More of one picture is not read.
_PICTURE_LIMIT: Final = 3_000_000
_GONE: Final = (404, 410)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an address said: its status (None: none came), what went wrong (None: nothing), how much it weighs."""

    status: int | None = None
    problem: Phrase | None = None
    size_bytes: int = 0


def ask(
    links: Iterable[str],
    pictures: Iterable[str],
    *,
    private_networks: Collection[network.Network] = (),
    total_seconds: float = TOTAL_SECONDS,
    one_seconds: float = ONE_SECONDS,
) -> dict[str, Answer]:
    """Ask all addresses, each once; those whose turn does not come in `total_seconds` are left out. Talks to the network."""
    ends_at = time.monotonic() + total_seconds
    jobs = list(dict.fromkeys([*((one, True) for one in pictures), *((one, False) for one in links)]))[:MOST_ADDRESSES]

    def one(job: tuple[str, bool]) -> tuple[str, Answer | None]:
        seconds = min(one_seconds, ends_at - time.monotonic())
        return job[0], _ask(job[0], is_picture=job[1], seconds=seconds, private_networks=private_networks)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
        return {url: answer for url, answer in pool.map(one, jobs) if answer is not None}


def check(answers: Mapping[str, Answer], links: Iterable[str], pictures: Iterable[str]) -> list[Found]:
    """Judge the answers for a mail's links and pictures; an address without one is passed over."""
    findings = [
        found(*_about_link(answers[one]), url=one, answer=_words(answers[one]))
        for one in links
        if _is_bad(answers.get(one))
    ]
    gone = [
        found(Code.PICTURE_GONE, "html", url=one, answer=_words(answers[one]))
        for one in pictures
        if _is_bad(answers.get(one))
    ]
    return [*findings, *gone]


def weigh(answers: Mapping[str, Answer], own: Mapping[str, int], pictures: Iterable[str]) -> list[Found]:
    """Judge what a mail's pictures weigh together, ours and those of others as far as these answered."""
    total = sum(own.get(one, answers[one].size_bytes if one in answers else 0) for one in pictures)
    return [found(Code.PICTURES_HEAVY, "html", size=round(total / 1000))] if total > HEAVIEST_BYTES else []


def _ask(url: str, *, is_picture: bool, seconds: float, private_networks: Collection[network.Network]) -> Answer | None:
    if seconds <= 0:
        return None
    limits = fetch.FetchLimits(
        total_seconds=seconds, connect_seconds=seconds, body_bytes=_PICTURE_LIMIT if is_picture else 1, cuts_body=True
    )
    try:
        answer = fetch.fetch(url, limits=limits, private_networks=private_networks)
    except fetch.FeedUnreachable as error:
        return Answer(status=error.status, problem=Phrase(sentence=SENTENCES[error.trouble], values=error.values))
    return Answer(status=200, size_bytes=len(answer.body) if answer and is_picture else 0)


def _is_bad(answer: Answer | None) -> bool:
    # Some sites answer machines with 401, 403, 405 or 429 and readers with the page.
    return answer is not None and answer.problem is not None and answer.status not in (401, 403, 405, 406, 429)


def _about_link(answer: Answer) -> tuple[Code, str]:
    return Code.LINK_GONE if answer.status in _GONE else Code.LINK_UNREACHABLE, "html"


def _words(answer: Answer) -> Value:
    return str(answer.status) if answer.status or answer.problem is None else answer.problem
