"""PostgreSQL and Redis break in the middle of a send: nobody is lost, nobody gets two, and sending goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import select, update

from mailer import clock, settings
from mailer.db import transaction
from mailer.models.content import Issue, Newsletter
from tests.conftest import SmtpInbox
from tests.faults import service as whole
from tests.faults.conftest import Machine, libpq
from tests.faults.service import Service, check
from tests.proxy import Proxy, proxied, to_unix_socket

DISK_BYTES = 256 * 1024
# A batch that is open when the disk fills up may be sent to its end; nothing more is begun.
RECORD_SECONDS = 2.0


def test_redis_is_emptied(service: Service) -> None:
    service.begin()
    with redis.Redis.from_url(settings.load().redis_url) as client:
        client.flushall()
    service.wait_for_progress()
    check(service)


def test_redis_is_killed_three_times(service: Service, machine: Machine) -> None:
    service.begin()
    for share in (0.2, 0.4, 0.6):
        service.wait_for_share(share)
        machine.restart("valkey", signal.SIGKILL, down_seconds=1)
    service.wait_for_progress()
    check(service)


def test_redis_is_away_when_the_slot_comes(service: Service, machine: Machine) -> None:
    machine.kill("valkey", signal.SIGKILL)
    now = clock.now()
    minute_ago = now - timedelta(minutes=1)
    with transaction() as session:
        daily = {"cron": f"{minute_ago.minute} {minute_ago.hour} * * *", "timezone": "UTC"}
        session.execute(update(Newsletter).values(scheduled_since=now - timedelta(minutes=3), **daily))
    time.sleep(2)
    machine.start_again("valkey")
    whole.wait_for(lambda: issue_ids() != [], seconds=whole.RESUME_SECONDS)
    (service.issue_id,) = issue_ids()
    check(service)
    assert len(issue_ids()) == 1


def test_postgresql_restarts_twice_without_warning(service: Service, machine: Machine) -> None:
    service.begin()
    for share in (0.2, 0.6):
        service.wait_for_share(share)
        machine.restart("postgres", signal.SIGQUIT, down_seconds=1)
        service.wait_for_progress()
    check(service)


@pytest.mark.slow
def test_postgresql_says_nothing_for_ten_seconds_and_resets(
    installation: SmtpInbox, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        proxied(to_unix_socket(postgres_socket(machine))) as proxy,
        whole.running(tmp_path, monkeypatch, DATABASE_URL=through(proxy)) as service,
    ):
        service.begin()
        be_silent(proxy, seconds=10)
        service.wait_for_progress()
        check(service)


@pytest.mark.slow
def test_redis_says_nothing_for_ten_seconds_and_resets(
    installation: SmtpInbox, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        proxied(to_unix_socket(valkey_socket(machine))) as proxy,
        whole.running(tmp_path, monkeypatch, REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") as service,
    ):
        service.begin()
        be_silent(proxy, seconds=10)
        check(service)


@pytest.mark.slow
def test_a_connection_to_redis_that_died_silently_is_noticed(
    installation: SmtpInbox, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        proxied(to_unix_socket(valkey_socket(machine))) as proxy,
        whole.running(tmp_path, monkeypatch, REDIS_URL=f"redis://127.0.0.1:{proxy.port}/0") as service,
    ):
        time.sleep(4)  # until worker and beat are at work
        proxy.forget()
        service.begin()
        check(service)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_the_disk_of_postgresql_is_full(service: Service, machine: Machine) -> None:
    with small_disk(machine) as filler:
        service.begin()
        fill(filler)
        # What room is left in the table's last page may be used.
        whole.wait_for(lambda: "DiskFull" in (service.stack.folder / "worker.log").read_text())
        full_at = time.monotonic()
        time.sleep(RECORD_SECONDS + 3)
        assert service.begun_after(full_at + RECORD_SECONDS) == 0, "sent without a ledger to write to"
        filler.unlink()
        service.wait_for_progress()
        check(service)


@contextlib.contextmanager
def small_disk(machine: Machine) -> Iterator[Path]:
    """Keep the table of outcomes on a disk of its own, and yield a file there that may be filled to the last page."""
    owner = (machine.data_dir / "postgres").stat().st_uid
    disk = machine.supervisor.private_directory("mailer-disk-")
    options = f"size={DISK_BYTES},mode=700,uid={owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    space = disk / "space"
    space.mkdir(mode=0o700)
    os.chown(space, owner, owner)
    with psycopg.connect(libpq(machine.servers.database_url), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(space)))
        connection.execute("ALTER TABLE outcomes SET TABLESPACE small")
        try:
            yield disk / "filler"
        finally:
            (disk / "filler").unlink(missing_ok=True)
            connection.execute("ALTER TABLE outcomes SET TABLESPACE pg_default")
            connection.execute("DROP TABLESPACE small")
            subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def be_silent(proxy: Proxy, *, seconds: float) -> None:
    """Let the connections through the proxy stand, without a byte arriving; then break them and let new ones work."""
    proxy.swallow()
    time.sleep(seconds)
    proxy.restore()


def through(proxy: Proxy) -> str:
    """Return the database's address by way of the proxy."""
    return f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/mailer"


def issue_ids() -> list[int]:
    with transaction() as session:
        return list(session.execute(select(Issue.id)).scalars())


def postgres_socket(machine: Machine) -> str:
    return f"{machine.servers.database_url.partition('?host=')[2]}/.s.PGSQL.5432"


def valkey_socket(machine: Machine) -> str:
    return machine.servers.redis_url.removeprefix("unix://").partition("?")[0]
