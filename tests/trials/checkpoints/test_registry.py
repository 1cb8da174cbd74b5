from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trials.checkpoint_helpers import (
    DAMAGES,
    PLAN,
    H,
    asking_spec,
    fill,
    in_two_threads,
    write_entry,
)
from trials.checkpoints.entries import Checkpoint, entry_path, partial_path, problems
from trials.checkpoints.registry import CheckpointRegistry
from trials.spec.hyperparameters import validate
from trials.spec.records import write_json

# --- the furthest


def find(root: Path, fraction: float = 1.0, **options: Any) -> Checkpoint | None:
    return CheckpointRegistry(root).furthest(asking_spec(fraction), H, PLAN, **options)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 20), max_size=4, unique=True),
    rl=st.lists(st.integers(31, 60), max_size=4, unique=True),
    fraction=st.floats(0.01, 1.0),
)
def test_the_furthest_is_never_beyond_the_end_and_always_exact(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], rl: list[int], fraction: float
) -> None:
    root = tmp_path_factory.mktemp("trials")
    for step in steps:
        write_entry(root, f"t{step % 2}", step)
    for step in rl:
        write_entry(root, f"t{step % 2}", step, "rl")
    last = PLAN.last_step(fraction)
    exact = [s for s in steps if s <= last] + [s for s in rl if s <= last and s % 5 == 0]
    found = find(root, fraction)
    assert (found.manifest.step if found else None) == max(exact, default=None)


def test_trials_with_other_rl_settings_share_sft(tmp_path: Path) -> None:
    sft = write_entry(tmp_path, "t", 20, kind="weights")
    rl = write_entry(tmp_path, "t", 40, "rl")
    assert find(tmp_path) == rl
    registry = CheckpointRegistry(tmp_path)
    assert registry.furthest(asking_spec(), validate({"rl_beta": 0.5}), PLAN) == sft
    assert registry.furthest(asking_spec(), validate({"sft_learning_rate": 0.5}), PLAN) is None
    assert registry.furthest(asking_spec(seed=1), H, PLAN) is None
    assert CheckpointRegistry(tmp_path / "none").furthest(asking_spec(), H, PLAN) is None


def test_weights_are_usable_only_at_the_end_of_their_stage(tmp_path: Path) -> None:
    write_entry(tmp_path, "t", 19, kind="weights")
    assert find(tmp_path) is None
    end = write_entry(tmp_path, "t", 30, "dpo", kind="weights")
    assert find(tmp_path) == end
    assert find(tmp_path, 29 / 60) is None


def test_among_is_respected_and_ties_go_to_the_oldest(tmp_path: Path) -> None:
    far = write_entry(tmp_path, "a", 18)
    write_entry(tmp_path, "b", 12, created="2026-01-03T00:00:00.000000+00:00")
    oldest = write_entry(tmp_path, "c", 12, created="2026-01-02T00:00:00.000000+00:00")
    assert find(tmp_path) == far
    assert find(tmp_path, among={"b", "c"}) == oldest
    assert find(tmp_path, among=()) is None


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_skipped(tmp_path: Path, damage: Callable[[Path], Any], said: str) -> None:
    good, bad = write_entry(tmp_path, "t", 12), write_entry(tmp_path, "t", 18)
    partial = fill(partial_path(entry_path(tmp_path / "t", 19)))
    write_json(partial / "manifest.json", bad.manifest.model_copy(update={"step": 19}))
    damage(bad.path)
    assert find(tmp_path) == good
    assert any(said in problem for problem in problems(bad))


# --- the limit


def disk_bytes(root: Path) -> int:
    files = [path for path in root.glob("*/checkpoint/**/*") if path.is_file()]
    return sum({path.stat().st_ino: path.stat().st_size for path in files}.values())


def write_final(root: Path, trial: str, size: int) -> Path:
    folder = root / trial / "checkpoint" / "final"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * size)
    return folder


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),  # trial
        st.sampled_from([4, 8, 12, 20, 35, 40]),  # step
        st.integers(0, 9),  # age
        st.integers(1, 5000),  # bytes
    ),
    max_size=7,
    unique_by=lambda entry: entry[:2],
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), described=ENTRIES, finals=st.sets(st.sampled_from(["a", "b", "c"])))
def test_pruning_keeps_what_is_needed_and_takes_no_more_than_it_must(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, described: Any, finals: set[str]
) -> None:
    root = tmp_path_factory.mktemp("trials")
    entries = {
        entry.path: entry
        for trial, step, age, size in described
        for stage, kind in [("rl" if step > 20 else "sft", "weights" if step == 20 else "trainer")]
        for entry in [
            write_entry(root, trial, step, stage, kind=kind, size=size, created=f"2026-01-0{age}")
        ]
    }
    models = [write_final(root, trial, 1000) for trial in sorted(finals)]
    going = data.draw(st.permutations(models))[: data.draw(st.integers(0, 3))]
    everything = [*entries, *models, root / "a"]
    needed = data.draw(st.sets(st.sampled_from(everything)))
    free = [path for path in [*entries, *going] if not needed & {path, path.parents[1]}]
    sizes = {path: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in free}
    before = disk_bytes(root)
    limit = data.draw(st.integers(0, before + 1))

    removed = CheckpointRegistry(root).prune(limit, needed, going)

    after, left = disk_bytes(root), [path for path in free if path.exists()]
    assert set(removed) == set(free) - set(left)
    assert set(everything) - set(removed) == {path for path in everything if path.exists()} | (
        set() if (root / "a").exists() else {root / "a"}
    )
    assert all(problems(entries[path]) == [] for path in entries if path.exists())
    assert after == before - sum(sizes[path] for path in removed)
    assert after <= limit or not left
    if removed:
        assert after + sizes[removed[-1]] > limit
    assert not list(root.glob("*/checkpoint/.*"))

    def rank(path: Path) -> tuple[int, str | int]:
        if path in models:
            return 2, going.index(path)
        manifest = entries[path].manifest
        further = [
            other
            for other in entries.values()
            if other.path.parent == path.parent and other.manifest.step > manifest.step
        ]
        return (0 if further and manifest.kind == "trainer" else 1), manifest.created

    ranks = [rank(path) for path in removed]
    assert ranks == sorted(ranks)
    assert not left or not ranks or ranks[-1] <= min(rank(path) for path in left)


def test_unreadable_entries_and_remains_of_a_killed_pruner_go_first(tmp_path: Path) -> None:
    good, bad = write_entry(tmp_path, "t", 4, size=50), write_entry(tmp_path, "t", 8, size=50)
    (bad.path / "manifest.json").write_text("{", encoding="utf-8")
    fill(good.path.parent / ".step-000002.0.removed")
    writing = fill(partial_path(entry_path(tmp_path / "t", 9)), size=70)
    registry = CheckpointRegistry(tmp_path)
    assert registry.prune(10**9) == []
    assert len(list(good.path.parent.iterdir())) == 3
    assert registry.prune(disk_bytes(tmp_path) - 1) == [bad.path]
    assert registry.prune(0) == [good.path]
    assert list(good.path.parent.iterdir()) == [writing]
    with pytest.raises(ValueError, match="final"):
        registry.prune(0, finals=[tmp_path / "t"])


def test_an_entry_with_a_damaged_successor_is_not_superseded(tmp_path: Path) -> None:
    old = write_entry(tmp_path, "t", 4, created="2026-01-02")
    successor = write_entry(tmp_path, "t", 8, created="2026-01-01")
    (successor.path / "events.jsonl").unlink()
    assert CheckpointRegistry(tmp_path).prune(disk_bytes(tmp_path) - 1) == [successor.path]
    assert problems(old) == []


def test_the_payload_of_an_entry_may_be_named_as_needed(tmp_path: Path) -> None:
    entry = write_entry(tmp_path, "t", 4)
    assert CheckpointRegistry(tmp_path).prune(0, [entry.payload]) == []


def test_bytes_that_entries_share_are_counted_once(tmp_path: Path) -> None:
    first = write_entry(tmp_path, "a", 4, size=4000, created="2026-01-01")
    second = write_entry(tmp_path, "b", 4, size=10, created="2026-01-02")
    shared = second.path / "trainer" / "shared.safetensors"
    os.link(first.path / "trainer" / "model.safetensors", shared)
    registry = CheckpointRegistry(tmp_path)
    assert registry.prune(disk_bytes(tmp_path)) == []
    # The first alone gives back little: the second still holds its bytes.
    assert registry.prune(4000) == [first.path, second.path]
    assert disk_bytes(tmp_path) == 0


def test_two_pruners_at_once_take_no_more_than_one_would(tmp_path: Path) -> None:
    for attempt in range(30):
        root = tmp_path / str(attempt)
        for step in range(1, 13):
            write_entry(root, "t", step, size=100, created=f"2026-01-{step:02d}")
        limit = disk_bytes(root) // 2 + 50  # six entries are not all equally large
        both = in_two_threads(
            lambda _, root=root, limit=limit: CheckpointRegistry(root).prune(limit)
        )
        names = [path.name for removed in both for path in removed]
        entries = CheckpointRegistry(root).entries()
        assert len(names) == len(set(names)) == 12 - len(entries)
        assert [entry.manifest.step for entry in entries] == list(range(7, 13))
        assert disk_bytes(root) <= limit
        assert [problems(entry) for entry in entries] == [[]] * 6
