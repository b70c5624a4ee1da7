"""What every test may use: real PostgreSQL and Valkey, one pair a run, and a real SMTP server."""

import asyncio
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from redis import Redis
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import Session as DatabaseSession

from mailer import db, links, queue, settings
from mailer.audience import abuse
from mailer.delivery import sending
from mailer.embedded.processes import Supervisor
from mailer.embedded.services import Servers, Services
from mailer.migrations import run as migrations
from mailer.models import Base

DkimKeys = dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey]
_RUNNING = pytest.StashKey[ExitStack]()
_USED_NUMBERS: set[str] = set()
_SERVERS = pytest.StashKey[Servers]()


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest) -> Servers:
    """PostgreSQL and Valkey, shared by all xdist workers; each worker has a Valkey database of its own.

    TEST_DATABASE_URL and TEST_REDIS_URL, both of them, replace the embedded servers.
    """
    worker = getattr(request.config, "workerinput", None)
    if worker is None:
        return _start(request.config)
    number = int(re.sub(r"\D", "", worker["workerid"])) % 16
    redis_url = re.sub(r"(db=|:\d+/)\d+$", rf"\g<1>{number}", worker["redis_url"])
    return Servers(database_url=worker["database_url"], redis_url=redis_url)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Start the servers in xdist's controller and tell each worker where they are."""
    servers = _start(node.config)
    node.workerinput["database_url"] = servers.database_url
    node.workerinput["redis_url"] = servers.redis_url


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what this process has started."""
    if _RUNNING in config.stash:
        config.stash[_RUNNING].close()


def _start(config: pytest.Config) -> Servers:
    if _SERVERS in config.stash:
        return config.stash[_SERVERS]
    if "TEST_DATABASE_URL" in os.environ:
        database_url = re.sub(
            r"^postgres(ql)?(\+psycopg)?://", "postgresql+psycopg://", os.environ["TEST_DATABASE_URL"]
        )
        servers = Servers(database_url=database_url, redis_url=os.environ["TEST_REDIS_URL"])
    else:
        with ExitStack() as stack:
            supervisor = stack.enter_context(Supervisor())
            # The supervisor's directory goes with it, even when the run is killed.
            data_dir = supervisor.private_directory("mailer-tests-")
            servers = stack.enter_context(Services(data_dir, durable=False, supervisor=supervisor))
            config.stash[_RUNNING] = stack.pop_all()
    config.stash[_SERVERS] = servers
    return servers


@dataclass(frozen=True, kw_only=True)
class Received:
    """One message as the SMTP server took it."""

    envelope_from: str
    recipients: tuple[str, ...]
    content: bytes  # after DATA, dots unstuffed

    @property
    def email(self) -> EmailMessage:
        """The message, parsed."""
        return message_from_bytes(self.content, policy=policy.default)


@dataclass
class SmtpInbox:
    """A real SMTP server in a thread; `messages` and `raw` are in order of arrival."""

    host: str
    port: int
    messages: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where to send, as MAILER_SMTP_URL has it."""
        return f"smtp://{self.host}:{self.port}"

    @property
    def raw(self) -> list[bytes]:
        """The bytes of each message."""
        return [message.content for message in self.messages]

    def wait_for(self, count: int, timeout_seconds: float = 10) -> list[Received]:
        """Return the messages once there are `count`; fail the test when they do not come."""
        deadline = time.monotonic() + timeout_seconds
        while len(self.messages) < count:
            assert time.monotonic() < deadline, f"{len(self.messages)} of {count} messages after {timeout_seconds} s"
            time.sleep(0.01)
        return list(self.messages)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep what aiosmtpd has received."""
        self.messages.append(
            Received(
                envelope_from=(envelope.mail_from or "").strip("<>"),
                recipients=tuple(envelope.rcpt_tos),
                content=envelope.original_content or b"",
            )
        )
        return "250 2.0.0 OK"


@pytest.fixture(scope="session")
def database_url(services: Servers, worker_id: str) -> Iterator[str]:
    """A migrated database of this xdist worker's own."""
    name = f"test_{worker_id}"
    services.drop_database(name)
    services.create_database(name)
    url = services.url_for(name)
    migrations.upgrade(url)
    yield url
    services.drop_database(name)


@pytest.fixture(scope="session")
def migrated(database_url: str) -> Iterator[Engine]:
    """Connections to the worker's database."""
    engine = create_engine(database_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def session(migrated: Engine, environment: None) -> Iterator[DatabaseSession]:
    """A session whose every change is rolled back at the end of the test."""
    with migrated.connect() as connection, connection.begin() as outer:
        options = {"join_transaction_mode": "create_savepoint", "expire_on_commit": False}
        with DatabaseSession(bind=connection, **options) as session:
            yield session
        outer.rollback()
    # What was rolled back has used up numbers: tests of a whole installation count on the first ones.
    _USED_NUMBERS.add(str(migrated.url))


@pytest.fixture
def environment(
    database_url: str, services: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The settings of a small installation whose mail goes nowhere yet."""
    values = {
        "DATABASE_URL": database_url,
        "REDIS_URL": services.redis_url,
        "MAILER_SECRET_KEY": "a secret for tests that is long enough",
        "MAILER_PUBLIC_URL": "https://lettre.example",
        "MAILER_SMTP_URL": "smtp://127.0.0.1:1",
        "MAILER_CONFIG": str(tmp_path / "mailer.toml"),
        "MAILER_JOURNAL_DIR": str(tmp_path / "journal"),
        "MAILER_FEED_PRIVATE_NETWORKS": "127.0.0.0/8",
        # The articles of most tests have pages nowhere.
        "MAILER_CHECK_PAGES": "false",
        "MAILER_CHECK_LINKS": "false",
        # Tests type fast, and rue nothing.
        "MAILER_FORM_SECONDS": "0",
        "MAILER_UNDO_SECONDS": "0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    forget()
    yield
    forget()


@pytest.fixture
def installation(
    environment: None, services: Servers, smtp_inbox: "SmtpInbox", migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator["SmtpInbox"]:
    """A whole installation on the worker's own database, emptied afterwards; mail goes to the returned inbox."""
    with Redis.from_url(services.redis_url) as redis:
        # What other tests have counted, above all.
        redis.flushdb()
    monkeypatch.setenv("MAILER_SMTP_URL", smtp_inbox.url)
    if str(migrated.url) in _USED_NUMBERS:
        _empty(migrated)
    forget()
    yield smtp_inbox
    forget()
    _empty(migrated)


def _empty(engine: Engine) -> None:
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        # A connection that was left open would keep this waiting without a word.
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    _USED_NUMBERS.discard(str(engine.url))


def forget() -> None:
    """Close what the process holds open, so that the next use reads the settings anew."""
    sending.shut_down()
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    if queue.client.cache_info().currsize:
        queue.client().close()
    if abuse.counter.cache_info().currsize:
        abuse.counter().close()
    for cached in (settings.load, db.engine, links._key, queue.client, abuse.counter):
        cached.cache_clear()


@pytest.fixture
def dkim_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DkimKeys:
    """An RSA and an Ed25519 key, by selector, that the settings name for courrier.example."""
    made: DkimKeys = {
        "r1": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "e1": ed25519.Ed25519PrivateKey.generate(),
    }
    named = []
    for selector, key in made.items():
        path = tmp_path / f"{selector}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        named.append({"domain": "courrier.example", "selector": selector, "key_file": str(path)})
    monkeypatch.setenv("MAILER_DKIM", json.dumps(named))
    settings.load.cache_clear()
    return made


@pytest.fixture
def smtp_inbox() -> Iterator[SmtpInbox]:
    """An SMTP server of this test's own on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        host, port = listening.getsockname()
        inbox = SmtpInbox(host=host, port=port)
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(_receive(inbox, listening, stop),))
        thread.start()
        try:
            yield inbox
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()


async def _receive(inbox: SmtpInbox, listening: socket.socket, stop: asyncio.Event) -> None:
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(inbox, hostname="localhost", enable_SMTPUTF8=True))
        return sessions[-1]

    server = await asyncio.get_running_loop().create_server(session, sock=listening)
    await stop.wait()
    server.close()
    for smtp in sessions:
        if smtp.transport is not None:
            smtp.transport.abort()
    # Let aborted connections and their handlers end before the loop closes.
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
