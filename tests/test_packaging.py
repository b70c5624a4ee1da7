"""The wheel: it holds everything, and from a virtual environment elsewhere it makes an issue and mails it."""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailer.embedded.processes import Child, Supervisor, free_port, wait_for_port
from mailer.embedded.services import Servers
from tests.conftest import SmtpInbox

ROOT = Path(__file__).parent.parent
NEWSLETTER = ("--name", "La Lettre", "--sender", "lettre@courrier.example", "--publisher", "Le Courrier")
PLACE = ("--postal-address", "12 rue des Caravanes, 67000 Strasbourg", "--site", "https://courrier.example")
SEND = """
import sys
from mailer import scheduling
from mailer.delivery import sending
assert scheduling.start_issue(int(sys.argv[1]))
sending.send_due(budget_seconds=20)
sending.shut_down()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-build-isolation")
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (built,) = folder.glob("newsroom_mailer-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new virtual environment that has the wheel, and shares this one's other packages to be quick."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # A .pth inside a folder that is named by a .pth counts for nothing, so the checkout itself stays out.
    (site_packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    target = ["--target", site_packages, "--no-deps", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *target, wheel], check=True, capture_output=True)
    return folder / "bin" / "python"


def test_the_wheel_holds_every_file_of_the_packages_and_the_mail_templates(wheel: Path):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {_name(path, ROOT) for package in ("mailer", "workers") for path in _files(ROOT / package)}
    wanted |= {"mailer/" + _name(path, ROOT) for path in _files(ROOT / "templates" / "email")}
    assert wanted - held == set()
    for part in (
        "locale/fr.po",
        "migrations/script.py.mako",
        "web/static/reader.css",
        "templates/email/issue/body.html",
    ):
        assert f"mailer/{part}" in held


def test_the_wheel_holds_nothing_else(wheel: Path):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mailer", "workers"}


def test_the_wheel_names_its_command_and_licence(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert "mailer = mailer.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert "MIT License" in archive.read(f"{info}/licenses/LICENSE").decode()


def test_from_elsewhere_the_installed_package_is_the_wheels(python: Path, tmp_path: Path):
    code = "import mailer, workers; print(mailer.__file__); print(workers.__file__)"
    for line in _run(python, "-c", code, cwd=tmp_path, env={}).splitlines():
        assert line.startswith(str(python.parent.parent))


def test_an_issue_made_and_sent_by_the_installed_wheel_arrives(
    python: Path, services: Servers, worker_id: str, smtp_inbox: SmtpInbox, tmp_path: Path
):
    with _own_database(services, f"wheel_{worker_id}") as database_url:
        env = {
            "DATABASE_URL": database_url,
            "REDIS_URL": services.redis_url,
            "MAILER_SECRET_KEY": "a secret for tests that is long enough",
            "MAILER_PUBLIC_URL": "https://lettre.example",
            "MAILER_SMTP_URL": smtp_inbox.url,
            "MAILER_JOURNAL_DIR": str(tmp_path / "journal"),
            "MAILER_FEED_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",
        }
        with _sample_site(python, tmp_path) as site_url:
            _mailer(python, tmp_path, env, "migrate")
            _mailer(python, tmp_path, env, "newsletter", "add", "lettre", *NEWSLETTER, *PLACE)
            _mailer(python, tmp_path, env, "subscribers", "add", "lettre", "lea@example.org", "--proof", "on paper")
            _mailer(python, tmp_path, env, "feed", "add", "lettre", f"{site_url}/feed.xml")
            issue = _mailer(python, tmp_path, env, "--json", "issue", "create", "lettre")
        _run(python, "-c", SEND, str(json.loads(issue)["id"]), cwd=tmp_path, env=env)
    (received,) = smtp_inbox.wait_for(1)
    assert received.recipients == ("lea@example.org",)
    body = received.email.get_body(("html",))
    assert body is not None
    page = body.get_content()
    assert "Se désinscrire" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert 'style="' in page


@contextmanager
def _own_database(services: Servers, name: str) -> Iterator[str]:
    services.drop_database(name)
    yield services.create_database(name)
    services.drop_database(name)


@contextmanager
def _sample_site(python: Path, folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://localhost:{port}"
    options = ["--port", str(port), "--base-url", url, "--subscribe-url", "https://lettre.example/lettre"]
    argv = [str(python), "-m", "mailer.embedded.site", *options, "--state-dir", str(folder / "site")]
    with Supervisor() as supervisor:
        supervisor.start(Child(name="site", argv=argv, log=folder / "site.log", cwd=folder))
        wait_for_port("127.0.0.1", port, timeout_seconds=30, check=supervisor.check)
        yield url


def _mailer(python: Path, cwd: Path, env: dict[str, str], *arguments: str) -> str:
    return _run(python, "-m", "mailer", *arguments, cwd=cwd, env=env)


def _run(python: Path, *arguments: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
