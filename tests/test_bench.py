"""The bench: small runs through its command, that its proof finds what it is there to find, and its sinks."""

import json
import os
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
import typer

from bench import everything, proof, sinks
from mailer import clock, scheduling
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.source import ROOT

SMALL = ["--recipients", "240", "--seconds", "2"]
WEB = ("pixel", "click", "one_click", "subscribe")
MESSAGE = b"Subject: Bonjour\r\n\r\nBonjour\r\n"
ENVELOPE = b"MAIL FROM:<lettre@courrier.example>\r\nRCPT TO:<reader@example.org>\r\nDATA\r\n"
ENVELOPE_CODES = [b"250", b"250", b"354"]
# Their answers are more than the buffers of both ends hold.
LATE_READER_COMMANDS = 500_000


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    chosen = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=chosen, capture_output=True, text=True, timeout=300, check=False)


def bench(*arguments: str, **environment: str) -> tuple[int, dict[str, object]]:
    done = run(*arguments, "--json", **environment)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_small_runs_of_what_measures_give_their_figures() -> None:
    # All at once, since they wait for services most of the time.
    with ThreadPoolExecutor() as pool:
        send = pool.submit(bench, "send", "--messages", "300", "--runs", "1")
        freeze = pool.submit(bench, "freeze", "--messages", "2000", "--runs", "1")
        overtake = pool.submit(bench, "overtake", "--messages", "2000", "--signups", "3")
        web = pool.submit(bench, "web", "--seconds", "0.3", "--runs", "1", "--connections", "4")
    assert has_figures(web.result(), "pixel", "click", "one_click", "subscribe")
    assert {(web.result()[1][name]["errors"], web.result()[1][name]["lost"]) for name in WEB} == {(0, 0)}
    assert has_figures(send.result(), "messages_per_second", "cpu_us_per_message", "peak_rss_mb")
    assert has_figures(freeze.result(), "freeze_seconds", "claimed_per_second")
    assert has_figures(overtake.result(), "p95_seconds")
    found = send.result()[1]
    assert found["equation"] == "300 = 300 + 0 + 0 + 0"
    is_alone = found["smtp_source_per_second"] == sinks.NO_SMTP_SOURCE
    assert (found["ratio"] is None, found["spread"] is None) == (is_alone, is_alone)


def has_figures(result: tuple[int, dict[str, object]], *names: str) -> bool:
    code, found = result
    return code == 0 and all(found[name] for name in names)


@pytest.mark.slow
def test_everything_is_measured_and_written_where_the_readme_has_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"Before\n{everything.BEGIN}\nan old table\n{everything.END}\nAfter\n")
    done = run("everything", "--scale", "0.001", "--write", str(file))
    assert done.returncode == 0, done.stderr
    written = file.read_text()
    assert done.stdout.strip() in written
    assert "an old table" not in written
    assert written.count("\n| ") >= 2 + len(everything.PARTS)


def test_a_table_takes_the_place_of_the_one_between_the_marks() -> None:
    text = f"Before\n{everything.BEGIN}\nan old table\n{everything.END}\nAfter\n"
    assert (
        everything.put_between(text, "a table") == f"Before\n{everything.BEGIN}\n\na table\n\n{everything.END}\nAfter\n"
    )


def test_a_file_without_the_marks_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="bench: begin"):
        everything.put_between("Before\nAfter\n", "a table")


def test_kills_in_mid_send_lose_and_double_nobody() -> None:
    code, found = bench("kill", *SMALL, "--kills", "2", "--victim", "worker", "--victim", "child")
    assert code == 0, found
    assert found["passed"] is True
    assert found["kills"]
    assert (found["lost"], found["doubled"], found["ghosts"]) == (0, 0, 0)


@pytest.mark.slow
def test_two_hosts_share_an_issue_and_survive_each_others_kill() -> None:
    code, found = bench("kill", *SMALL, "--hosts", "2", "--workers", "1", "--kills", "1", "--victim", "worker")
    assert code == 0, found
    assert (found["hosts"], found["state"]) == (2, "sent")


@pytest.mark.slow
def test_stops_in_mid_send_leave_nothing_uncertain() -> None:
    code, found = bench("kill", *SMALL, "--signal", "term", "--kills", "2", "--victim", "worker", "--victim", "service")
    assert code == 0, found
    assert found["uncertain"] == 0


def test_an_issue_that_is_not_sent_in_time_fails_the_run_and_says_how_far_it_is(tmp_path: Path) -> None:
    # With an empty PATH there is no C compiler, so that this is also a run with Python's sink.
    code, found = bench("kill", *SMALL, "--patience", "0.5", PATH=str(tmp_path))
    assert code == 1
    assert found["passed"] is False
    assert "The time is up: the issue is" in str(found["failure"])


def test_results_say_that_without_a_compiler_the_sink_is_the_bottleneck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sinks.name(sinks.Sink.FAST) == "python (no C compiler: the sink is the bottleneck)"


@pytest.fixture
def sent(installation: SmtpInbox) -> tuple[int, list[sinks.Taken]]:
    """An issue that five readers got, and what the server would have written down."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        readers(session, newsletter, 5)
        issue_id = issues.draft(session, newsletter, now=clock.now()).id
    scheduling.start_issue(issue_id)
    sending.send_due(budget_seconds=10)
    return issue_id, [sinks.Taken(recipient=one.recipients[0], at=0.0) for one in installation.messages]


def test_the_proof_finds_nothing_wrong_when_nothing_is(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    assert len(taken) == 5
    assert proof.compare(issue_id, taken).is_flawless


def test_the_proof_finds_whom_the_server_never_saw(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, taken[1:])
    assert (found.lost, found.ghosts, found.is_flawless) == (1, 1, False)


def test_the_proof_finds_who_got_two(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, [*taken, taken[0]])
    assert (found.doubled, found.is_flawless) == (1, False)


def test_the_proof_finds_who_got_a_mail_that_the_ledger_knows_nothing_of(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, [*taken, sinks.Taken(recipient="stranger@example.org", at=0.0)])
    assert (found.unrecorded, found.is_flawless) == (1, False)


@pytest.fixture(params=sinks.languages())
def language(request: pytest.FixtureRequest) -> sinks.Language:
    """Each sink that this machine can run."""
    return sinks.Language(request.param)


@contextmanager
def a_client(port: int, *, receive_buffer: int | None = None) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """Connect, read the greeting, and yield the socket and a file of its answers."""
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(("127.0.0.1", port))
        with connection.makefile("rb") as answers:
            assert codes(answers, 1) == [b"220"]
            yield connection, answers


def codes(answers: BinaryIO, count: int) -> list[bytes]:
    return [answers.readline()[:3] for _ in range(count)]


def taken(log: Path) -> list[str]:
    return [one.recipient for one in sinks.taken(log)]


def test_a_message_is_written_down_before_it_is_answered(tmp_path: Path, language: sinks.Language) -> None:
    log = tmp_path / "taken"
    began = time.time()
    with (
        sinks.fast_sink(tmp_path, delay_ms=0, log=log, language=language) as port,
        smtplib.SMTP("127.0.0.1", port) as client,
    ):
        client.sendmail("lettre@courrier.example", ["reader@example.org"], MESSAGE)
        (one,) = sinks.taken(log)
    assert one.recipient == "reader@example.org"
    # The sink writes milliseconds.
    assert began - 0.01 <= one.at <= time.time() + 0.001


def test_every_recipient_of_a_message_is_written_down(tmp_path: Path, language: sinks.Language) -> None:
    log = tmp_path / "taken"
    with (
        sinks.fast_sink(tmp_path, delay_ms=0, log=log, language=language) as port,
        smtplib.SMTP("127.0.0.1", port) as client,
    ):
        client.sendmail("lettre@courrier.example", ["one@example.org", "two@example.org"], MESSAGE)
        client.sendmail("lettre@courrier.example", ["three@example.org"], MESSAGE)
    assert taken(log) == ["one@example.org", "two@example.org", "three@example.org"]


@pytest.mark.parametrize("content", [b".\r\n", b"Bonjour\r\n.\r\n", b"\r\n..\r\n.\rx\r\n.x\r\n\n.\n\r\n.\r\n"])
def test_the_end_of_content_is_found_wherever_reads_cut_it(
    tmp_path: Path, language: sinks.Language, content: bytes
) -> None:
    log = tmp_path / "taken"
    with (
        sinks.fast_sink(tmp_path, delay_ms=0, log=log, language=language) as port,
        a_client(port) as (connection, answers),
    ):
        connection.sendall(ENVELOPE)
        assert codes(answers, 3) == ENVELOPE_CODES
        for place in range(len(content)):
            assert taken_so_far(log) == []
            connection.sendall(content[place : place + 1])
            time.sleep(0.002)
        assert codes(answers, 1) == [b"250"]
        assert taken(log) == ["reader@example.org"]


def taken_so_far(log: Path) -> list[str]:
    return taken(log) if log.exists() else []


def test_commands_and_content_in_one_write_get_their_answers_in_order(tmp_path: Path, language: sinks.Language) -> None:
    with sinks.fast_sink(tmp_path, delay_ms=0, language=language) as port, a_client(port) as (connection, answers):
        connection.sendall(ENVELOPE)
        assert codes(answers, 3) == ENVELOPE_CODES
        connection.sendall(MESSAGE + b".\r\n" + ENVELOPE)
        assert codes(answers, 4) == [b"250", *ENVELOPE_CODES]
        connection.sendall(MESSAGE + b".\r\nRSET\r\nQUIT\r\n")
        assert codes(answers, 3) == [b"250", b"250", b"221"]
        assert answers.read() == b""


def test_delayed_answers_come_in_order_and_wait_at_the_same_time(tmp_path: Path, language: sinks.Language) -> None:
    with sinks.fast_sink(tmp_path, delay_ms=100, language=language) as port, a_client(port) as (connection, answers):
        began = time.monotonic()
        for part in (ENVELOPE[:40], ENVELOPE[40:]):
            connection.sendall(part)
            time.sleep(0.02)
        assert codes(answers, 3) == ENVELOPE_CODES
        assert 0.1 <= time.monotonic() - began < 0.2
        connection.sendall(b".\r\nQUIT\r\n")
        assert codes(answers, 2) == [b"250", b"221"]
        assert answers.read() == b""


def test_who_goes_away_before_delayed_answers_harms_nobody(tmp_path: Path, language: sinks.Language) -> None:
    with sinks.fast_sink(tmp_path, delay_ms=50, language=language) as port:
        for _ in range(5):
            with a_client(port) as (connection, _):
                connection.sendall(ENVELOPE)
        with a_client(port) as (connection, answers):
            connection.sendall(ENVELOPE)
            assert codes(answers, 3) == ENVELOPE_CODES


def test_who_reads_late_gets_every_answer(tmp_path: Path, language: sinks.Language) -> None:
    with (
        sinks.fast_sink(tmp_path, delay_ms=0, language=language) as port,
        a_client(port, receive_buffer=8192) as (connection, answers),
    ):
        connection.sendall(b"NOOP\r\n" * LATE_READER_COMMANDS + b"QUIT\r\n")
        time.sleep(0.5)
        assert answers.read() == b"250 2.0.0 Ok\r\n" * LATE_READER_COMMANDS + b"221 2.0.0 Bye\r\n"


@pytest.mark.skipif(sinks.postfix("smtp-sink") is None, reason="Debian's postfix is not installed")
def test_sending_to_postfix_is_measured_beside_its_own_client() -> None:
    code, found = bench("send", "--messages", "200", "--runs", "1", "--sink", "smtp-sink", "--json")
    assert code == 0
    assert found["sink"] == "smtp-sink"
    assert found["equation"] == "200 = 200 + 0 + 0 + 0"
    assert float(str(found["ratio"])) > 0
    assert float(str(found["ratio_to_kept_connections"])) > 0
