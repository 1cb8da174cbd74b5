"""The checkpoints of all trials of a run: the furthest one to resume from, and a limit to all.

The folders are the truth and there is no index: what is on disk and whole is found, also when
another process wrote or removed checkpoints a moment ago.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from trials.checkpoints.entries import (
    CHECKPOINTS,
    EVENTS,
    FINAL,
    REMOVED,
    Checkpoint,
    children,
    discard,
    problems,
    read_checkpoint,
    remove_hidden,
    stage_keys,
)
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import STAGES
from trials.spec.plan import StagePlan
from trials.spec.records import TrialSpec

_ENTRY_NAME = re.compile(r"step-\d{6,}")


class CheckpointRegistry:
    """Finds and removes checkpoints (layout: ``trials.checkpoints.entries``)."""

    def __init__(self, root: Path):
        self.root = root  # the folder of all trials, runs/<run-id>/trials; it need not exist yet

    def entries(self) -> list[Checkpoint]:
        """All entries with a readable manifest, sorted by path; their files are not looked at."""
        read = (read_checkpoint(path) for path in self._kept() if _is_entry(path))
        return [checkpoint for checkpoint in read if checkpoint]

    def furthest(
        self,
        spec: TrialSpec,
        h: Hyperparameters,
        plan: StagePlan,
        *,
        among: Collection[str] | None = None,
    ) -> Checkpoint | None:
        """The checkpoint with the most steps that a trial can resume from exactly.

        It has the key of its stage, is not beyond the last step of the trial, and all its files
        are as they were written (each is read). Of several after the same step: one within a
        stage, then the oldest, then the first by path.

        Args:
            spec, h, plan: as for ``stage_keys``.
            among: ids of the trials whose checkpoints may be used; None: of all.
        """
        keys, last = stage_keys(spec, h, plan), plan.last_step(spec.fidelity.fraction)
        found = [
            checkpoint
            for checkpoint in self.entries()
            if keys.get((manifest := checkpoint.manifest).stage) == manifest.key
            and manifest.step <= last
            and (among is None or manifest.trial_id in among)
            and _continues(checkpoint, plan)
        ]
        return next((each for each in sorted(found, key=_preference) if not problems(each)), None)

    def prune(
        self, limit_bytes: int, needed: Collection[Path] = (), finals: Sequence[Path] = ()
    ) -> list[Path]:
        """Removes checkpoints until all that lies under ``*/checkpoint/`` is within a limit.

        In this order, each only while the limit is exceeded: entries without a readable manifest;
        ``trainer`` entries that a further entry of the same trial supersedes; other entries (both
        oldest first); ``finals``. A reader sees a checkpoint whole or not at all. Several
        processes may prune at once. What a killed one left half removed is removed in any case.

        Args:
            limit_bytes: of all checkpoints together, those being written included.
            needed: never removed: entries, final models, or a folder above such as a trial's.
            finals: ``<trial>/checkpoint/final`` folders that may go, the first one first.

        Returns:
            What was removed here. The total may still be above the limit when the rest is needed.

        Raises:
            ValueError: when one of ``finals`` is no final model of these trials.
        """
        for path in finals:
            place = path.resolve()
            if place.parts[-2:] != (CHECKPOINTS, FINAL) or place.parents[2] != self.root.resolve():
                raise ValueError(f"{path} is not {self.root}/<trial>/{CHECKPOINTS}/{FINAL}")
        for path in self._children_of_all():
            if path.name.endswith(REMOVED):
                remove_hidden(path)
        sizes = {path: dict(_file_sizes(path)) for path in self._kept()}
        by_place = {path.resolve(): path for path in sizes}
        order = self._removable([path for path in sizes if _is_entry(path)])
        order += [by_place[place] for path in finals if (place := path.resolve()) in by_place]
        kept = {path.resolve() for path in needed}
        removed = []
        for path in dict.fromkeys(order):
            taken = {file: size for files in sizes.values() for file, size in files.items()}
            if sum(taken.values()) <= limit_bytes:  # hard links to one file count once
                break
            if not _is_needed(path.resolve(), kept):
                if discard(path):
                    removed.append(path)
                del sizes[path]  # also when another process was faster
        return removed

    def _removable(self, entries: list[Path]) -> list[Path]:
        """Entries in the order in which they go."""
        read = {path: read_checkpoint(path) for path in entries}
        known = [checkpoint for checkpoint in read.values() if checkpoint]
        known.sort(key=lambda checkpoint: (checkpoint.manifest.created, str(checkpoint.path)))
        superseded = [checkpoint for checkpoint in known if _is_superseded(checkpoint, known)]
        unreadable = [path for path, checkpoint in read.items() if checkpoint is None]
        return list(dict.fromkeys(unreadable + [one.path for one in superseded + known]))

    def _children_of_all(self) -> Iterator[Path]:
        for trial in children(self.root):
            yield from children(trial / CHECKPOINTS)

    def _kept(self) -> Iterator[Path]:
        """All under ``*/checkpoint/`` but what another process is removing."""
        return (path for path in self._children_of_all() if not path.name.endswith(REMOVED))


def _is_entry(path: Path) -> bool:
    """By its name alone: what another process removes meanwhile must still be accounted for."""
    return bool(_ENTRY_NAME.fullmatch(path.name))


def _continues(checkpoint: Checkpoint, plan: StagePlan) -> bool:
    """True if the stage can resume, or the next one begin, exactly from that step."""
    stage, step = checkpoint.manifest.stage, checkpoint.manifest.step
    if checkpoint.manifest.kind == "weights":
        return step == plan.end(stage)
    return plan.start(stage) < step <= plan.end(stage) and plan.is_boundary(step)


def _preference(checkpoint: Checkpoint) -> tuple[int, bool, str, str]:
    manifest = checkpoint.manifest
    return -manifest.step, manifest.kind != "trainer", manifest.created, str(checkpoint.path)


def _is_superseded(checkpoint: Checkpoint, entries: list[Checkpoint]) -> bool:
    """True if its trial has a complete later entry, in the same stage or a later one."""
    manifest = checkpoint.manifest
    return manifest.kind == "trainer" and any(
        other.path.parent == checkpoint.path.parent
        and other.manifest.step > manifest.step
        and (
            other.manifest.key == manifest.key
            or STAGES.index(other.manifest.stage) > STAGES.index(manifest.stage)
        )
        and not problems(other, deep=False)
        for other in entries
    )


def _is_needed(path: Path, needed: Collection[Path]) -> bool:
    """True if a path, one above it, or something in it is needed; all resolved."""
    return any(path == one or path in one.parents or one in path.parents for one in needed)


def clear_leftovers(folder: Path) -> None:
    """Removes events and checkpoints from the folder of a trial that has no result."""
    (folder / EVENTS).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The furthest whole checkpoint in a trial's own folder; None without any."""
    entries = [read_checkpoint(path) for path in (folder / CHECKPOINTS).glob("step-*")]
    whole = [entry for entry in entries if entry and not problems(entry)]
    return max(whole, key=lambda entry: entry.manifest.step, default=None)


def _file_sizes(path: Path) -> Iterator[tuple[tuple[int, int], int]]:
    """Identity and bytes of a file or of all files below a folder, without those that vanish."""
    below = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    for file in below if path.is_dir() else [path]:
        with suppress(FileNotFoundError):
            status = os.lstat(file)
            yield (status.st_dev, status.st_ino), status.st_size
