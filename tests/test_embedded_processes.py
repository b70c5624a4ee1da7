import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.embedded.processes import (
    Child,
    ChildDied,
    ChildNotStarted,
    Supervisor,
    free_port,
    last_lines,
    wait_for_port,
)

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
# Starts a child that ignores SIGTERM and has a grandchild in a session of its own, prints a line, then waits.
OWNER = """
    import sys
    from pathlib import Path
    from mailer.embedded.processes import Child, Supervisor
    with Supervisor() as supervisor:
        folder = supervisor.private_directory("mailer-owner-", Path.cwd())
        stubborn = "trap '' TERM; setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done"
        child = Child(name="stubborn", argv=["sh", "-c", stubborn], log=Path("log"), grace_seconds=0.5)
        supervisor.start(child)
        sys.stdout.write(f"{folder}\\n"); sys.stdout.flush()
        supervisor.wait()
"""


def child(folder: Path, program: str, name: str = "child", **options) -> Child:
    return Child(name=name, argv=[sys.executable, "-u", "-c", program], log=folder / f"{name}.log", **options)


def start_owner(folder: Path) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert "mailer-owner-" in owner.stdout.readline()
    wait_until(lambda: len(processes_in(folder)) >= 4)
    return owner


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 15) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_a_death_is_reported_with_name_code_and_log(tmp_path):
    with Supervisor() as supervisor:
        supervisor.start(child(tmp_path, "import sys; print('no paper'); sys.exit(3)", "printer"))
        with pytest.raises(ChildDied, match=r"printer ended with exit code 3\. The last lines of .*:\nno paper"):
            supervisor.wait(10)


def test_a_killed_child_is_reported_by_the_signals_name(tmp_path):
    with Supervisor() as supervisor:
        os.kill(supervisor.start(child(tmp_path, "import time; time.sleep(60)")), signal.SIGKILL)
        with pytest.raises(ChildDied, match="child was killed by SIGKILL and logged nothing"):
            supervisor.wait(10)


def test_a_child_that_was_asked_to_end_is_no_death(tmp_path):
    with Supervisor() as supervisor:
        supervisor.start(child(tmp_path, "import time; time.sleep(60)"))
        assert supervisor.end("child") == -signal.SIGTERM
        supervisor.check()
        assert supervisor.running() == {}


def test_a_child_can_be_started_again_under_its_name(tmp_path):
    with Supervisor() as supervisor:
        supervisor.start(child(tmp_path, "import time; time.sleep(60)"))
        supervisor.end("child", signal.SIGKILL)
        supervisor.start(child(tmp_path, "import time; time.sleep(60)"))
        supervisor.check()
        assert list(supervisor.running()) == ["child"]


def test_a_missing_program_is_refused_by_name(tmp_path):
    with (
        Supervisor() as supervisor,
        pytest.raises(ChildNotStarted, match=r"ghost could not be started.*/no/such/program"),
    ):
        supervisor.start(Child(name="ghost", argv=["/no/such/program"], log=tmp_path / "log"))


def test_higher_stages_are_stopped_first(tmp_path):
    program = (
        "import signal, sys, time\n"
        "def leave(*_): time.sleep(0.2); open('order', 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave); print('ready'); time.sleep(60)"
    )
    with Supervisor() as supervisor:
        for name, stage in (("server", 0), ("client", 1)):
            argv = [sys.executable, "-u", "-c", program, f"{name} "]
            supervisor.start(Child(name=name, argv=argv, log=tmp_path / name, cwd=tmp_path, stage=stage))
            wait_until(lambda name=name: "ready" in supervisor.log_of(name))
    assert (tmp_path / "order").read_text() == "client server "


def test_children_get_the_signals_of_a_fresh_process(tmp_path):
    program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    with Supervisor() as supervisor:
        assert supervisor.run(child(tmp_path, program)) == 0
        assert supervisor.log_of("child") == "True"


def test_the_private_directory_goes_with_the_supervisor(tmp_path):
    with Supervisor() as supervisor:
        folder = supervisor.private_directory("mailer-", tmp_path)
        (folder / "file").touch()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


@ON_LINUX
def test_a_child_that_ignores_sigterm_is_killed_with_its_descendants(tmp_path):
    owner = start_owner(tmp_path)
    started = time.monotonic()
    owner.terminate()
    owner.communicate(timeout=20)
    assert owner.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - started < 5
    assert processes_in(tmp_path) == []


@ON_LINUX
def test_ctrl_c_stops_everything(tmp_path):
    owner = start_owner(tmp_path)
    owner.send_signal(signal.SIGINT)
    time.sleep(0.1)
    owner.send_signal(signal.SIGINT)  # the impatient second one must not cut the stopping short
    owner.communicate(timeout=20)
    assert processes_in(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@ON_LINUX
def test_a_killed_owner_leaves_no_process_and_no_directory(tmp_path):
    owner = start_owner(tmp_path)
    owner.kill()
    owner.communicate()
    wait_until(lambda: processes_in(tmp_path) == [])
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@ON_LINUX
def test_a_killed_reaper_takes_its_children_along(tmp_path):
    with Supervisor() as supervisor:
        supervisor.start(child(tmp_path, "import time; time.sleep(60)", cwd=tmp_path))
        os.kill(supervisor.reaper_pid, signal.SIGKILL)
        with pytest.raises(ChildDied, match="reaper"):
            supervisor.wait(10)
        wait_until(lambda: processes_in(tmp_path) == [])


def test_waiting_for_a_port_ends_when_something_listens():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        wait_for_port("127.0.0.1", port, 5)


def test_waiting_for_a_port_in_vain_names_it():
    port = free_port()
    with pytest.raises(TimeoutError, match=f"127.0.0.1:{port}"):
        wait_for_port("127.0.0.1", port, 0.1)


def test_the_end_of_a_log_starts_after_the_offset(tmp_path):
    (tmp_path / "log").write_text("old\n" + "new\n" * 20)
    assert last_lines(tmp_path / "log", offset=4, count=30).split() == ["new"] * 20
