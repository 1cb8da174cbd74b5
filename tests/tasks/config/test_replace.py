"""Folders that are replaced as a whole hold nothing of anybody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.replace import replace_folder
from tasks.inputs.catalog import build_catalog, load_catalog
from trials.io.errors import SettingsError


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    folder = tmp_path / "draft"
    (folder / "gcd").mkdir(parents=True)
    (folder / "gcd" / "train.jsonl").write_text("new")
    return folder


def test_an_older_one_is_replaced(draft: Path, tmp_path: Path) -> None:
    (tmp_path / "built" / "gcd").mkdir(parents=True)
    (tmp_path / "built" / "gcd" / "train.jsonl").write_text("old")
    replace_folder(draft, tmp_path / "built")
    assert (tmp_path / "built" / "gcd" / "train.jsonl").read_text() == "new"


def test_what_is_kind_of_it_may_go_too(draft: Path, tmp_path: Path) -> None:
    (tmp_path / "built" / "lcm").mkdir(parents=True)
    replace_folder(draft, tmp_path / "built", own=lambda path: path.name == "lcm")
    assert [path.name for path in (tmp_path / "built").iterdir()] == ["gcd"]


@pytest.mark.parametrize("name", ["thesis.txt", ".ssh", "photos/summer.jpg"])
def test_a_folder_of_people_stays(draft: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "home" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(SettingsError, match=r"home would be replaced as a whole, and holds"):
        replace_folder(draft, tmp_path / "home")
    assert file.read_text() == "mine"
    with pytest.raises(SettingsError, match="replaced as a whole"):
        replace_folder(draft, file)
    assert file.read_text() == "mine"


def test_datasets_are_not_built_over_it(tmp_path: Path) -> None:
    catalog = load_catalog()
    one = catalog.model_copy(update={"datasets": {"gcd": catalog.datasets["gcd"]}})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"thesis\.txt"):
        build_catalog(tmp_path / "home", one)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
