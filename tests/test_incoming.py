"""The ways in for what comes back: an IMAP or POP3 mailbox, an LMTP or SMTP server, a pipe."""

import contextlib
import imaplib
import smtplib
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer import links, scheduling
from mailer.db import transaction
from mailer.delivery import incoming, listening, mailbox
from mailer.models.returns import Return
from tests.command import mailer
from tests.conftest import SmtpInbox, forget
from tests.test_returns import BOX, a_bounce, sent

PASSWORD = "p%40ss"  # as it stands in an address


@pytest.fixture
def came_back(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An issue whose three mails may come back; their ids."""
    monkeypatch.setenv("MAILER_BOUNCE_ADDRESS", BOX)
    forget()
    with transaction() as session:
        return sent(session)


def bounces(found: list[int]) -> list[bytes]:
    return [a_bounce(links.return_path(BOX, one), "550 5.1.1 no such user") for one in found]


def noted() -> list[int | None]:
    with transaction() as session:
        return list(session.execute(select(Return.delivery_id).order_by(Return.delivery_id)).scalars())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def imap_server(mails: list[bytes]) -> Iterator[str]:
    """A real IMAP server whose mailbox holds these mails. Yields the mailbox's address."""
    port = free_port()
    program = str(Path(sys.executable).with_name("pymap"))
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict", "--demo-data"]
    options += ["--demo-user", "retours", "--demo-password", "p@ss"]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert server.poll() is None, "the IMAP server does not start"
                assert time.monotonic() < until, "the IMAP server does not answer"
                time.sleep(0.05)
            with signed_in(port) as client:
                client.create("Retours")
                for one in mails:
                    client.append("Retours", "", None, one)  # type: ignore[arg-type]
            yield f"imap://retours:{PASSWORD}@127.0.0.1:{port}/Retours"
        finally:
            server.terminate()


@contextlib.contextmanager
def signed_in(port: int) -> Iterator[imaplib.IMAP4]:
    client = imaplib.IMAP4("127.0.0.1", port, timeout=10)
    client.login("retours", "p@ss")
    yield client
    client.logout()


def left_in(url: str) -> int:
    """How many mails the IMAP mailbox still holds."""
    with signed_in(int(url.rpartition(":")[2].partition("/")[0])) as client:
        _, (count,) = client.select("Retours")
        return int(count or 0)


class PopServer(socketserver.ThreadingTCPServer):
    """A POP3 server (RFC 1939) for one mailbox."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, mails: list[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), PopConversation)
        self.mails = dict(enumerate(mails, 1))

    @property
    def url(self) -> str:
        return f"pop3://retours:{PASSWORD}@127.0.0.1:{self.server_address[1]}"


class PopConversation(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server, deleted = self.server, set[int]()
        assert isinstance(server, PopServer)
        self.wfile.write(b"+OK ready\r\n")
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            if verb == "PASS" and rest != "p@ss":
                self.wfile.write(b"-ERR wrong password\r\n")
            elif verb == "STAT":
                self.wfile.write(b"+OK %d 1000\r\n" % len(server.mails))
            elif verb == "RETR":
                stuffed = server.mails[int(rest)].replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..")
                self.wfile.write(b"+OK\r\n" + stuffed + b"\r\n.\r\n")
            else:
                if verb == "DELE":
                    deleted.add(int(rest))
                self.wfile.write(b"+OK\r\n")
            if verb == "QUIT":
                server.mails = {number: one for number, one in server.mails.items() if number not in deleted}
                return


@contextlib.contextmanager
def pop_server(mails: list[bytes]) -> Iterator[PopServer]:
    with PopServer(mails) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_lies_in_an_imap_mailbox_is_taken_once_and_deleted(
    came_back: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    holiday = (
        b"From: r1@example.org\nTo: retours@lettre.example\nSubject: absent\nAuto-Submitted: auto-replied\n\nAbsent.\n"
    )
    with imap_server([*bounces(came_back[:2]), holiday]) as url:
        monkeypatch.setenv("MAILER_BOUNCE_MAILBOX_URL", url)
        forget()
        assert scheduling.read_mailbox(limit=100) == 3
        assert left_in(url) == 0
        assert scheduling.read_mailbox(limit=100) == 0
    assert noted() == came_back[:2]


def test_a_mail_that_can_not_be_taken_stays_in_the_mailbox(came_back: list[int]) -> None:
    def take(raw: bytes) -> None:
        if raw.startswith(b"X"):
            raise RuntimeError("database away")

    with imap_server([b"A: b\n\n", b"X: y\n\n", b"C: d\n\n"]) as url:
        with pytest.raises(RuntimeError):
            mailbox.read(url, take, limit=10)
        assert left_in(url) == 2


def test_a_pop3_mailbox_is_read_too(came_back: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pop_server(bounces(came_back)) as server:
        monkeypatch.setenv("MAILER_BOUNCE_MAILBOX_URL", server.url)
        forget()
        assert "3 mails read: 3 return" in mailer("bounces", "fetch").out
        assert server.mails == {}
    assert noted() == came_back


@pytest.mark.parametrize("port", ["closed", "pop"])
def test_a_mailbox_that_can_not_be_read_says_why_and_not_the_password(port: str) -> None:
    with pop_server([]) as server:
        where = server.url.replace(PASSWORD, "wrong-secret")
        if port == "closed":
            where = f"imap://retours:wrong-secret@127.0.0.1:{free_port()}/INBOX"
        with pytest.raises(mailbox.MailboxUnreadable) as found:
            mailbox.read(where, lambda _raw: None, limit=1)
    assert "127.0.0.1" in str(found.value)
    assert "secret" not in str(found.value)


@contextlib.contextmanager
def listener(protocol: str) -> Iterator[int]:
    """The command `mailer bounces listen` in a process of its own. Yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "mailer", "bounces", "listen", f"--{protocol}", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Listening" in process.stderr.readline()
        try:
            yield port
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize(("protocol", "client"), [("lmtp", smtplib.LMTP), ("smtp", smtplib.SMTP)])
def test_the_listener_takes_what_is_ours_and_nothing_else(
    came_back: list[int], protocol: str, client: type[smtplib.SMTP]
) -> None:
    first, second, _ = came_back
    with listener(protocol) as port, client("127.0.0.1", port) as said:
        path = links.return_path(BOX, first)
        said.sendmail("", [path], bounces([first])[0])
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            said.sendmail("", ["somebody@lettre.example"], bounces([second])[0])
        (code, _words), *_ = refused.value.recipients.values()
        assert code == 550
        rejected = said.sendmail("", [path, links.return_path(BOX, second)], bounces([first])[0])
        assert [code for code, _ in rejected.values()] == [452]
    assert noted() == [first]


def test_a_mail_that_is_too_big_is_refused_by_the_listener(came_back: list[int]) -> None:
    with listener("lmtp") as port, smtplib.LMTP("127.0.0.1", port) as said, pytest.raises(smtplib.SMTPException):
        said.sendmail("", [links.return_path(BOX, came_back[0])], b"A: b\n\n" + b"x" * incoming.LARGEST_BYTES)
    assert noted() == []


def test_a_pipe_hands_a_mail_over_with_its_envelope(came_back: list[int], tmp_path: Path) -> None:
    path = links.return_path(BOX, came_back[0])
    file = tmp_path / "mail.eml"
    file.write_bytes(a_bounce("retours@lettre.example", "550 5.1.1 no such user"))
    assert mailer("bounces", "take", str(file), "--recipient", path).out.strip() == "Taken: return."
    assert mailer("bounces", "take", str(file), "--recipient", path).out.strip() == "Taken: known already."
    listed = mailer("bounces", "list").out
    assert "user_unknown" in listed
    assert "@" not in listed


def test_where_to_listen_is_checked() -> None:
    for wrong in ("8024", "127.0.0.1:99999", "host:port", ""):
        with pytest.raises(ValueError, match="no address"):
            listening.listen(wrong)


def test_a_socket_that_somebody_serves_is_not_taken_away(tmp_path: Path) -> None:
    path = str(tmp_path / "bounces.sock")
    with listening.listen(path), pytest.raises(OSError, match="in use"):
        listening.listen(path)
    with listening.listen(path):  # the one of a process that is gone
        pass
