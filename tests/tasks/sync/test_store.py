"""Whole files through fsspec: a folder as file:// and memory:// as storage that is no folder."""

from __future__ import annotations

import itertools
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tasks.sync.store import Store, StoreError, _inside
from trials.io.errors import SettingsError


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
    assert two.pull("run", other, always=("log",)) == [other / "log"]
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


class OwnErrors(Exception):
    """As gcsfs, botocore and paramiko raise them: no OSError."""


class Failing:
    """A file system all of whose requests fail."""

    def __init__(self, error: Exception):
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., object]:
        def fail(*_: object, **__: object) -> object:
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (OwnErrors("503 slow down"), True),
        (ConnectionResetError(104, "reset"), True),
        (TimeoutError("timed out"), True),
        (PermissionError(13, "denied"), False),
        (OSError(30, "read-only file system"), False),
        (TypeError("a bug"), False),
    ],
)
def test_every_error_of_a_storage_is_one_of_ours(
    tmp_path: Path, error: Exception, passing: bool
) -> None:
    # review fault 17: only OSError was caught; review fault 18: what passes is told by its type.
    store = Store(tmp_path.as_uri())
    store._fs = Failing(error)
    (tmp_path / "file").touch()
    for use in (
        lambda: store.push(tmp_path / "file", "run"),
        lambda: store.pull("run", tmp_path / "there"),
        lambda: store.text("run", "file"),
        lambda: store.write("text", "run", "file"),
        lambda: store.remove("run", "file"),
        lambda: store.remove_folder("run"),
    ):
        with pytest.raises(StoreError, match=str(error.args[-1])) as raised:
            use()
        assert raised.value.transient == passing


def test_files_are_fetched_while_others_are_sent_and_removed(tmp_path: Path) -> None:
    # review fault 5: fetching changed what removing iterated over, and sending stopped silently.
    store, sizes = Store((tmp_path / "storage").as_uri()), 40
    for name in ("sent", "fetched"):
        (tmp_path / name).mkdir()
    for number in range(sizes):
        (tmp_path / "sent" / f"{number:03d}").write_text("x")
    store.push(tmp_path / "sent", "fetched")
    over, errors = threading.Event(), []

    def repeat(action: Callable[[], object]) -> None:
        while not over.is_set():
            try:
                action()
            except Exception as error:
                errors.append(error)
                return

    def fetch() -> None:
        where = f"{store._root}/fetched/{next(numbers):07d}"
        store._note_sent(where, (tmp_path / "sent" / "000").stat())

    numbers = itertools.count()
    actions = (
        fetch,
        lambda: store.pull("fetched", tmp_path / "fetched" / uuid.uuid4().hex),
        lambda: store.remove_folder("removed"),
        lambda: store.push(tmp_path / "sent", "kept"),
    )
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=repeat, args=(each,)) for each in actions]
        for thread in threads:
            thread.start()
        over.wait(2.0)
        over.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
