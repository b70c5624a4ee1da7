"""The demo's folder: somebody's own files are never touched, and a running demo never loses its own."""

from pathlib import Path

import pytest

from mailer.cli import demo_folder
from mailer.embedded import services
from mailer.embedded.processes import Supervisor


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["thesis.txt", "mailer.toml"])
def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path: Path, name: str, fresh: bool) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(demo_folder.FolderNotOurs, match="--data"):
        demo_folder.prepare(tmp_path, fresh=fresh)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(demo_folder.FolderNotOurs, match="is not a folder"):
        demo_folder.prepare(tmp_path / "demo", fresh=True)


def test_a_new_folder_is_the_demos_from_the_first_moment(tmp_path: Path) -> None:
    folder = demo_folder.prepare(tmp_path / "a" / "demo", fresh=False)
    (folder / "postgres").mkdir()
    assert demo_folder.prepare(folder, fresh=False) == folder
    assert (folder / "postgres").is_dir()


def test_a_fresh_start_forgets_the_earlier_one(tmp_path: Path) -> None:
    before = demo_folder.secret(demo_folder.prepare(tmp_path, fresh=False))
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    demo_folder.prepare(tmp_path, fresh=True)
    assert not (tmp_path / "postgres").exists()
    assert demo_folder.secret(tmp_path) != before


def test_what_a_link_in_the_folder_leads_to_is_kept(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    folder = demo_folder.prepare(tmp_path / "demo", fresh=False)
    (folder / "inbox").symlink_to(tmp_path / "elsewhere")
    demo_folder.prepare(folder, fresh=True)
    assert (tmp_path / "elsewhere" / "thesis.txt").exists()


def test_a_running_demo_is_not_forgotten(tmp_path: Path) -> None:
    folder = demo_folder.prepare(tmp_path / "demo", fresh=False)
    with Supervisor() as supervisor:
        services.lock(supervisor, folder)
        (folder / "postgres").mkdir()
        with pytest.raises(services.DataDirectoryInUse, match="is in use by process"):
            demo_folder.prepare(folder, fresh=True)
        assert (folder / "postgres").is_dir()
