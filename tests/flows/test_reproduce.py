"""A run again, after everything that it read has changed: real searches, and DVC with a remote."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tasks.history.rows import history_files
from tasks.runs.folder import RunFolder
from tasks.versioning.store import REMOTE_VARIABLE, VersionStore
from tests.flows.running import begin, printed, tune

pytestmark = pytest.mark.slow


def command(home: Path, *arguments: str) -> str:
    """What `autopipe ...` prints; it must succeed."""
    before = len(printed(home)) if (home / "log.txt").exists() else 0
    remote = {REMOTE_VARIABLE: str(home / "remote"), "COLUMNS": "500"}
    process = begin(home, *arguments, environment=remote)
    assert process.wait(timeout=600) == 0, printed(home)
    return printed(home)[before:]


def run_of(home: Path, dataset: str) -> RunFolder:
    [folder] = (home / "runs").glob(f"{dataset}-tiny-100k-*")
    return RunFolder(folder)


def noted(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    content = json.loads(file.read_text())
    assert Path(content["remote"]).is_dir()
    return content["read"], content["wrote"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a search has learned from the trials of another one."""
    home = tmp_path_factory.mktemp("home")
    command(home, *tune(home, "gcd", "--budget", "8"))
    command(home, *tune(home, "lcm", "--budget", "4", "--seed", "3"))
    return home


def test_each_flow_notes_the_revisions_it_read_and_wrote(home: Path) -> None:
    gcd, lcm = (noted(run_of(home, name).path / "versions.json") for name in ("gcd", "lcm"))
    assert set(gcd[0]) == {"dataset-gcd"}
    assert set(gcd[1]) == {"history", "winner-gcd--tiny-100k"}
    assert set(lcm[0]) == {"dataset-lcm", "history"}
    assert set(lcm[1]) == {"history", "offline-models", "winner-lcm--tiny-100k"}
    assert lcm[0]["history"] != lcm[1]["history"]

    command(home, "promote", run_of(home, "gcd").path.name)
    promotion = run_of(home, "gcd").path / "promotion" / "versions.json"
    read, wrote = noted(promotion)
    assert read == {
        "dataset-gcd": gcd[0]["dataset-gcd"],
        "winner-gcd--tiny-100k": gcd[1]["winner-gcd--tiny-100k"],
    }
    # Against the base model, which knows nothing of it, twenty steps are enough to be promoted.
    assert set(wrote) == {"promoted-gcd--tiny-100k"}
    command(home, "promote", run_of(home, "gcd").path.name)
    incumbent, _ = noted(promotion)
    assert incumbent["promoted-gcd--tiny-100k"] == wrote["promoted-gcd--tiny-100k"]

    # All of it is in the remote, whatever becomes of this workspace.
    elsewhere = VersionStore(home / "elsewhere")
    elsewhere.set_remote(str(home / "remote"))
    for revisions in (*gcd, *lcm, wrote):
        for name, revision in revisions.items():
            assert elsewhere.restore(revision, name).is_dir()


def test_a_run_is_reproduced_after_all_that_it_read_has_changed(home: Path) -> None:
    run = run_of(home, "lcm")
    assert run.info().history.used  # it really learned
    [gcd, lcm] = history_files(home / "history")
    gcd.unlink()
    shutil.copyfile(lcm, home / "history" / "another.parquet")
    rows = Path(run.info().dataset.path) / "train.jsonl"
    with rows.open("r+b") as stream:  # in place, as an editor or a script may
        stream.write(b"broken")
    for gone in (home / "versions", home / ".cache" / "autopipe" / "offline"):
        shutil.rmtree(gone)
    before = history_files(home / "history")

    output = command(home, "reproduce", run.path.name)
    count = len(run.proposals())
    assert f"the same: {count} proposals and {count} scores compared" in output
    # The repetition learned from the same trials, and left the history alone.
    again = RunFolder(max((home / "runs").iterdir(), key=os.path.getmtime))
    assert again.path != run.path
    assert history_files(home / "history") == before
    (first_read, _), (second_read, _) = (
        noted(each.path / "versions.json") for each in (run, again)
    )
    assert second_read == first_read
    assert again.info().dataset.fingerprint == run.info().dataset.fingerprint
    assert [p.config for p in again.proposals()] == [p.config for p in run.proposals()]
