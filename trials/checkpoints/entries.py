"""Checkpoint entries of a trial: what they hold, how they are written, when they can be trusted.

::

    trials/<trial-id>/checkpoint/
        step-000120/          an entry: the trial after optimizer step 120, over all stages
            manifest.json     what the entry is, and size and SHA-256 of its files
            events.jsonl      the events of the trial up to and including that step
            trainer/          in a stage: weights, optimizer, schedule, random state ...
            weights/          ... or, at the end of a stage that is not the last: model or adapter
        final/                the model at the end of the trial: no entry, no manifest
        .step-000150.partial  hidden: being written, or left by a writer that was killed

An entry is written under a hidden name, flushed to the disk, given its manifest last, and renamed
when it is whole. So a folder ``step-<n>`` was complete when it came to be, and ``problems`` finds
what was lost or changed since, in other files of the entry too. Entries are found by their stage
key: equal keys mean equal state after the same step, whichever trial wrote the entry.
"""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from trials.io.atomic import PARTIAL, flush, sync
from trials.io.hashing import content_hash, file_hash
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import STAGES, Stage
from trials.spec.plan import StagePlan
from trials.spec.records import Record, TrialSpec, read_record, write_json
from trials.spec.schedules import warmup_share

Kind = Literal["trainer", "weights"]

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoint"  # the folder of all checkpoints in the folder of a trial
FINAL = "final"
REMOVED = ".removed"  # end of the hidden name of what is being removed, as PARTIAL of a draft

# Say how long a stage is; what they come to for a dataset and a schedule is the plan's steps.
_LENGTH_FIELDS = {f"{stage}_{unit}" for stage in STAGES for unit in ("share", "steps", "epochs")}


class FileRecord(Record):
    """Expected size and hash of a file."""

    size: int = Field(ge=0, description="Bytes.")
    sha256: str


class Manifest(Record):
    """The description of an entry; written last, so that an entry that has one is whole."""

    key: str = Field(description="Stage key; see ``stage_keys``.")
    stage: Stage
    step: int = Field(ge=1, description="Optimizer steps done, over all stages.")
    kind: Kind
    trial_id: str = Field(description="The trial that wrote it.")
    processes: int = Field(ge=1, description="World size; only the same one continues exactly.")
    created: str = Field(description="UTC, ISO 8601.")
    files: dict[str, FileRecord] = Field(
        description="Of every file but the manifest, by its POSIX path relative to the entry."
    )


@dataclass(frozen=True)
class Checkpoint:
    """An entry whose manifest could be read; ``problems`` says whether its files are right."""

    path: Path
    manifest: Manifest

    @property
    def payload(self) -> Path:
        """The folder ``trainer/`` or ``weights/``."""
        return self.path / self.manifest.kind

    @property
    def events(self) -> Path:
        return self.path / EVENTS


def entry_path(trial_folder: Path, step: int) -> Path:
    """The folder of the entry of a step."""
    return trial_folder / CHECKPOINTS / f"step-{step:06d}"


def partial_path(target: Path) -> Path:
    """The draft folder of an entry or a final model; the same in all processes of a trial."""
    return target.with_name(f".{target.name}{PARTIAL}")


def stage_keys(spec: TrialSpec, h: Hyperparameters, plan: StagePlan) -> dict[Stage, str]:
    """For each stage that is run, a hash of all that decides the state inside it.

    Later stages cannot reach back, so trials that differ only in their RL settings have the same
    keys of SFT and DPO, and share those stages. Neither the fraction nor the limits are part of a
    key: a longer run of the same trial has the same keys.

    Args:
        spec: as it was launched: with its own schedule, not one filled in from the data.
        h: the validated ``spec.config``, in which a default that was given and one that was left
            out are the same.
        plan: of the full run.

    Returns:
        16 hexadecimal digits a stage.
    """
    common: dict[str, Any] = {
        "dataset": spec.dataset_fingerprint,
        # Content or name and not the place, as in the identity of a trial.
        "model": spec.model_fingerprint or Path(spec.fidelity.model).name,
        "seed": spec.seed,
        "schedule": spec.schedule.model_dump(mode="json"),
        "stopping": spec.stopping.deciding,
        "precision": spec.compute.precision,
        "total": plan.total,  # evaluation points are fractions of it
    }
    keys: dict[Stage, str] = {}
    for stage, content in deciding(h, plan).items():
        whole = common | content | ({"vllm": spec.compute.vllm} if stage == "rl" else {})
        keys[stage] = content_hash(json.dumps(whole, sort_keys=True))
    return keys


def deciding(h: Hyperparameters, plan: StagePlan) -> dict[Stage, dict[str, Any]]:
    """For each stage that is run, what of a configuration decides the state inside it; as JSON."""
    # Without what is not set: a hyperparameter that is added later leaves the keys as they are.
    config = h.model_dump(mode="json", exclude_none=True)
    found: dict[Stage, dict[str, Any]] = {}
    for stage in plan.stages:
        done = plan.stages[: plan.stages.index(stage) + 1]
        found[stage] = {
            "steps": {other: plan.steps(other) for other in done},
            "warmup": {other: warmup_share(h, other) for other in done},
            "config": {
                name: value
                for name, value in config.items()
                if name not in _LENGTH_FIELDS and matters(name, done)
            },
        }
        if stage == "rl":
            # Two more settings have defaults that depend on others, and on being left out.
            resolved = {"clip_range": h.clip_range, "sampling_level": h.sampling_level}
            found[stage] |= {"boundary": plan.rl_boundary, **resolved}
    return found


def matters(name: str, stages: tuple[Stage, ...]) -> bool:
    """True if a hyperparameter can change the state after some stages; no prefix: of all stages.

    The lengths of all stages do: they decide what share of the run each of them is.
    """
    prefix = name.partition("_")[0]
    return prefix not in STAGES or prefix in stages or name in _LENGTH_FIELDS


def publish(partial: Path, trial_folder: Path, described: Manifest) -> Checkpoint:
    """Makes a finished folder the entry of a step, whole or not at all, whenever it is killed.

    An entry that is already there is kept when it is the same one and without problems, and
    ``partial`` is removed; anything else in its place is replaced.

    Args:
        partial: ``partial_path`` of the entry, on the same file system; holds ``events.jsonl`` and
            the folder ``trainer/`` or ``weights/``.
        trial_folder: the trial's.
        described: its manifest, still without files.

    Raises:
        ValueError: when ``partial`` lacks a part or holds a link.
        OSError: such as a full disk; then ``partial`` remains for ``clear_partials``.
    """
    target = entry_path(trial_folder, described.step)
    manifest = described.model_copy(update={"files": _records(partial)})
    if missing := _missing_parts(manifest):
        raise ValueError(f"{partial} is not a checkpoint: {'; '.join(missing)}")
    write_json(partial / MANIFEST, manifest)
    while not _renamed(partial, target):
        existing = read_checkpoint(target)
        if existing and _same(existing.manifest, manifest) and not problems(existing):
            shutil.rmtree(partial)
            return existing
        discard(target)
    sync(target.parent)
    return Checkpoint(target, manifest)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The entry in a folder; None when there is no readable manifest."""
    with suppress(OSError, ValueError):
        return Checkpoint(path, read_record(path / MANIFEST, Manifest))
    return None


def problems(checkpoint: Checkpoint, deep: bool = True) -> list[str]:
    """Problems with the files of an entry; empty if a trial can resume from it.

    Every file is read and hashed; where not ``deep``, only presence and sizes are checked.
    """
    found = _missing_parts(checkpoint.manifest)
    for name, record in sorted(checkpoint.manifest.files.items()):
        try:
            problem = _file_problem(checkpoint.path, name, record, deep)
        except (FileNotFoundError, NotADirectoryError):
            problem = "is missing"
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: no possible file name
            problem = f"cannot be read: {error}"  # RuntimeError: links in a circle
        if problem:
            found.append(f"{name!r} {problem}")
    return found


def clear_partials(trial_folder: Path) -> None:
    """Removes the hidden folders that a killed writer left; only for a trial that nobody writes."""
    for path in children(trial_folder / CHECKPOINTS):
        if path.name.startswith("."):
            remove_hidden(path)


def discard(path: Path) -> bool:
    """Removes a checkpoint at once for readers, by renaming it first.

    Returns:
        False when it was not there: another process removes checkpoints too.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}{REMOVED}")
    try:
        path.rename(hidden)
    except FileNotFoundError:
        return False
    remove_hidden(hidden)
    return True


def children(folder: Path) -> list[Path]:
    """The entries of a folder, sorted by name; empty if there is no such folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def remove_hidden(path: Path) -> None:
    """Removes a hidden file or folder; one that is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # another process may remove it at the same time
    else:
        path.unlink(missing_ok=True)


def _records(folder: Path) -> dict[str, FileRecord]:
    """Records of all files below a folder, each of which is on the disk when this returns."""
    records = {}
    flush(folder)
    for path in sorted(folder.rglob("*")):  # links are not followed
        if path.is_symlink():
            raise ValueError(f"{path} is a link: a checkpoint must hold all that it is made of")
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            records[name] = FileRecord(size=path.stat().st_size, sha256=file_hash(path))
    records.pop(MANIFEST, None)  # of a writer that was killed before it renamed the folder
    return records


def _renamed(source: Path, target: Path) -> bool:
    """Renames a folder; False where something is in the way."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _same(one: Manifest, other: Manifest) -> bool:
    """True if two manifests describe the same state; the bytes of two runs may differ."""
    described = {"created", "files"}
    return one.model_dump(exclude=described) == other.model_dump(exclude=described)


def _missing_parts(manifest: Manifest) -> list[str]:
    """The parts that every entry has and this one lists no file of."""
    found = [] if EVENTS in manifest.files else [f"it holds no {EVENTS}"]
    if not any(name.startswith(f"{manifest.kind}/") for name in manifest.files):
        found.append(f"it holds nothing in {manifest.kind}/")
    return found


def _file_problem(entry: Path, name: str, record: FileRecord, deep: bool) -> str | None:
    """The problem with one listed file; raises OSError or ValueError if it cannot be read."""
    listed = PurePosixPath(name)
    if listed.is_absolute() or ".." in listed.parts:
        return "lies outside the checkpoint"
    path = (entry / listed).resolve(strict=True)
    if not path.is_relative_to(entry.resolve()):  # through a link
        return "lies outside the checkpoint"
    if not path.is_file():
        return "is not a file"
    if (size := path.stat().st_size) != record.size:
        return f"has {size} bytes, not {record.size}"
    if deep and file_hash(path) != record.sha256:
        return "has other content than was written (SHA-256 differs)"
    return None
