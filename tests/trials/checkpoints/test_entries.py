from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trials.checkpoint_helpers import (
    DAMAGES,
    KEYS,
    H,
    asking_spec,
    changed,
    fill,
    in_two_threads,
    keys,
    manifest,
    write_entry,
)
from tests.trials.helpers import ROOT
from trials.checkpoints.entries import (
    Checkpoint,
    FileRecord,
    clear_partials,
    discard,
    entry_path,
    partial_path,
    problems,
    publish,
    read_checkpoint,
)
from trials.checkpoints.registry import CheckpointRegistry
from trials.spec.hyperparameters import Hyperparameters, validate
from trials.spec.kinds import STAGES
from trials.spec.plan import StagePlan
from trials.spec.records import Compute, Fidelity, Limits, Schedule, StoppingRules, write_json

FIELDS = sorted(Hyperparameters.model_fields)
LENGTHS = {f"{stage}_{unit}" for stage in STAGES for unit in ("share", "steps", "epochs")}


# --- keys


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_changes_the_keys_of_its_stage_and_the_later_ones(name: str) -> None:
    prefix = name.split("_")[0]
    first = STAGES.index(prefix) if prefix in STAGES else 0
    expected = set() if name in LENGTHS else set(STAGES[first:])
    other = keys(changed(H, name))
    assert {stage for stage in STAGES if other[stage] != KEYS[stage]} == expected


@given(names=st.sets(st.sampled_from([n for n in FIELDS if n.startswith("rl_")]), min_size=1))
def test_trials_that_differ_in_rl_settings_share_the_stages_before(names: set[str]) -> None:
    other = keys(changed(H, *names))
    assert (other["sft"], other["dpo"]) == (KEYS["sft"], KEYS["dpo"])
    assert (other["rl"] == KEYS["rl"]) == (names <= LENGTHS)


@given(
    ours=st.tuples(*[st.integers(0, 3)] * 3, st.integers(1, 2)),
    theirs=st.tuples(*[st.integers(0, 3)] * 3, st.integers(1, 2)),
)
def test_keys_hold_the_steps_up_to_their_stage_and_the_total(ours: Any, theirs: Any) -> None:
    one, other = StagePlan(*ours), StagePlan(*theirs)
    left, right = keys(plan=one), keys(plan=other)
    assert tuple(left) == one.stages
    for stage in set(left) & set(right):
        reach = STAGES.index(stage) + 1
        same = one.total == other.total and ours[:reach] == theirs[:reach]
        same = same and (stage != "rl" or one.rl_boundary == other.rl_boundary)
        assert (left[stage] == right[stage]) == same
    assert len(set(left.values())) == len(left)


def test_settings_of_a_stage_that_is_left_out_change_nothing() -> None:
    plan = StagePlan(sft=0, dpo=0, rl=30)
    before = [name for name in FIELDS if name.startswith(("sft_", "dpo_"))]
    assert keys(changed(H, *before), plan) == keys(H, plan)


def test_a_default_that_is_given_equals_one_left_out() -> None:
    assert keys(validate({"sft_learning_rate": H.sft_learning_rate, "rl_beta": None})) == KEYS
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in KEYS.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_fingerprint": "other"},
        {"seed": 1},
        {"model_fingerprint": "123"},
        {"fidelity": Fidelity(model="models/small", fraction=1.0)},
        {"schedule": Schedule(eval_points=(0.5, 1.0))},
        {"stopping": StoppingRules(loss_patience=3)},
        {"compute": Compute(precision="float32")},
    ],
)
def test_what_every_stage_depends_on_changes_every_key(changes: dict[str, Any]) -> None:
    other = keys(spec=asking_spec(**changes))
    assert all(other[stage] != KEYS[stage] for stage in STAGES)


def test_what_no_state_depends_on_changes_no_key() -> None:
    moved = asking_spec(
        0.3,
        trial_id="other",
        dataset="moved/data",
        folder="moved",
        limits=Limits(wall_seconds=5),
        compute=Compute(gradient_checkpointing=True, memory_bytes=10**9),
    )
    moved = moved.model_copy(update={"fidelity": Fidelity(model="moved/tiny", fraction=0.3)})
    assert keys(spec=moved) == KEYS
    sampled_elsewhere = keys(spec=asking_spec(compute=Compute(vllm=True)))
    assert {s for s in STAGES if sampled_elsewhere[s] != KEYS[s]} == {"rl"}


# --- writing and reading


def test_a_published_entry_comes_back(tmp_path: Path) -> None:
    checkpoint = write_entry(tmp_path, "t", 12, size=1000, processes=2)
    assert checkpoint.path == tmp_path / "t" / "checkpoint" / "step-000012"
    assert problems(checkpoint) == []
    manifest = checkpoint.manifest
    assert set(manifest.files) == {
        "events.jsonl",
        "trainer/model.safetensors",
        "trainer/deep/state.json",
    }
    assert (manifest.step, manifest.processes, manifest.trial_id) == (12, 2, "t")
    sizes = sum(record.size for record in checkpoint.manifest.files.values())
    assert sizes == 1000 + len("{}") + checkpoint.events.stat().st_size
    assert checkpoint.payload == checkpoint.path / "trainer"
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["step-000012"]


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_and_a_new_entry_replaces_it(
    tmp_path: Path, damage: Callable[[Path], Any], said: str
) -> None:
    checkpoint = write_entry(tmp_path, "t", 12)
    damage(checkpoint.path)
    assert any(said in problem for problem in problems(checkpoint))
    assert bool(problems(checkpoint, deep=False)) == (said != "SHA-256")
    replaced = write_entry(tmp_path, "t", 12)
    assert problems(replaced) == []
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["step-000012"]


@pytest.mark.parametrize("manifest", [None, b"", b"{", b"\xff\xfe", b'{"key": "x"}', b"[1]"])
def test_without_a_readable_manifest_there_is_no_entry(
    tmp_path: Path, manifest: bytes | None
) -> None:
    checkpoint = write_entry(tmp_path, "t", 12)
    file = checkpoint.path / "manifest.json"
    file.unlink() if manifest is None else file.write_bytes(manifest)
    assert read_checkpoint(checkpoint.path) is None
    assert CheckpointRegistry(tmp_path).entries() == []
    assert problems(write_entry(tmp_path, "t", 12)) == []


def test_a_path_that_leaves_the_entry_is_never_followed(tmp_path: Path) -> None:
    checkpoint = write_entry(tmp_path, "t", 12)
    secret = tmp_path / "t" / "checkpoint" / "secret"
    secret.write_bytes(b"secret")
    (checkpoint.path / "trainer" / "link").symlink_to(secret)
    record = FileRecord(size=6, sha256="0" * 64)
    bad = [
        "../secret",
        "trainer/../events.jsonl",
        "trainer/../../secret",
        str(secret),
        "trainer/link",
        "",
        "a\0b",
        "x" * 999,
    ]
    files = {**checkpoint.manifest.files, **dict.fromkeys(bad, record)}
    manifest = checkpoint.manifest.model_copy(update={"files": files})
    write_json(checkpoint.path / "manifest.json", manifest)
    reread = read_checkpoint(checkpoint.path)
    assert reread is not None
    found = problems(reread)
    assert len(found) == len(bad)
    assert sum("outside" in problem for problem in found) == 5
    assert not any("SHA-256" in problem for problem in found)


def test_an_entry_without_its_parts_is_refused(tmp_path: Path) -> None:
    folder, described = tmp_path / "t", manifest("t", 3, "sft", "weights")
    target = entry_path(folder, 3)
    partial = fill(partial_path(target), "weights")
    with pytest.raises(ValueError, match="nothing in trainer/"):
        publish(partial, folder, manifest("t", 3, "sft", "trainer"))
    (partial / "weights" / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="is a link"):
        publish(partial, folder, described)
    (partial / "weights" / "link").unlink()
    (partial / "events.jsonl").unlink()
    with pytest.raises(ValueError, match=r"no events\.jsonl"):
        publish(partial, folder, described)
    assert not target.exists()
    clear_partials(tmp_path / "t")
    assert list(target.parent.iterdir()) == []


def test_the_entry_that_is_there_is_kept_only_if_it_is_the_same(tmp_path: Path) -> None:
    first = write_entry(tmp_path, "t", 12, size=100)
    assert write_entry(tmp_path, "t", 12, size=200) == first
    other = write_entry(tmp_path, "t", 12, size=200, key="another")
    assert (other.manifest.key, problems(other)) == ("another", [])
    assert [path.name for path in first.path.parent.iterdir()] == ["step-000012"]


@pytest.mark.parametrize("damaged", [False, True])
def test_two_publishers_of_one_entry_leave_a_valid_one(tmp_path: Path, damaged: bool) -> None:
    for step in range(1, 11):
        target = entry_path(tmp_path / "t", step)
        if damaged:
            (write_entry(tmp_path, "t", step).path / "events.jsonl").unlink()
        partials = [fill(target.with_name(f".{i}.partial"), text=f"writer {i}") for i in (0, 1)]

        def work(index: int, partials: list[Path] = partials, step: int = step) -> Checkpoint:
            described = manifest("t", step, "sft", "trainer")
            return publish(partials[index], tmp_path / "t", described)

        in_two_threads(work)
    registry = CheckpointRegistry(tmp_path)
    assert [problems(entry) for entry in registry.entries()] == [[]] * 10
    names = {path.name for path in (tmp_path / "t" / "checkpoint").iterdir()}
    assert names == {f"step-{step:06d}" for step in range(1, 11)}


WRITER = """
import sys
from pathlib import Path
from tests.trials.checkpoint_helpers import write_entry
for step in range(1, 100000):
    write_entry(Path(sys.argv[1]), "t", step, size=20000)
    print(step, flush=True)
"""


def test_whenever_a_writer_is_killed_every_entry_is_whole(tmp_path: Path) -> None:
    for attempt in range(3):
        root = tmp_path / str(attempt)
        command = [sys.executable, "-c", WRITER, str(root)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"1\n"
            time.sleep(0.05 + attempt * 0.0123)
            writer.send_signal(signal.SIGKILL)
        entries = CheckpointRegistry(root).entries()
        assert entries
        assert [problems(entry) for entry in entries] == [[]] * len(entries)
        clear_partials(root / "t")
        shown = {path.name for path in (root / "t" / "checkpoint").iterdir()}
        assert shown == {entry.path.name for entry in entries}


def test_only_hidden_folders_are_cleared(tmp_path: Path) -> None:
    clear_partials(tmp_path / "nothing")
    kept = write_entry(tmp_path, "t", 12)
    fill(partial_path(entry_path(tmp_path / "t", 20)))
    (kept.path.parent / "final").mkdir()
    (kept.path.parent / ".stray").write_text("", encoding="utf-8")
    assert len(CheckpointRegistry(tmp_path).entries()) == 1
    clear_partials(tmp_path / "t")
    assert {path.name for path in kept.path.parent.iterdir()} == {"final", "step-000012"}
    assert discard(kept.path)
    assert not discard(kept.path)


def test_a_checkpoint_is_out_of_sight_before_any_of_its_files_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = write_entry(tmp_path, "t", 12)
    seen: list[tuple[bool, bool]] = []
    rmtree = shutil.rmtree

    def watched(path: Path, **options: Any) -> None:
        seen.append((path.name.startswith("."), entry.path.exists()))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    assert discard(entry.path)
    assert seen == [(True, False)]
    assert list(entry.path.parent.iterdir()) == []


def test_a_default_that_depends_on_being_left_out_is_part_of_the_rl_key() -> None:
    """Sequence-level clip ranges differ from a given 0.2, though both fields hold 0.2."""
    left_out = validate({"rl_loss_type": "grpo", "rl_importance_sampling_level": "sequence"})
    given = validate(
        {"rl_loss_type": "grpo", "rl_importance_sampling_level": "sequence", "rl_epsilon": 0.2}
    )
    assert left_out.clip_range != given.clip_range
    assert keys(left_out)["rl"] != keys(given)["rl"]
    assert keys(left_out)["sft"] == keys(given)["sft"]
