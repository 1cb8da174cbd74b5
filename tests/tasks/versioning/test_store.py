"""DVC for real, in a folder of its own, with a folder as the remote."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.sync.lock import Locked, locked
from tasks.versioning.store import (
    REMOTE_VARIABLE,
    VersionStore,
    VersionStoreError,
    redacted_urls,
)


@pytest.fixture
def kept(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "versions")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_what_was_kept_comes_back_as_it_was(kept: VersionStore, tmp_path: Path) -> None:
    history = write(tmp_path / "history", a="1", b="2")
    first = kept.add("history", history)
    write(history, a="changed", c="3")
    second = kept.add("history", history)
    assert first != second
    old = kept.restore(first, "history")
    assert {file.name: file.read_text() for file in old.iterdir()} == {"a": "1", "b": "2"}
    new = kept.restore(second, "history")
    assert (new / "a").read_text() == "changed"


def test_the_same_content_has_the_same_revision_anywhere(tmp_path: Path) -> None:
    one = VersionStore(tmp_path / "one").add("x", write(tmp_path / "a", f="text"))
    other = VersionStore(tmp_path / "other").add("y", write(tmp_path / "b", f="text"))
    assert one == other


def test_a_file_is_kept_too(kept: VersionStore, tmp_path: Path) -> None:
    file = tmp_path / "one.txt"
    file.write_text("text")
    assert kept.restore(kept.add("one", file), "one.txt").read_text() == "text"


def test_another_machine_gets_it_from_the_remote(kept: VersionStore, tmp_path: Path) -> None:
    kept.set_remote(str(tmp_path / "remote"))
    revision = kept.add("data", write(tmp_path / "data", a="1"))
    shutil.rmtree(kept.folder)
    elsewhere = VersionStore(tmp_path / "elsewhere")
    with pytest.raises(VersionStoreError, match="set one with"):
        elsewhere.restore(revision, "data")
    elsewhere.set_remote(str(tmp_path / "remote"))
    assert (elsewhere.restore(revision, "data") / "a").read_text() == "1"


def test_the_remote_may_be_named_in_the_environment(
    kept: VersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REMOTE_VARIABLE, str(tmp_path / "remote"))
    kept.add("data", write(tmp_path / "data", a="1"))
    assert list((tmp_path / "remote").rglob("*"))
    monkeypatch.delenv(REMOTE_VARIABLE)
    assert kept.remote is None


def test_a_password_in_its_url_is_written_nowhere(
    kept: VersionStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = "http://me:hunter22@127.0.0.1:9/versions"
    with pytest.raises(VersionStoreError, match=f"{REMOTE_VARIABLE}=URL") as refused:
        kept.set_remote(url)
    monkeypatch.setenv(REMOTE_VARIABLE, url)
    kept.add("data", write(tmp_path / "data", a="1"))
    assert "http://127.0.0.1:9/versions does not accept" in caplog.text
    assert "hunter22" not in caplog.text + str(refused.value)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == "config" for file in files)
    assert not [file for file in files if b"hunter22" in file.read_bytes()]


def test_what_the_remote_does_not_take_is_kept_and_sent_later(
    kept: VersionStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    away, remote = str(tmp_path / "file" / "remote"), str(tmp_path / "remote%20here")
    first = kept.add("data", write(tmp_path / "data", a="1"))  # no remote is named yet
    with pytest.raises(VersionStoreError, match="does not accept"):
        kept.set_remote(away)
    assert kept.remote == away
    second = kept.add("data", write(tmp_path / "data", a="2"))
    assert "it is sent with the next one" in caplog.text
    assert away in caplog.text
    # What is in the cache comes back without the remote.
    assert (kept.restore(first, "data") / "a").read_text() == "1"

    kept.set_remote(remote)
    assert kept.remote == remote
    third = kept.add("data", write(tmp_path / "data", a="3"))
    elsewhere = VersionStore(tmp_path / "elsewhere")
    elsewhere.set_remote(remote)
    texts = [(elsewhere.restore(r, "data") / "a").read_text() for r in (first, second, third)]
    assert texts == ["1", "2", "3"]


def test_another_remote_gets_all_that_was_kept(
    kept: VersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.set_remote(str(tmp_path / "one"))
    first = kept.add("data", write(tmp_path / "data", a="1"))
    monkeypatch.chdir(tmp_path)
    kept.set_remote("other")
    assert kept.remote == str(tmp_path / "other")
    elsewhere = VersionStore(tmp_path / "elsewhere")
    elsewhere.set_remote(str(tmp_path / "other"))
    assert (elsewhere.restore(first, "data") / "a").read_text() == "1"
    # One that lost what it had gets it again, and one that cannot be written to says so.
    shutil.rmtree(tmp_path / "other")
    kept.set_remote(str(tmp_path / "other"))
    assert list((tmp_path / "other").rglob("*"))
    (tmp_path / "file").touch()
    with pytest.raises(VersionStoreError, match="does not accept"):
        kept.set_remote(str(tmp_path / "file" / "remote"))


def test_other_options_of_the_remote_stay(kept: VersionStore, tmp_path: Path) -> None:
    kept.set_remote(str(tmp_path / "one"))
    config = kept.folder / ".dvc" / "config"
    config.write_text(config.read_text() + "    verify = true\n")
    kept.set_remote(str(tmp_path / "other"))
    assert "verify = true" in config.read_text()
    assert kept.remote == str(tmp_path / "other")


def test_passwords_of_remotes_are_not_shown() -> None:
    text = "no s3://bucket/x and https://me:word@host:1/p@q nor ssh://me@host"
    assert redacted_urls(text) == "no s3://bucket/x and https://host:1/p@q nor ssh://host"


def test_nothing_is_printed(tmp_path: Path) -> None:
    """The standard output of a command with --json is for machines."""
    data, folder = write(tmp_path / "data", a="1"), tmp_path / "versions"
    code = (
        "from pathlib import Path; from tasks.versioning.store import VersionStore\n"
        f"v = VersionStore(Path({str(folder)!r})); v.set_remote({str(tmp_path / 'remote')!r})\n"
        f"v.restore(v.add('data', Path({str(data)!r})), 'data')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("", "")


KEEP = """
import sys
from pathlib import Path
from tasks.versioning.store import VersionStore

folder, mine = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
versions = VersionStore(folder)
for number in range(3):
    (mine / "file").write_text(f"{mine.name} {number}")
    print(versions.add("history", mine), flush=True)
"""


def test_several_processes_keep_things_in_a_new_workspace_at_once(
    kept: VersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All under one name, from nothing, and each revision reaches the remote."""
    monkeypatch.setenv(REMOTE_VARIABLE, str(tmp_path / "remote"))
    names = ("one", "two", "three")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", KEEP, kept.folder, write(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ended
    elsewhere = VersionStore(tmp_path / "elsewhere")
    for name, (output, _) in zip(names, ended, strict=True):
        for number, revision in enumerate(output.split()):
            found = elsewhere.restore(revision, "history") / "file"
            assert found.read_text() == f"{name} {number}"
    [sent] = (kept.folder / ".sent").iterdir()
    assert {note.name for note in sent.iterdir()} == {
        note.name for note in (kept.folder / ".kept").iterdir()
    }


def test_another_process_of_autopipe_is_waited_for_with_a_limit(
    kept: VersionStore, tmp_path: Path
) -> None:
    data = write(tmp_path / "data", a="1")
    with (
        locked(kept.folder, "versions", "wait"),
        pytest.raises(Locked, match=r"(?s)versions.* in use by process \d+ .*repeat the command"),
    ):
        VersionStore(kept.folder, wait_seconds=0.2).add("data", data)
    kept.add("data", data)


def test_what_is_no_revision_becomes_no_path(kept: VersionStore) -> None:
    with pytest.raises(VersionStoreError, match="not a revision"):
        kept.restore("../../etc", "x")


def test_another_dvc_process_is_waited_for_with_a_limit(kept: VersionStore, tmp_path: Path) -> None:
    data = write(tmp_path / "data", a="1")
    kept.add("data", data)
    hold = (
        "import time; from dvc.repo import Repo\n"
        f"with Repo({str(kept.folder)!r}).lock: print('held', flush=True); time.sleep(6)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(VersionStoreError, match="another DVC process"):
        VersionStore(kept.folder, wait_seconds=0.5).add("data", data)
    start = time.monotonic()
    kept.add("data", data)
    assert time.monotonic() - start < 60
    assert holder.wait() == 0
