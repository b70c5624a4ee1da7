"""The local queue: what was answered is on the disk, is taken over once and in order, whatever is away or dies."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mailer.counting import events


class Database:
    """Takes segments over, each once, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.taken: list[events.Record] = []
        self.seen: dict[str, int] = {}

    def __call__(self, spool: str, number: int, records: Sequence[events.Record]) -> None:
        if self.is_away:
            raise events.Unavailable
        if any("bad" in one for one in records):
            raise ValueError("nothing that could be stored")
        if number > self.seen.get(spool, 0):
            self.seen[spool] = number
            self.taken += records


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def recorder(tmp_path: Path, database: Database) -> Iterator[events.Recorder]:
    made = events.Recorder(tmp_path / "web", database)
    yield made
    made.stop()


def until(is_so: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.isdigit()]


def test_what_is_kept_is_on_the_disk_before_the_answer(
    tmp_path: Path, recorder: events.Recorder, database: Database
) -> None:
    database.is_away = True
    asyncio.run(recorder.keep({"id": 1}))
    assert '{"id":1}' in "".join(path.read_text() for path in files(tmp_path))


def test_all_is_taken_over_once_and_nothing_stays(
    tmp_path: Path, recorder: events.Recorder, database: Database
) -> None:
    async def many() -> None:
        await asyncio.gather(*(recorder.keep({"id": n}) for n in range(500)))

    asyncio.run(many())
    recorder.note({"id": 500})
    recorder.stop()
    assert sorted(one["id"] for one in database.taken) == list(range(501))
    assert list((tmp_path / "web").iterdir()) == []


def test_what_is_told_while_others_are_taken_over_is_not_lost(recorder: events.Recorder, database: Database) -> None:
    async def asker(first: int) -> None:
        for n in range(first, first + 300):
            await recorder.keep({"id": n})

    async def many() -> None:
        await asyncio.gather(*(asker(300 * n) for n in range(16)))

    asyncio.run(many())
    recorder.stop()
    assert sorted(one["id"] for one in database.taken) == list(range(4800))


def test_what_was_told_while_the_database_was_away_arrives_when_it_is_back(
    recorder: events.Recorder, database: Database
) -> None:
    database.is_away = True
    for n in range(3):
        asyncio.run(recorder.keep({"id": n}))
        time.sleep(0.05)
    assert database.taken == []
    database.is_away = False
    until(lambda: len(database.taken) == 3, seconds=1)
    assert [one["id"] for one in database.taken] == [0, 1, 2]


def test_a_segment_that_can_never_be_stored_keeps_no_other_back(
    tmp_path: Path, recorder: events.Recorder, database: Database
) -> None:
    asyncio.run(recorder.keep({"bad": 1}))
    until(lambda: bool(list(tmp_path.rglob("*.bad"))))
    asyncio.run(recorder.keep({"id": 2}))
    until(lambda: len(database.taken) == 1)


def test_a_disk_that_takes_nothing_is_told_to_who_asked(
    tmp_path: Path, recorder: events.Recorder, database: Database
) -> None:
    asyncio.run(recorder.keep({"id": 1}))
    until(lambda: len(database.taken) == 1)
    (folder,) = (tmp_path / "web").iterdir()
    until(lambda: not files(folder))
    (folder / f"{2:012d}").mkdir()
    with pytest.raises(events.QueueBroken):
        asyncio.run(recorder.keep({"id": 2}))
    (folder / f"{2:012d}").rmdir()


def test_a_segment_taken_over_twice_counts_once(tmp_path: Path, database: Database) -> None:
    spool = events.Spool(tmp_path)
    spool.append([{"id": 1}], durably=True)
    spool.rotate()
    (path,) = files(spool.folder)
    content = path.read_bytes()
    events.take_over_folder(spool.folder, database)
    path.write_bytes(content)
    events.take_over_folder(spool.folder, database)
    assert len(database.taken) == 1
    spool.close()


def test_a_line_that_was_cut_is_passed_over(tmp_path: Path, database: Database) -> None:
    spool = events.Spool(tmp_path)
    spool.append([{"id": 1}], durably=True)
    spool.rotate()
    (path,) = files(spool.folder)
    path.write_bytes(path.read_bytes() + b'{"id":2,"no')
    events.take_over_folder(spool.folder, database)
    assert database.taken == [{"id": 1}]
    spool.close()


def test_the_queue_of_a_living_process_is_left_alone(tmp_path: Path, database: Database) -> None:
    spool = events.Spool(tmp_path)
    spool.append([{"id": 1}], durably=True)
    assert events.take_over_left(tmp_path, database) == 0
    spool.close()
    assert events.take_over_left(tmp_path, database) == 1
    assert database.taken == [{"id": 1}]
    assert list(tmp_path.iterdir()) == []


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from mailer import logs
from mailer.counting import events

logs.set_up()

def away(spool, number, records):
    raise events.Unavailable

async def main():
    recorder = events.Recorder(Path(sys.argv[1]), away)
    for start in range(0, 2000, 50):
        await asyncio.gather(*(recorder.keep({"id": n}) for n in range(start, start + 50)))
        print(start + 50, flush=True)

asyncio.run(main())
"""


def test_nothing_that_was_answered_is_lost_when_the_process_is_killed(tmp_path: Path, database: Database) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answered = 0
        for line in process.stdout:
            answered = int(line)
            if answered >= 500:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert events.take_over_left(tmp_path, database) == 1
    assert {one["id"] for one in database.taken} >= set(range(answered))


def test_threads_that_note_at_once_lose_nothing(recorder: events.Recorder, database: Database) -> None:
    def work(first: int) -> None:
        for n in range(first, first + 1000):
            recorder.note({"id": n})

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.stop()
    assert sorted(one["id"] for one in database.taken) == list(range(4000))
