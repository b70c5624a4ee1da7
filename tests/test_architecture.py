"""The rules of CONTRIBUTING.md that a machine can hold."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mailer import queue
from mailer.mail import rendering
from mailer.settings import Settings
from tests.source import ROOT, Function, Module, modules, product

FILE_LINES = 400
FUNCTION_LINES = 40
# What other libraries call by these names, so that our docstring would repeat theirs.
NAMED_BY_OTHERS = {"handle_DATA", "handle_request", "filter_attribute"}
FORBIDDEN_WORDS = re.compile(r"\b(campaigns?|blacklist(ed)?|delivered)\b", re.IGNORECASE)
# The tracking parameters of other people's links are called so.
MAY_SAY = {"at_(?:medium|campaign|link|link_id|link_type|link_origin|ptr_name)"}
# Used without an import of ours: by FastAPI for forms, by zoneinfo, by SQLAlchemy's URL.
USED_UNSEEN = {"python-multipart", "tzdata", "psycopg", "httptools", "uvloop"}


def test_imports_run_strictly_downward():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_file_can_be_read_in_one_go():
    assert {module.path: module.lines for module in product() if module.lines > FILE_LINES} == {}


def test_every_function_fits_on_a_screen():
    long = [
        f"{module.path} {one.name}" for module in product() for one in module.functions if _length(one) > FUNCTION_LINES
    ]
    assert long == []


def test_nothing_is_imported_inside_a_function():
    inside = [
        f"{module.path} {one.name}"
        for module in product()
        for one in module.functions
        for node in ast.walk(one)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def test_every_module_and_everything_public_in_it_says_what_it_is_for():
    silent = [f"{module.path} {name}" for module in product() for name in _without_docstring(module)]
    assert silent == []


@pytest.mark.parametrize("folder", ["mailer/feeds", "mailer/transports"])
def test_what_talks_to_the_outside_knows_no_database(folder: str):
    for module in modules(folder):
        known = {name.partition(".")[0] for name in module.imports}
        assert not known & {"sqlalchemy", "psycopg", "alembic"}, module.path


def test_only_entry_points_sending_polling_and_scheduling_open_transactions():
    domain = (
        "mailer/delivery/sending.py",
        "mailer/articles/polling.py",
        "mailer/articles/rechecking.py",
        "mailer/articles/fetching.py",
        "mailer/issues/handwriting.py",
        "mailer/newsroom/calling.py",
        "mailer/issues/trials.py",
        "mailer/newsroom/site_reading.py",
        "mailer/scheduling.py",
    )
    edges = ("mailer/cli/", "mailer/web/", "workers/", *domain)
    openers = {module.path for module in product() if "mailer.db.transaction" in module.imports}
    assert {path for path in openers if not path.startswith(edges)} == set()


def test_nobody_commits_by_hand():
    assert [module.path for module in modules("mailer", "workers") if "session.commit(" in module.text] == []


def test_every_task_name_is_routed_and_registered():
    (tasks,) = (module for module in product() if module.path == "workers/tasks.py")
    registered = re.findall(r"^@app\.task\(name=queue\.([A-Z_]+)\)", tasks.text, re.MULTILINE)
    assert sorted(getattr(queue, name) for name in registered) == sorted(queue.QUEUES)
    assert tasks.text.count("@app.task(") == len(registered)
    assert set(queue.CONFIGURATION["task_routes"]) == set(queue.QUEUES)


def test_a_task_is_a_few_lines():
    (tasks,) = (module for module in product() if module.path == "workers/tasks.py")
    assert max(len(one.body) for one in tasks.functions) <= 4


def test_every_mail_template_has_its_three_parts():
    folders = [path for path in (ROOT / "templates" / "email").iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == set(rendering.PARTS), folder.name


def test_the_glossarys_forbidden_words_are_nowhere():
    said = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in _texts("mailer", "workers", "templates")
        for line in path.read_text("utf-8").splitlines()
        # What other people's servers say has words of its own.
        if "mailer/delivery/bounces/" not in path.as_posix()
        and FORBIDDEN_WORDS.search(line)
        and not any(part in line for part in MAY_SAY)
    ]
    assert said == []


def test_no_module_is_named_after_nothing():
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)")
    assert [module.path for module in product() if vague.search(Path(module.path).stem)] == []


def test_production_installs_all_that_the_code_imports():
    assert _imported_packages() - _pinned("production") - {"newsroom-mailer"} == set()


def test_nothing_is_installed_that_the_code_does_not_use():
    assert _declared() - _imported_packages() - USED_UNSEEN == set()


@pytest.mark.parametrize("lock", ["production", "demo", "dev"])
def test_a_lock_pins_every_dependency_by_hash_and_names_no_host(lock: str):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert _declared() <= _pinned(lock)
    assert text.count("--hash=sha256:") >= len(_pinned(lock))
    assert "://" not in text


def test_every_setting_can_be_set_by_its_environment_variable_and_says_what_it_is_for():
    for name, field in Settings.model_fields.items():
        assert field.alias in ("DATABASE_URL", "REDIS_URL", f"MAILER_{name.upper()}"), name
        assert field.description, name
        assert field.description.endswith("."), name


def _length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _without_docstring(module: Module) -> list[str]:
    silent = [] if ast.get_docstring(module.tree) else ["the module"]
    for node in module.tree.body:
        if isinstance(node, Function) and not _is_private(node.name) and not ast.get_docstring(node):
            silent.append(node.name)
        if isinstance(node, ast.ClassDef) and not _is_private(node.name):
            silent += [node.name] if not ast.get_docstring(node) else []
            methods = [one for one in node.body if isinstance(one, Function) and not _is_private(one.name)]
            silent += [f"{node.name}.{one.name}" for one in methods if not ast.get_docstring(one)]
    return [name for name in silent if name.rpartition(".")[2] not in NAMED_BY_OTHERS]


def _is_private(name: str) -> bool:
    return name.startswith("_")


def _texts(*folders: str) -> list[Path]:
    suffixes = (".py", ".html", ".txt", ".po", ".css", ".toml")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]


def _imported_packages() -> set[str]:
    """The distributions on the package index that the product's imports come from."""
    names = {name.partition(".")[0] for module in product() for name in module.imports}
    distributions = packages_distributions()
    return {_normal(one) for name in names - set(sys.stdlib_module_names) for one in distributions.get(name, [])}


def _declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {_normal(re.split(r"[\[<>=!~ ;]", one)[0]) for one in project["dependencies"]}


def _pinned(lock: str) -> set[str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {_normal(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
