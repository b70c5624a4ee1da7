"""The documents tell the truth: their commands run, their links lead somewhere, every setting is in them."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.cli import output
from mailer.embedded.processes import Child, Supervisor, free_port, wait_for_port
from mailer.settings import Settings
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.source import ROOT, product

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda path: path.relative_to(ROOT).as_posix()
)
# Commands that are not run here, each with what proves it. A command that is neither here nor run fails the tests.
PROVEN = {
    'mailer user invite paul@courrier.example --name "Paul Roche" --role viewer --at courrier=editor': "tests/test_cli_users.py",
    "mailer user role paul@courrier.example writer": "tests/test_cli_users.py",
    "mailer user list": "tests/test_cli_users.py",
    "mailer user disable paul@courrier.example": "tests/test_cli_users.py",
    "mailer user enable paul@courrier.example": "tests/test_cli_users.py",
    "mailer user reset paul@courrier.example": "tests/test_cli_users.py",
    "mailer user reset paul@courrier.example --second-factor": "tests/test_cli_users.py",
    "bin/demo": "test_bin_demo_hands_over_to_the_command_that_other_tests_run",
    "bin/demo --feed https://your.site/feed": "test_every_option_in_the_documents_exists",
    "bin/demo --once --outbox outbox": "tests/journeys/test_demo.py",
    "bin/bench": "test_bench.py, at a small scale",
    "bin/bench send --messages 20000 --json": "test_bench.py, with fewer messages",
    "bin/bench kill --recipients 4000 --kills 5 --seed 1 --json": "test_bench.py, with fewer recipients",
    "bin/bench web --json": "test_bench.py, for a shorter time",
    "openssl genrsa -out r1.pem 2048": "tests/test_docs_sending.py",
    "openssl genpkey -algorithm ed25519 -out e1.pem": "tests/test_docs_sending.py",
    "chmod 640 r1.pem e1.pem": "tests/test_docs_sending.py",
    "openssl pkey -in r1.pem -pubout -outform der | openssl base64 -A": "tests/test_docs_sending.py",
    "openssl pkey -in e1.pem -pubout -outform der | tail -c 32 | openssl base64 -A": "tests/test_docs_sending.py",
    "bin/test": "this run",
    "bin/test --slow": "this run",
    "bin/test tests/test_issues.py": "this run",
    "cp .env.example .env": "tests/test_compose.py",
    "docker compose up --detach --build": "tests/test_compose.py",
    "docker compose --profile dev up --build": "tests/test_compose.py",
    "pip install --require-hashes -r requirements/production.lock": "tests/test_architecture.py",
    "pip install --no-deps .": "tests/test_packaging.py",
    'mailer issue create hebdo --subject "Un numéro spécial" --body numero.md': "tests/test_handmade_edges.py",
    'mailer issue pull 129 812 --note "We have withdrawn this article: its source was wrong."': "tests/test_cli_amending.py",
    'mailer issue replace 129 812 --note "The dam is 335 metres high, not 235."': "tests/test_cli_amending.py",
    'mailer article correct 812 --note "The dam is 335 metres high, not 235."': "tests/test_cli_amending.py",
    'mailer token create hebdo "our app" --scope read --scope subscribers --expires 2099-06-30': (
        "tests/test_web_admin_integrations.py"
    ),
    'mailer token create all "reporting" --scope read': "tests/test_web_admin_integrations.py",
    "mailer token list": "docs/operating.md",
    "mailer token revoke 1": "tests/test_web_admin_integrations.py",
    "mailer webhook add hebdo https://crm.example/hook --event subscriber.confirmed --event subscriber.unsubscribed": (
        "tests/test_web_admin_integrations.py"
    ),
    "mailer webhook list": "tests/test_web_admin_integrations.py",
    "mailer webhook test 1": "tests/test_web_admin_integrations.py",
    "mailer webhook deliveries 1": "tests/test_web_admin_integrations.py",
    "mailer webhook replay 1 1": "tests/test_web_admin_integrations.py",
    "mailer up": "tests/test_compose.py starts the same processes",
    "mailer up --embedded": "the demo starts the same processes and servers",
    "mailer web": "tests/test_compose.py starts the same process",
    "celery -A workers.app worker": "tests/test_compose.py",
    "celery -A workers.app beat": "tests/test_compose.py",
}
OPTIONAL = "–"
# Their mailer commands are run, in order, on an empty installation.
TRIED = ("README.md", "README.fr.md", "docs/operating.md", "docs/readers.md", "docs/settings.md")


@pytest.mark.parametrize("readme", TRIED)
def test_every_mailer_command_in_it_runs(
    readme: str, installation: SmtpInbox, feed_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MAILER_FEED_PRIVATE_NETWORKS", "127.0.0.0/8,::1/128")
    monkeypatch.delenv("MAILER_CONFIG")
    monkeypatch.chdir(tmp_path)
    for command in _commands(ROOT / readme):
        words = shlex.split(command.removeprefix("docker compose exec web "))
        if words[0] == "mailer" and command not in PROVEN:
            words = [feed_url if word.endswith("/feed") else word for word in words]
            done = mailer(*words[1:])
            assert done.code == 0, f"{command}\n{done.err}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_in_it_is_run_or_proven(document: Path):
    unknown = [one for one in _commands(document) if not _is_run(document, one) and one not in PROVEN]
    assert unknown == []


def test_both_readmes_show_the_same_commands_and_pictures():
    english, french = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.fr.md"))
    assert _commands(ROOT / "README.md") == _commands(ROOT / "README.fr.md")
    pictures = re.compile(r'src(?:set)?="([^"]+)"')
    assert pictures.findall(english) == pictures.findall(french)


def test_the_french_readme_is_set_as_french_is():
    prose = re.sub(
        r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>", "", (ROOT / "README.fr.md").read_text("utf-8"), flags=re.DOTALL
    )
    assert "'" not in prose
    assert re.findall(r"\w+ [:;!?»]|« ", prose) == []
    assert re.findall(r"\w+[;!?](?:\s|$)", prose) == []


def test_every_proof_that_is_a_test_file_exists():
    files = {proof.split()[0] for proof in PROVEN.values() if proof.startswith("tests/")}
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_bin_demo_hands_over_to_the_command_that_other_tests_run():
    assert (ROOT / "bin" / "demo").read_text().rstrip().endswith('exec "$python" -m mailer demo "$@"')
    for script in ("demo", "test"):
        assert os.access(ROOT / "bin" / script, os.X_OK)
        assert subprocess.run(["sh", "-n", ROOT / "bin" / script], check=False).returncode == 0


def test_every_option_in_the_documents_exists():
    help_text = subprocess.run(
        [sys.executable, "-m", "mailer", "demo", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for document in DOCUMENTS:
        for command in _commands(document):
            if command.startswith("bin/demo"):
                assert all(word in help_text for word in command.split() if word.startswith("--")), command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_in_it_leads_to_a_file(document: Path):
    text = document.read_text("utf-8")
    targets = [*re.findall(r"\]\(([^)#]+)[^)]*\)", text), *re.findall(r'src(?:set)?="([^"]+)"', text)]
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_every_module_that_a_document_names_exists():
    named = {
        name
        for one in DOCUMENTS
        for name in re.findall(r"`((?:mailer|workers|tests|templates)/[\w/.]*)`", one.read_text("utf-8"))
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_everything_in_the_inventory_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = text.partition("## Already there")[2].partition("## How to add")[0].splitlines()
    found = [_named(row) for row in rows if row.startswith("| ") and "in tests:" not in row]
    assert sum(len(names) for names in found) > 50


def test_the_layers_are_those_that_import_linter_holds():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace("mailer.", "").replace(" : ", " | ") for layer in contract["layers"]]
    assert "```\n" + "\n".join(layers) + "\n```\n" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_every_setting_is_documented_with_its_default():
    assert _settings_table() in (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_no_document_names_a_setting_that_does_not_exist():
    known = {str(field.alias) for field in Settings.model_fields.values()} | {"MAILER_CONFIG"}
    files = [*DOCUMENTS, ROOT / ".env.example", ROOT / "docker-compose.yml", ROOT / "Dockerfile"]
    for path in files:
        named = set(re.findall(r"\b(?:MAILER_[A-Z_]+|DATABASE_URL|REDIS_URL)\b", path.read_text("utf-8")))
        assert named <= known, path.name


def test_no_code_reads_a_setting_past_the_settings():
    known = {str(field.alias) for field in Settings.model_fields.values()}
    for module in product():
        read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', module.text))
        assert not read & known, module.path


def test_every_exit_code_is_documented():
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    ours = {value for name, value in vars(output).items() if name.isupper() and isinstance(value, int)}
    assert table == ours


def test_every_decision_is_listed_and_has_its_three_parts():
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
    for name in listed:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {int(name[:4])}. "), name
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), name


def test_the_changelog_has_a_place_for_what_is_not_released():
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.fixture
def feed_url(tmp_path: Path) -> Iterator[str]:
    """A feed that a document's example may stand for."""
    port = free_port()
    url = f"http://localhost:{port}"
    options = ["--port", str(port), "--base-url", url, "--subscribe-url", "https://lettre.example/hebdo"]
    argv = [sys.executable, "-m", "mailer.embedded.site", *options, "--state-dir", str(tmp_path / "site")]
    with Supervisor() as supervisor:
        supervisor.start(Child(name="site", argv=argv, log=tmp_path / "site.log"))
        wait_for_port("127.0.0.1", port, timeout_seconds=30, check=supervisor.check)
        yield f"{url}/feed.xml"


def _commands(document: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _is_run(document: Path, command: str) -> bool:
    is_tried = document.relative_to(ROOT).as_posix() in TRIED
    return is_tried and command.removeprefix("docker compose exec web ").startswith("mailer ")


def _named(row: str) -> list[object]:
    """Look up what a row of the inventory names: `module.name`, or a bare `name` of the module before it."""
    named: list[object] = []
    module: object = None
    for token in re.findall(r"`([\w.]+)(?:\([^)]*\))?`", row.rpartition(" | ")[2]):
        path, dot, name = token.rpartition(".")
        module = importlib.import_module(f"mailer.{path}") if dot else module
        named.append(getattr(module, name))
    return named


def _settings_table() -> str:
    """Return the table that docs/settings.md must hold. When it changed, the failing test shows it whole."""
    rows = ["| environment | mailer.toml | default | |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "**required**" if field.is_required() else f"`{_default(field.default)}`".replace("``", OPTIONAL)
        rows.append(f"| `{field.alias}` | `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, ()) else str(value)
