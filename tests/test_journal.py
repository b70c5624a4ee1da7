"""What a killed worker leaves behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from mailer.delivery import journal

SCRIPT = """
import os, sys
from pathlib import Path
from mailer.delivery.journal import Journal
it = Journal(Path(sys.argv[1]), capacity=10)
it.begin(batch=4, fence=2)
it.handed(11); it.settled(11, 2); it.handed(12)
print(it.owner, flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), 9)
sys.stdin.read()
"""


def start(folder: Path, what: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate()


def test_a_killed_workers_last_words_are_read_back(tmp_path: Path) -> None:
    process, owner = start(tmp_path, "die")
    finish(process)
    assert journal.recover(tmp_path, owner, batch=4, fence=2) == {11: 2, 12: 1}


def test_another_batch_was_not_begun(tmp_path: Path) -> None:
    process, owner = start(tmp_path, "die")
    finish(process)
    assert journal.recover(tmp_path, owner, batch=4, fence=3) == {}
    assert journal.recover(tmp_path, owner, batch=5, fence=2) == {}


def test_a_living_worker_keeps_its_batch(tmp_path: Path) -> None:
    process, owner = start(tmp_path, "live")
    with pytest.raises(journal.OwnerAlive):
        journal.recover(tmp_path, owner, batch=4, fence=2)
    finish(process)


def test_a_lost_journal_proves_nothing(tmp_path: Path) -> None:
    assert journal.recover(tmp_path, "elsewhere.1.abc", batch=4, fence=2) is None


def test_a_journal_of_an_earlier_boot_proves_nothing(tmp_path: Path) -> None:
    process, owner = start(tmp_path, "die")
    finish(process)
    with (tmp_path / owner).open("r+b") as file:
        file.write(b"another-boot".ljust(36))
    assert journal.recover(tmp_path, owner, batch=4, fence=2) is None


def test_a_new_batch_forgets_the_last_one(tmp_path: Path) -> None:
    mine = journal.Journal(tmp_path, capacity=4)
    mine.begin(batch=1, fence=1)
    for delivery in range(4):
        mine.handed(delivery)
        mine.settled(delivery, 2)
    mine.begin(batch=2, fence=1)
    mine.handed(9)
    raw = (tmp_path / mine.owner).read_bytes()
    assert raw.count((9).to_bytes(8, "big") + b"\x01") == 1
    assert (3).to_bytes(8, "big") + b"\x02" not in raw
    mine.close()


def test_a_machine_keeps_its_name(tmp_path: Path) -> None:
    assert journal.host_id(tmp_path) == journal.host_id(tmp_path)


def test_journals_of_ended_workers_are_ownerless_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    dead, dead_owner = start(tmp_path, "die")
    finish(dead)
    alive, alive_owner = start(tmp_path, "live")
    try:
        assert journal.ownerless(tmp_path) == [dead_owner]
        assert (tmp_path / alive_owner).exists()
    finally:
        alive.kill()
        finish(alive)
    assert journal.ownerless(tmp_path / "nowhere") == []
