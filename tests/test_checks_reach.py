"""Links and pictures are asked over real sockets: in parallel, in bounded time, and never inside the private network."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest

from mailer.issues.checks import reach
from mailer.issues.checks.reach import Answer
from mailer.issues.findings import Code, in_english

LOOPBACK = (ip_network("127.0.0.0/8"),)


class Site(BaseHTTPRequestHandler):
    """Answers by the path: a status, a weight, a redirect, or nothing for long."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer."""
        kind, _, value = self.path.strip("/").partition("/")
        if kind == "status":
            self.send_response(int(value))
            self.end_headers()
        elif kind == "to":
            self.send_response(302)
            self.send_header("Location", f"/{value}")
            self.end_headers()
        elif kind == "weight":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * int(value))
        else:
            self.server.wait.wait(20)  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.wait = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.wait.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def findings(links: list[str], pictures: list[str] | None = None) -> dict[str, str]:
    answers = reach.ask(links, pictures or [], private_networks=LOOPBACK)
    found = [*reach.check(answers, links, pictures or []), *reach.weigh(answers, {}, pictures or [])]
    return {str(one.values.get("url", "")): one.code.value for one in found}


def test_a_link_that_answers_is_no_finding(site: str) -> None:
    assert findings([f"{site}/status/200", f"{site}/to/weight/3000000"]) == {}


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_does_not_exist_is_gone(site: str, status: int) -> None:
    assert findings([f"{site}/to/status/{status}"]) == {f"{site}/to/status/{status}": "link_gone"}


def test_a_site_that_fails_is_told_as_unreachable(site: str) -> None:
    assert findings([f"{site}/status/500"]) == {f"{site}/status/500": "link_unreachable"}
    assert findings(["http://127.0.0.1:1/"]) == {"http://127.0.0.1:1/": "link_unreachable"}
    assert findings(["https://no-such-name.invalid/"]) == {"https://no-such-name.invalid/": "link_unreachable"}


@pytest.mark.parametrize("status", [401, 403, 405, 429])
def test_a_site_that_only_refuses_machines_is_no_finding(site: str, status: int) -> None:
    assert findings([f"{site}/status/{status}"]) == {}


def test_pictures_must_exist_and_weigh_little_together(site: str) -> None:
    light, heavy, gone = f"{site}/weight/400000", f"{site}/weight/700000", f"{site}/status/404"
    assert findings([], [light, gone]) == {gone: "picture_gone"}
    assert findings([], [light, heavy]) == {"": "pictures_heavy"}


def test_slow_sites_are_asked_at_once_and_given_up(site: str) -> None:
    slow = [f"{site}/slow/{n}" for n in range(40)]
    before = time.monotonic()
    answers = reach.ask(slow, [], private_networks=LOOPBACK, total_seconds=1.2, one_seconds=0.5)
    assert time.monotonic() - before < 3
    assert all(one.problem and one.status is None for one in answers.values())
    # Three rounds of eight fit; about those that were not asked nothing is said.
    assert 8 <= len(answers) <= 24


def test_nothing_in_the_private_network_is_asked(site: str) -> None:
    answers = reach.ask([f"{site}/status/404"], [])
    assert answers[f"{site}/status/404"].status is None
    problem = answers[f"{site}/status/404"].problem
    assert problem is not None
    assert "private address" in in_english(problem)


def test_an_address_that_was_not_asked_is_passed_over() -> None:
    assert reach.check({}, ["https://x.example/"], ["https://x.example/a.jpg"]) == []
    assert reach.check({"https://x.example/": Answer(status=200)}, ["https://x.example/"], []) == []


def test_our_own_pictures_weigh_too_without_being_asked() -> None:
    own = {"https://news.example/img/a.jpg": 900_000, "https://news.example/img/b.jpg": 200_000, "unused": 9_000_000}
    (heavy,) = reach.weigh({}, own, list(own)[:2])
    assert (heavy.code, heavy.values) == (Code.PICTURES_HEAVY, {"size": 1100})
    assert reach.weigh({}, own, list(own)[:1]) == []
