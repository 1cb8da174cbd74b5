"""Whole files through fsspec: a folder as file:// and memory:// as storage that is no folder."""

from __future__ import annotations

import uuid
from pathlib import Path, PurePosixPath

import pytest

from tasks.store import Store, StoreError, _inside
from trials.errors import SettingsError


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path / 'storage'}"
    return f"memory://{uuid.uuid4().hex}/deep"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def texts(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


def test_a_folder_comes_back_the_same(url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", x="1", deep__er__y="2")
    assert Store(url).push(folder, "run") == 2
    Store(url).pull("run", tmp_path / "b")
    assert texts(tmp_path / "b") == texts(folder)


def test_only_what_changed_is_sent_and_fetched(url: str, tmp_path: Path) -> None:
    folder, store = write(tmp_path / "a", x="1", y="2"), Store(url)
    store.push(folder, "run")
    assert store.push(folder, "run") == 0
    write(folder, y="longer")
    assert store.push(folder, "run") == 1
    other = tmp_path / "b"
    assert len(Store(url).pull("run", other)) == 2
    assert Store(url).pull("run", other) == []


def test_a_folder_is_removed_with_all_that_is_in_it_and_may_be_sent_again(
    url: str, tmp_path: Path
) -> None:
    folder, store = write(tmp_path / "a", x="1", step__y="2", step2__z="3"), Store(url)
    store.push(folder, "run")
    store.remove_folder("run", "step")
    store.remove_folder("run", "step")  # nothing is there
    Store(url).pull("run", tmp_path / "b")
    assert texts(tmp_path / "b") == {"x": "1", "step2/z": "3"}
    assert store.push(folder, "run") == 1


def test_what_says_complete_comes_last(url: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", trial__result_json="r", trial__z="late in the alphabet")
    (folder / "trial" / "result_json").rename(folder / "trial" / "result.json")
    store = Store(url)
    store.push(folder, "run")
    fetched = store.pull("run", tmp_path / "b")
    assert fetched[-1].name == "result.json"


def test_what_is_changed_in_place_is_fetched_anyway(url: str, tmp_path: Path) -> None:
    folder, other = write(tmp_path / "a", log="secret", x="1"), tmp_path / "b"
    one, two = Store(url), Store(url)
    one.push(folder, "run")
    two.pull("run", other)
    write(folder, log="******")
    one.push(folder, "run")
    assert two.pull("run", other) == []
    assert two.pull("run", other, anyway=("log",)) == [other / "log"]
    assert (other / "log").read_text() == "******"


def test_what_was_fetched_is_not_sent_back(url: str, tmp_path: Path) -> None:
    Store(url).push(write(tmp_path / "a", x="1"), "run")
    store = Store(url)
    store.pull("run", tmp_path / "b")
    assert store.push(tmp_path / "b", "run") == 0
    store.remove("run", "x")
    assert store.push(tmp_path / "b", "run") == 1  # it is not there any more


def test_what_is_of_the_moment_stays_where_it_is(url: str, tmp_path: Path) -> None:
    folder, store = tmp_path / "a", Store(url)
    for name in (".lock", "lease.json", "leader.json", ".step.partial/x", ".old.removed/x", "kept"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    assert store.push(folder, "run") == 1
    store.write("1", "run", "leader.json")
    store.pull("run", tmp_path / "b")
    assert texts(tmp_path / "b") == {"kept": "1"}


def test_a_small_text_is_read_as_it_is_now(url: str) -> None:
    one, other = Store(url), Store(url)
    assert other.text("run", "lease.json") is None
    one.write("1", "run", "lease.json")
    assert other.text("run", "lease.json") == "1"
    one.write("2", "run", "lease.json")
    assert other.text("run", "lease.json") == "2"
    one.remove("run", "lease.json")
    assert other.text("run", "lease.json") is None
    one.remove("run", "lease.json")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil"])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="refused"):
        _inside(tmp_path, PurePosixPath(name))


def test_an_unknown_protocol_is_refused_with_what_is_expected() -> None:
    with pytest.raises(SettingsError, match="s3://bucket/folder"):
        Store("nowhere://x")
