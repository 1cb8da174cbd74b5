"""What a run read and wrote is noted as DVC's revisions, and comes back as it was: real DVC."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from surrogates.offline.models import OfflineModels
from tasks.history.rows import search_history, write_parquet
from tasks.inputs.spaces import load_space
from tasks.runs.folder import RunFolder
from tasks.runs.versions import (
    ACCELERATE_NAME,
    HISTORY_NAME,
    MODELS_NAME,
    dataset_name,
    promoted_name,
    run_versions,
    winner_name,
)
from tasks.versioning.provenance import (
    linked_folder,
    version_export,
    version_history_and_models,
    version_inputs,
    version_outputs,
    version_run_inputs,
)
from tasks.versioning.reproduce import restore_inputs
from tasks.versioning.store import REMOTE_VARIABLE, version_store
from tests.histories import bundled
from tests.tasks.conftest import MakeRun
from trials.io.errors import SettingsError


@pytest.fixture
def run(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run in a workspace, on a dataset and with an Accelerate config that are there."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(REMOTE_VARIABLE, raising=False)
    data, accelerate = tmp_path / "gcd.v2", tmp_path / "mine.yaml"
    data.mkdir()
    (data / "train.jsonl").write_text("rows as they were\n")
    accelerate.write_text("num_processes: 1\n")
    run = make_run()
    info = run.info()
    run.write_info(
        info.model_copy(
            update={
                "dataset": info.dataset.model_copy(update={"path": str(data)}),
                "settings": info.settings.model_copy(
                    update={"dataset": "gcd.v2", "accelerate_config": str(accelerate)}
                ),
            }
        )
    )
    return run


@pytest.fixture
def history(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "history"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.parquet").write_text(f"{name} as it was")
    return sorted(folder.iterdir())


def texts(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_what_a_run_read_comes_back_after_all_of_it_changed(
    run: RunFolder, history: list[Path], tmp_path: Path
) -> None:
    features = tmp_path / "features.csv"
    features.write_text("as they were")
    version_run_inputs.fn(run, history, features)
    assert set(run_versions(run).read) == {"dataset-add", HISTORY_NAME, ACCELERATE_NAME}
    # In place, so that a link into DVC's cache would change it, too.
    for file in (*history, features, tmp_path / "mine.yaml", tmp_path / "gcd.v2" / "train.jsonl"):
        with file.open("r+") as stream:
            stream.write("changed")
    history[0].unlink()

    restored = restore_inputs.fn(run)
    assert texts(restored.history) == {
        "a.parquet": "a as it was", "b.parquet": "b as it was", "features.csv": "as they were",
    }  # fmt: skip
    assert texts(Path(restored.settings.dataset)) == {"train.jsonl": "rows as they were\n"}
    assert Path(restored.settings.dataset).name == "gcd.v2"
    assert Path(restored.settings.accelerate_config).read_text() == "num_processes: 1\n"
    # The space is the run's own, whatever its name means by now.
    assert load_space(restored.settings.space) == load_space("sft_grpo")
    changed = {"dataset", "space", "accelerate_config"}
    before, now = (s.model_dump(exclude=changed) for s in (run.info().settings, restored.settings))
    assert now == before

    # A second repetition has a history of its own: both add to it.
    (restored.history / "new.parquet").touch()
    assert len(texts(restore_inputs.fn(run).history)) == 3


def test_a_run_without_history_learns_from_none_again(run: RunFolder) -> None:
    version_run_inputs.fn(run, [], None)
    assert list(restore_inputs.fn(run).history.iterdir()) == []


def test_a_resumed_run_keeps_what_it_began_with(run: RunFolder, history: list[Path]) -> None:
    version_run_inputs.fn(run, history, None)
    before = run_versions(run)
    history[0].write_text("another")
    version_run_inputs.fn(run, history, None)
    assert run_versions(run) == before


def test_what_a_run_wrote_is_noted_beside_what_it_read(
    run: RunFolder, history: list[Path], tmp_path: Path
) -> None:
    rows = bundled("chain_sum")
    models = OfflineModels.fit(search_history(rows), load_space("sft_grpo"), 0)
    version_store().set_remote(str(tmp_path / "remote"))
    version_run_inputs.fn(run, history[:1], None)
    write_parquet(rows, history[1])
    version_history_and_models.fn(run, history, models)
    version_export.fn(run)
    found = run_versions(run)
    assert found.remote == str(tmp_path / "remote")
    assert set(found.wrote) == {HISTORY_NAME, MODELS_NAME, "winner-add--tiny-m"}
    assert found.read[HISTORY_NAME] != found.wrote[HISTORY_NAME]
    restore = version_store().restore
    assert len(list(restore(found.wrote[HISTORY_NAME], "history").iterdir())) == 2
    assert OfflineModels.load(restore(found.wrote[MODELS_NAME], "models")).columns == models.columns
    assert (restore(found.wrote["winner-add--tiny-m"], "best") / "model" / "config.json").exists()


def test_without_models_or_history_there_is_nothing_to_note(run: RunFolder) -> None:
    version_history_and_models.fn(run, [])
    assert run_versions(run).wrote == {}


def test_a_flow_that_is_repeated_adds_to_its_note(run: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    version_inputs.fn(folder, {"one": run.path / "run.json"})
    version_outputs.fn(folder, {"two": run.path / "best"})
    version_outputs.fn(folder, {"three": run.path / "summary.json"})
    found = run_versions(RunFolder(folder))
    assert set(found.read) == {"one"}
    assert set(found.wrote) == {"two", "three"}


def test_a_run_without_a_note_is_explained(run: RunFolder) -> None:
    with pytest.raises(SettingsError, match=r"(?s)run-1 has no versions.json.*start a new run"):
        restore_inputs.fn(run)


def test_names_from_outside_become_no_paths() -> None:
    names = [dataset_name("../../etc"), winner_name("../x", "/a/../b"), promoted_name("..", "..")]
    assert all("/" not in name and not name.startswith(".") for name in names)
    # The folder of a promoted model and a run's winner are told apart.
    assert len({winner_name("a", "b"), promoted_name("a", "b")}) == 2


def test_gathered_files_are_gone_afterwards_and_their_origins_are_not(history: list[Path]) -> None:
    with linked_folder(history) as folder:
        assert texts(folder) == {"a.parquet": "a as it was", "b.parquet": "b as it was"}
    assert not folder.exists()
    assert all(file.exists() for file in history)


def test_keeping_versions_never_ends_a_run(
    run: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "versions").write_text("a file where DVC's folder belongs")
    with caplog.at_level(logging.WARNING, "tasks"):
        version_run_inputs.fn(run, [], None)
    assert "dataset-add is not versioned" in caplog.text
    assert run_versions(run).read == {}
    caplog.clear()
    (run.path / "versions.json").write_text("{")
    with caplog.at_level(logging.WARNING, "tasks"):
        version_outputs.fn(run.path, {"thing": tmp_path / "mine.yaml"})
    assert "versions are not recorded" in caplog.text
    assert (run.path / "versions.json").read_text() == "{"  # nothing is lost
