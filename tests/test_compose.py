"""docker-compose.yml: valid, careful, and its very commands work together on real servers."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from mailer.embedded.services import Servers
from tests import compose
from tests.compose import FILLED_IN, Machine

OURS = ("web", "worker", "beat", "migrate", "inbox")
LONG_RUNNING = ("web", "worker", "beat", "inbox")
ROOT = compose.ROOT


def test_the_file_is_valid_by_the_compose_specification():
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, compose.FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_image_is_pinned_to_a_release():
    services = compose.read(FILLED_IN)["services"]
    for name, service in services.items():
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+[\d.]*)?$", service["image"]), f"{name}: {service['image']}"
    for image in re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+-", image), image


def test_no_service_runs_as_root_or_keeps_a_capability():
    for name, service in compose.read(FILLED_IN)["services"].items():
        assert service["user"].partition(":")[0] not in ("", "0", "root"), name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
    for name in OURS:
        assert compose.read(FILLED_IN)["services"][name]["read_only"] is True, name


def test_every_lasting_service_has_a_health_check_a_grace_and_is_restarted():
    services = compose.read(FILLED_IN)["services"]
    for name in set(services) - {"migrate"}:
        assert services[name]["healthcheck"]["test"], name
        assert re.fullmatch(r"\d+s", services[name]["stop_grace_period"]), name
        assert services[name]["restart"] == "unless-stopped", name
    assert services["worker"]["stop_grace_period"] == "30s"


def test_nothing_starts_before_the_database_is_migrated():
    services = compose.read(FILLED_IN)["services"]
    for name in ("web", "worker", "beat"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name
    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_what_must_survive_is_on_named_volumes():
    document = compose.read(FILLED_IN)
    mounted = {one.partition(":")[0] for service in document["services"].values() for one in service.get("volumes", [])}
    assert mounted == set(document["volumes"]) == {"postgres", "redis", "journal"}


def test_redis_writes_everything_down_and_drops_nothing():
    command = " ".join(compose.read(FILLED_IN)["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


@pytest.mark.parametrize("name", FILLED_IN)
def test_a_missing_variable_stops_the_start_with_a_sentence_that_names_it(name: str):
    with pytest.raises(ValueError, match=rf"^Set {name} in \.env to .+\.$"):
        compose.read({key: value for key, value in FILLED_IN.items() if key != name})


def test_the_example_lists_every_variable_that_the_file_asks_for():
    asked = set(re.findall(r"\$\{(\w+)", compose.FILE.read_text()))
    listed = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked <= listed
    assert asked == set(FILLED_IN)


def test_the_image_runs_as_the_user_that_owns_the_journal_and_starts_the_web_server_of_the_compose_file():
    lines = (ROOT / "Dockerfile").read_text()
    services = compose.read(FILLED_IN)["services"]
    assert f"USER {services['web']['user']}" in lines
    words = ", ".join(f'"{word}"' for word in services["web"]["command"])
    assert f"CMD [{words}]" in lines
    assert "--require-hashes" in lines


def test_everything_that_the_image_copies_passes_the_ignore_file():
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(word for line in copied for word in line.split()) == sorted(allowed)
    assert all((ROOT / name).exists() for name in allowed)


@pytest.fixture(scope="module")
def running(services: Servers, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The whole dev profile, each service by its own command, on an empty database."""
    name = f"compose_{worker_id}"
    services.drop_database(name)
    database_url = services.create_database(name)
    with redis.Redis.from_url(services.redis_url) as client:
        client.flushdb()
    servers = Servers(database_url=database_url, redis_url=services.redis_url)
    with compose.machine(servers, tmp_path_factory.mktemp("compose")) as machine:
        migrated = machine.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        for one in LONG_RUNNING:
            machine.start(one)
        yield machine
    services.drop_database(name)


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_started_by_its_command_passes_its_health_check(running: Machine, name: str):
    def is_healthy() -> bool:
        running.supervisor.check()
        return running.check(name).returncode == 0

    _wait_for(is_healthy, f"{name} to be healthy", running)


def test_migrating_again_changes_nothing(running: Machine):
    again = running.run("migrate")
    assert (again.returncode, again.stdout.strip()) == (0, "Up to date already.")


def test_a_sign_up_passes_through_web_worker_and_inbox(running: Machine):
    _wait_for(lambda: running.check("web").returncode == 0, "web", running)
    _make_newsletter(running, "lettre")
    answer = httpx.post(running.url(8000) + "/s/lettre", data={"email": "lea@example.org"})
    assert answer.status_code == 303

    def has_arrived() -> bool:
        return "lea@example.org" in httpx.get(running.url(8025) + "/messages.json").text

    _wait_for(has_arrived, "the confirmation mail", running)


def test_beats_tick_reaches_the_worker_which_reads_a_feed_that_is_due(running: Machine):
    _make_newsletter(running, "hebdo")
    # A private address is refused at once, and the worker writes that down.
    added = _mailer(running, "feed", "add", "hebdo", "http://127.0.0.1:9/feed.xml")
    assert "127.0.0.1" in added.stdout + added.stderr
    url = running.environment["DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE feeds SET next_read_at = now(), failures = 0, last_read_at = NULL")

        def was_read() -> bool:
            row = connection.execute("SELECT failures FROM feeds").fetchone()
            return row is not None and row[0] > 0

        _wait_for(was_read, "the feed to be read", running)


def test_services_write_nothing_outside_their_volumes_and_tmp(running: Machine):
    for name in ("web", "worker", "migrate"):
        assert list((running.folder / name).iterdir()) == [], name
    assert running.services["beat"]["working_dir"] == "/tmp"  # noqa: S108


def _make_newsletter(machine: Machine, slug: str) -> None:
    fields = ("--name", slug, "--sender", "lettre@courrier.example", "--publisher", "Le Courrier")
    place = ("--postal-address", "12 rue des Caravanes, Strasbourg", "--site", "https://courrier.example")
    done = _mailer(machine, "newsletter", "add", slug, *fields, *place)
    assert done.returncode == 0, done.stderr


def _mailer(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the web container, as docs/operating.md says to."""
    return subprocess.run(
        [sys.executable, "-m", "mailer", *arguments],
        env=machine.environment,
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _wait_for(condition: Callable[[], bool], what: str, machine: Machine, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        logs = "\n".join(machine.supervisor.log_of(name) for name in LONG_RUNNING)
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}\n{logs}"
        time.sleep(0.2)
