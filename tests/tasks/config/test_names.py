"""Names out of URLs: plain ones pass, those that lead somewhere else are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.config.names import checked_name, checked_path, checked_store, stored_name_of
from tasks.config.settings import TuneSettings
from tasks.execution.mirror import fetch_inputs
from tasks.search.run_storage import open_run, view_run
from tasks.sync.store import Store, StoreError
from tests.tasks.conftest import MakeRun
from trials.io.errors import SettingsError

NO_NAMES = (
    *("..", ".", "", "...", ".cache", "a/b", "/etc", "a\\b", "..\\x", "%2e%2e", "a%2f..", "a?b"),
    *("a#b", "*", "gcd-[0-9]", "{a,b}", "a\nb", "a\x00b", " a", "a ", "C:", "x" * 300),
)
NO_STORES = (
    *("folder", "/folder", "://folder", "file://", "file:///", "file://folder", "file:///a/../b"),
    *("file:///a/./b", "file:///a//b", "file:///a/%2e%2e/b", "file:///a/%2E%2E", "s3://bucket/.."),
    *("s3://bucket/a?versionId=1", "s3://bucket/a#b", "s3://bucket/a\\b", "s3://bucket/*"),
    *("s3://bucket/a[0-9]", "s3://bucket/a b", "s3://bucket/a\x1b[2J", "sftp://[::1/x"),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    kept = home / ".cache" / "autopipe" / "probes"
    kept.mkdir(parents=True)
    (kept / "kept.json").write_text("{}")
    (tmp_path / "storage" / "run").mkdir(parents=True)
    monkeypatch.setenv("AUTOPIPE_HOME", str(home))
    return home


@pytest.mark.parametrize("name", [*NO_NAMES, "run/..", "run/../..", "../storage"])
def test_a_name_out_of_a_url_is_never_a_path_to_delete(home: Path, name: str) -> None:
    url = f"{(home.parent / 'storage').as_uri()}/{name}"
    before = sorted(home.parent.rglob("*"))
    for look in (view_run, open_run):
        with pytest.raises(SettingsError):
            look(url, home / "runs")
    assert set(before) <= set(home.parent.rglob("*"))
    assert (home / ".cache" / "autopipe" / "probes" / "kept.json").exists()


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        checked_name(name)


@pytest.mark.parametrize("name", ["gcd-tiny-1m-s0-001-3fa9c2", "größe", "my run", "a..b", "-x"])
def test_what_is_one(name: str) -> None:
    assert checked_name(name) == name
    assert stored_name_of(f"s3://bucket/{name}/") == ("s3://bucket", name)


@pytest.mark.parametrize("url", NO_STORES)
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|path|folder"):
        checked_store(url)
    with pytest.raises((SettingsError, ValueError)):
        Store(url)
    with pytest.raises(ValueError, match="store"):
        TuneSettings(dataset="gcd", model="tiny-1m", store=url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///shared/runs",
        "s3://bucket",
        "gs://bucket/a/b-c_d.e/",
        "sftp://user@host:2222/folder",
        "sftp://[2001:db8::1]/folder",
        "memory://runs",
    ],
)
def test_what_is_one_is_taken(url: str) -> None:
    assert checked_store(url) == url


@pytest.mark.parametrize("path", ["", "a//b", "/a", "a/", "..", "a/../b", "a\\..\\b", "a/b?c"])
def test_no_path_below_a_store_leads_out(home: Path, path: str) -> None:
    store = Store((home.parent / "storage").as_uri())
    with pytest.raises(ValueError, match="not a path below a store"):
        checked_path(path)
    for use in (store.remove, store.remove_folder, store.text):
        with pytest.raises(StoreError):
            use("run", path)
    assert (home.parent / "storage" / "run").exists()


@pytest.mark.parametrize("part", ["*", "[a-z]", "ru?", "{run,x}"])
def test_nothing_is_removed_by_a_pattern(home: Path, part: str) -> None:
    store = Store((home.parent / "storage").as_uri())
    for remove in (store.remove, store.remove_folder):
        with pytest.raises(StoreError, match="not removed"):
            remove(part)
    with pytest.raises(StoreError):
        store.remove_folder()
    assert (home.parent / "storage" / "run").exists()


def test_a_file_with_an_odd_name_is_sent_nevertheless(home: Path, tmp_path: Path) -> None:
    store, folder = Store((home.parent / "storage").as_uri()), tmp_path / "dataset"
    folder.mkdir()
    (folder / "part [1] 100%.jsonl").write_text("x")
    assert store.push(folder, "datasets/abc") == 1
    assert store.text("datasets/abc", "part [1] 100%.jsonl") == "x"


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "/shared/../trials/001"},
        {"folder": "/shared/run/trials/.."},
        {"dataset_fingerprint": "../../probes"},
        {"model_fingerprint": "../probes"},
    ],
)
def test_a_spec_from_elsewhere_leads_nowhere_else(
    home: Path, make_run: MakeRun, change: dict[str, str]
) -> None:
    spec = make_run().trials()[0].spec
    fidelity = spec.fidelity.model_copy(update={"model": "/models/x"})
    spec = spec.model_copy(update={"fidelity": fidelity, "continue_from": None, **change})
    store = Store((home.parent / "storage").as_uri())
    with pytest.raises(ValueError, match="not a name"):
        fetch_inputs(spec, store)
    assert (home / ".cache" / "autopipe" / "probes" / "kept.json").exists()
