import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
import redis

from mailer.embedded.services import DataDirectoryInUse, Servers, Services, ServicesFailed

ROOT = Path(__file__).parents[1]
NOBODY = 65534
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
AS_ROOT = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to become somebody else")
# Starts the servers in the folder it runs in, keeps a connection open, says who PostgreSQL runs as, and waits.
OWNER = """
import os, sys, time
from pathlib import Path
import psycopg
from mailer.embedded.services import Services, ServicesFailed
try:
    with Services(Path("data"), durable=True) as servers:
        url = servers.database_url.replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS story (title text)")
            connection.execute("INSERT INTO story VALUES ('Aral')")
            connection.commit()
            uid = Path("data/postgres").stat().st_uid
            sys.stdout.write(f"up {uid} {servers.database_url}\\n"); sys.stdout.flush()
            time.sleep(float(sys.argv[1]))
except ServicesFailed as error:
    sys.exit(str(error))
"""


def connect(servers: Servers, name: str = "mailer") -> psycopg.Connection:
    return psycopg.connect(servers.url_for(name).replace("+psycopg", ""))


def owner_command(python: str = sys.executable, seconds: float = 0) -> list[str]:
    return [python, "-W", "error", "-c", OWNER, str(seconds)]


def owner_environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("platlib")])}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="mailer-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def owner(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the servers, up and with a client connected; its temporary files are in the folder too."""
    environment = owner_environment() | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        owner_command(seconds=60), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("up ")
        yield process
        process.kill()
    wait_until(lambda: pids_in(folder) == [])


def pids_in(folder: Path) -> list[int]:
    """Processes that work in a folder: the owner, its reaper, the servers and the PostgreSQL backends."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def anybodys_environment(folder: Path) -> dict[str, str]:
    return owner_environment() | {"LD_LIBRARY_PATH": str(folder)}


def python_for_anybody(folder: Path) -> str:
    """An interpreter that an unprivileged user can run with our packages: the test's own, or a copy if under /root."""
    if runs_for_anybody(sys.executable, folder):
        return sys.executable
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    copy = folder / "python" / "bin" / version
    copy.parent.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), copy)
    for library in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
        shutil.copy2(library, folder)
    unneeded = shutil.ignore_patterns("site-packages", "test", "config-*", "idlelib", "ensurepip")
    shutil.copytree(sysconfig.get_path("stdlib"), copy.parents[1] / "lib" / version, ignore=unneeded)
    if not runs_for_anybody(str(copy), folder):
        pytest.skip("no Python with these packages is open to unprivileged users")
    return str(copy)


def runs_for_anybody(python: str, folder: Path) -> bool:
    check = [python, "-c", "import psycopg, redis, sqlalchemy, mailer"]
    try:
        subprocess.run(check, env=anybodys_environment(folder), user=NOBODY, group=NOBODY, cwd="/", check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def test_both_servers_answer(services):
    with connect(services) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with redis.Redis.from_url(services.redis_url) as client:
        assert client.ping()


def test_lower_knows_more_than_ascii(services):
    with connect(services) as connection:
        assert connection.execute("SELECT lower('ÉCLAIR ҚАЗАҚ')").fetchone() == ("éclair қазақ",)


def test_the_broker_address_is_the_redis_address_as_celery_writes_it():
    servers = Servers(database_url="postgresql+psycopg://x/y", redis_url="unix:///run/v.sock?db=3")
    assert servers.broker_url == "redis+socket:///run/v.sock?virtual_host=3"
    assert Servers(database_url="", redis_url="redis://h:1/2").broker_url == "redis://h:1/2"


def test_a_database_can_be_cloned_and_dropped(services):
    name = f"clone_{os.getpid()}"
    services.create_database(name)
    with connect(services, name) as connection:
        connection.execute("CREATE TABLE story (title text)")
    services.create_database(f"{name}_2", template=name)
    with connect(services, f"{name}_2") as connection:
        assert connection.execute("SELECT count(*) FROM story").fetchone() == (0,)
    services.drop_database(f"{name}_2")
    services.drop_database(name)
    services.drop_database(name)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(services, name)


def test_a_restart_keeps_what_was_stored(tmp_path):
    for expected in (0, 1):
        with (
            Services(tmp_path / "data") as servers,
            connect(servers) as connection,
            redis.Redis.from_url(servers.redis_url) as client,
        ):
            connection.execute("CREATE TABLE IF NOT EXISTS story (title text)")
            assert connection.execute("SELECT count(*) FROM story").fetchone() == (expected,)
            connection.execute("INSERT INTO story VALUES ('Aral')")
            assert client.incr("story") == expected + 1


def test_nothing_listens_on_the_network(tmp_path):
    with Services(tmp_path / "data", durable=False) as servers:
        with connect(servers) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.config_get("port") == {"port": "0"}


@ON_LINUX
@AS_ROOT
@pytest.mark.parametrize("uid", [NOBODY, 123456], ids=["nobody", "a user without a name"])
def test_an_unprivileged_user_can_start_them(folder, uid):
    python = python_for_anybody(folder)
    os.chown(folder, uid, uid)
    run = subprocess.run(
        owner_command(python),
        cwd=folder,
        env=anybodys_environment(folder),
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.startswith(f"up {uid} "), run.stderr


@ON_LINUX
@AS_ROOT
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["open folder", "closed folder"])
def test_root_can_start_them_where_user_namespaces_are_forbidden(folder, mode):
    folder.chmod(mode)
    code, output = without_namespaces(owner_command(), folder)
    assert (code, output.split()[:2]) == (0, ["up", str(NOBODY)])


@ON_LINUX
@AS_ROOT
def test_root_can_change_over_to_namespaces_and_back(folder):
    assert without_namespaces(owner_command(), folder)[0] == 0
    subprocess.run(owner_command(), cwd=folder, env=owner_environment(), check=True, capture_output=True)
    assert without_namespaces(owner_command(), folder)[0] == 0


@ON_LINUX
def test_a_killed_owner_leaves_no_process_and_no_socket_directory(folder, owner):
    assert len(pids_in(folder)) >= 4
    # As root there is one more.
    assert len(list(folder.glob("mailer-*/*"))) >= 2
    owner.kill()
    owner.wait()
    wait_until(lambda: pids_in(folder) == [])
    assert [path.name for path in folder.iterdir()] == ["data"]


@ON_LINUX
def test_they_start_again_at_once_after_the_owner_was_killed(folder, owner):
    owner.kill()
    owner.wait()
    with Services(folder / "data") as servers, connect(servers) as connection:
        assert connection.execute("SELECT count(*) FROM story").fetchone() == (1,)


@ON_LINUX
def test_they_start_again_after_everything_was_killed(folder, owner):
    for pid in pids_in(folder):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # a backend went with its server
            continue
    owner.wait()
    with Services(folder / "data") as servers, connect(servers) as connection:
        assert connection.execute("SELECT count(*) FROM story").fetchone() == (1,)


@ON_LINUX
def test_a_pid_file_whose_number_is_somebody_elses_is_no_hindrance(tmp_path):
    with Services(tmp_path / "data") as servers, connect(servers):
        lines = (tmp_path / "data/postgres/postmaster.pid").read_text().split("\n")
    (tmp_path / "data/postgres/postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with Services(tmp_path / "data") as servers, connect(servers) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@ON_LINUX
def test_a_second_start_on_the_same_directory_is_refused(folder, owner):
    with (
        pytest.raises(DataDirectoryInUse, match=rf"^{folder}/data is in use by process {owner.pid}; [^\n]+\.$"),
        Services(folder / "data"),
    ):
        pass


def test_a_broken_server_is_reported_with_its_log(tmp_path):
    with Services(tmp_path / "data", durable=False):
        pass
    with (tmp_path / "data/postgres/postgresql.conf").open("a") as settings:
        settings.write("nonsense = on\n")
    with (
        pytest.raises(ServicesFailed, match=r'postgres ended with exit code 1\b[\s\S]*parameter "nonsense"'),
        Services(tmp_path / "data", durable=False),
    ):
        pass


def test_a_cluster_left_half_made_is_made_again(tmp_path):
    (tmp_path / "data/postgres.new").mkdir(parents=True)
    (tmp_path / "data/postgres.new/PG_VERSION").write_text("18\n")
    with Services(tmp_path / "data", durable=False) as servers, connect(servers) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def without_namespaces(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a command as root in a world whose user namespaces are used up, as in most containers."""
    ready_reader, ready_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    output = folder.with_suffix(".output")
    pid = os.fork()
    if pid == 0:
        try:
            assert ctypes.CDLL(None).unshare(0x10000000) == 0
            os.write(ready_writer, b".")
            os.read(go_reader, 1)
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            os.chdir(folder)
            descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.execvpe(command[0], list(command), owner_environment())  # noqa: S606
        finally:
            os._exit(99)
    os.read(ready_reader, 1)
    for kind in ("uid", "gid"):
        Path(f"/proc/{pid}/{kind}_map").write_text("0 0 65536")
    os.write(go_writer, b".")
    _, status = os.waitpid(pid, 0)
    for descriptor in (ready_reader, ready_writer, go_reader, go_writer):
        os.close(descriptor)
    text = output.read_text()
    output.unlink()
    return os.waitstatus_to_exitcode(status), text
