"""A run repeated on the data that it read: restored inputs, and a comparison of the two runs."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.config.paths import cache_folder
from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.runs.folder import ProposalRecord, RunFolder
from tasks.runs.versions import ACCELERATE_NAME, HISTORY_NAME, dataset_name, run_versions
from tasks.versioning.store import version_store
from trials.spec.records import Value

TOLERANCE = 1e-9


@dataclass(frozen=True)
class RestoredInputs:
    """The inputs of a run, restored."""

    settings: TuneSettings  # with the dataset, the space and the Accelerate config as they were
    history: Path  # folder to learn from; a copy, so that the repetition may add to it


@dataclass(frozen=True)
class RunComparison:
    """Two runs, proposal by proposal."""

    proposals: int  # in both
    scores: int  # of trials that both finished
    differences: tuple[str, ...]  # a sentence each; empty when the runs agree

    @property
    def same(self) -> bool:
        return not self.differences


@step
def restore_inputs(run: RunFolder) -> RestoredInputs:
    """Restores the inputs of a run from DVC's cache or the remote, each time to a new folder.

    Raises:
        SettingsError: the run has no record of what it read.
        VersionStoreError: neither has them.
    """
    info, read, store = run.info(), run_versions(run).read, version_store()
    place = cache_folder() / "reproduced"
    place.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"{run.run_id}-", dir=place))
    dataset = store.restore(read[dataset_name(info.dataset.name)], Path(info.dataset.path).name)
    space = place / "space.json"  # the name in the settings may mean another one by now
    space.write_text(json.dumps(info.space), encoding="utf-8")
    changes: dict[str, object] = {"dataset": str(dataset), "space": str(space)}
    if info.history.used is False:  # it was not learned in time, and might be now
        changes["use_history"] = False
    if ACCELERATE_NAME in read:
        changes["accelerate_config"] = str(store.restore(read[ACCELERATE_NAME], "accelerate.yaml"))
    history = place / "history"
    history.mkdir()
    if HISTORY_NAME in read:
        for file in store.restore(read[HISTORY_NAME], HISTORY_NAME).iterdir():
            shutil.copyfile(file, history / file.name)
    return RestoredInputs(info.settings.model_copy(update=changes), history)


def compare_runs(run: RunFolder, again: RunFolder) -> RunComparison:
    """Compares the proposals and scores of a repeated run with those of the first.

    The model is not versioned, so a model that changed is named. So are packages whose versions
    changed, once something differs.
    """
    first, second = run.proposals(), again.proposals()
    mine, theirs = _scores(run), _scores(again)
    differences, scores = list(_other_model(run, again)), 0
    for one, other in zip(first, second, strict=False):
        if found := _proposal_difference(one, other):
            differences.append(found)
            break  # what follows from another proposal is another search
        before, now = mine.get(one.trial_id), theirs.get(other.trial_id)
        if before is not None and now is not None:
            scores += 1
            if math.isclose(before, now, rel_tol=0.0, abs_tol=TOLERANCE):
                continue
        elif before is now:  # neither has one
            continue
        was = "was without a score" if before is None else f"scored {before:.6g}"
        is_now = "without a score" if now is None else f"{now:.6g}"
        differences.append(f"trial {one.order:03d} {was}, now {is_now}")
    if len(first) != len(second):
        differences.append(
            f"{len(first)} proposals, now {len(second)}: a budget in seconds buys more on a faster "
            "machine"
            if run.info().settings.budget.unit == "seconds"
            else f"{len(first)} proposals, now {len(second)}"
        )
    if differences:
        differences += _other_packages(run, again)
    return RunComparison(min(len(first), len(second)), scores, tuple(differences))


def _proposal_difference(one: ProposalRecord, other: ProposalRecord) -> str | None:
    if one.fraction != other.fraction:
        return f"proposal {one.order:03d}: fraction {one.fraction}, now {other.fraction}"
    if one.model != other.model:
        before, now = (each.model or "the target" for each in (one, other))
        return f"proposal {one.order:03d}: a trial of {before}, now of {now}"
    names = sorted(one.config.keys() | other.config.keys())
    changed = [n for n in names if not _same(one.config.get(n), other.config.get(n))]
    if not changed:
        return None
    name = changed[0]
    return (
        f"proposal {one.order:03d}: {len(changed)} of {len(names)} hyperparameters differ, "
        f"{name} was {one.config.get(name)}, now {other.config.get(name)}"
    )


def _same(one: Value | None, other: Value | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE)
    return one == other


def _scores(run: RunFolder) -> dict[str, float | None]:
    return {t.spec.trial_id: t.result.score if t.result else None for t in run.trials()}


def _other_model(run: RunFolder, again: RunFolder) -> Iterator[str]:
    before, now = (_fingerprints(each) for each in (run, again))
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            yield f"the model {name} has changed: fingerprint {before[name]}, now {now[name]}"


def _fingerprints(run: RunFolder) -> dict[str, str | None]:
    """Of the target and the proxies, as far as they had trials, by name: that of the first one."""
    info = run.info()
    found: dict[str, str | None] = {}
    for trial in run.trials():
        found.setdefault(info.proxy_of(trial.spec) or info.model, trial.spec.model_fingerprint)
    return found


def _other_packages(run: RunFolder, again: RunFolder) -> Iterator[str]:
    before, now = run.info().versions, again.info().versions
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"package {name} was {before.get(name)}, now {now.get(name)}"
