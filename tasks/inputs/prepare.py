"""Inputs of a run: dataset and model, checked and probed before compute is spent on trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.config.paths import cache_folder
from tasks.config.progress import Progress, Report, quiet, silent
from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.inputs.catalog import resolve_dataset, resolve_model
from tasks.inputs.chats import check_chats
from tasks.inputs.featurize import meta_features, probe, probe_all, require_answers
from trials.data.dataset import Dataset, load_dataset
from trials.models.fingerprints import model_fingerprint
from trials.process.supervisor import Supervisor
from trials.scoring.own_completions import check_own_completions
from trials.spec.records import (
    LEAST_LENGTH,
    Compute,
    Limits,
    ProbeAnswer,
    ProbeRequest,
    Record,
    Schedule,
)


@dataclass(frozen=True, kw_only=True)
class CheckedInputs:
    """A dataset and a model, found and checked; the ids are short names for tables and the history.

    Attributes:
        model: what ``from_pretrained`` takes.
        model_fingerprint: content hash of the model folder; None for a hub id.
        warnings: of the check of the rewards, for people.
    """

    dataset_id: str
    dataset: Dataset
    model_id: str
    model: str
    schedule: Schedule
    model_fingerprint: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inputs(CheckedInputs):
    """Checked inputs that were also probed; lengths that were left open are those of the data.

    Meta-features that could not be measured in time are missing in ``meta``.
    """

    meta: dict[str, float]
    probe: ProbeAnswer


class ProbeSize(Record):
    """Size of a probe of a base model.

    Attributes:
        rows: validation rows that are scored.
        feature_rows, sampled_rows: training rows for the features, and those that 8 completions
            each are sampled for; None: as many as the history was described with.
        lora: trials train adapters; the base model is then held in the type that it has in them.
    """

    rows: int
    feature_rows: int | None = None
    sampled_rows: int | None = None
    lora: bool = False
    limits: Limits = Limits()


@step
def find_inputs(settings: TuneSettings) -> CheckedInputs:
    """Finds or builds the dataset and the model of a run, and checks every row.

    Raises:
        DatasetError, CatalogError, ModelError: one of them cannot be used.
    """
    inputs = check_inputs(
        settings.dataset, settings.model, settings.schedule, settings.allow_user_code
    )
    check_chats(inputs.dataset, inputs.model, cache_folder(), settings.schedule.max_length)
    return inputs


def check_inputs(
    dataset: str, model: str, schedule: Schedule, allow_user_code: bool = False
) -> CheckedInputs:
    """Finds or builds a dataset and a model, and checks every row but its chats."""
    cache = cache_folder()
    loaded = load_dataset(resolve_dataset(dataset, cache / "datasets").absolute())
    folder = resolve_local_model(model, cache / "models")
    return CheckedInputs(
        dataset_id=loaded.name,
        dataset=loaded,
        model_id=Path(model).name.removesuffix(".gguf") if Path(model).exists() else model,
        model=folder,
        schedule=schedule,
        model_fingerprint=model_fingerprint(folder, cache / "fingerprints"),
        warnings=tuple(check_own_completions(loaded, allow_user_code)),
    )


@step
def probe_inputs(
    inputs: CheckedInputs,
    settings: TuneSettings,
    size: ProbeSize,
    measurer: Supervisor,
    say: Report = silent,
) -> Inputs:
    """Probes the base model on the dataset (cached).

    Raises:
        AutoPipeError: it cannot be measured, or not in time.
    """
    request = probe_request(
        inputs.dataset.path,
        inputs.model,
        inputs.schedule,
        settings.compute,
        settings.allow_user_code,
    ).model_copy(update=size.model_dump(exclude={"limits"}))
    return with_probe(inputs, probe(request, _probe_folder(inputs), measurer, size.limits, say))


@step
def find_datasets(datasets: Sequence[str], model: str, schedule: Schedule) -> list[CheckedInputs]:
    """Finds or builds datasets and a model, and checks every row.

    Raises:
        DatasetError, CatalogError, ModelError: one of them cannot be used.
        RewardError: the rows' own completions do not earn the reward.
    """
    return [check_inputs(name, model, schedule) for name in datasets]


@step
def probe_datasets(
    inputs: Sequence[CheckedInputs],
    measurer: Supervisor,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    report: Progress = quiet,
) -> list[Inputs]:
    """Probes a base model on datasets (cached).

    Raises:
        AutoPipeError: it cannot be measured on one of them.
    """
    requests = [
        probe_request(each.dataset.path, each.model, each.schedule, compute) for each in inputs
    ]
    folders = [_probe_folder(each) for each in inputs]
    answers = require_answers(probe_all(requests, folders, measurer, report))
    return [with_probe(*pair) for pair in zip(inputs, answers, strict=True)]


def with_probe(inputs: CheckedInputs, answer: ProbeAnswer) -> Inputs:
    """A dataset and a model with the findings of their probe."""
    length = {
        "max_completion_tokens": answer.max_completion_tokens,
        "max_length": inputs.schedule.max_length or max(LEAST_LENGTH, answer.longest_row),
    }
    schedule = inputs.schedule.model_copy(update=length)
    meta = meta_features(inputs.dataset, answer)
    return Inputs(**vars(inputs) | {"schedule": schedule}, meta=meta, probe=answer)


def _probe_folder(inputs: CheckedInputs) -> Path:
    return cache_folder() / "probes" / inputs.dataset.fingerprint


def probe_request(
    dataset: Path,
    model: str,
    schedule: Schedule,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    allow_user_code: bool = False,
) -> ProbeRequest:
    """The request for all probes of a base model before any training, and for its base score."""
    return ProbeRequest(
        dataset=str(dataset),
        models={"base": model},
        tokenizer=model,
        split="validation",
        rows=schedule.eval_rows,
        schedule=schedule,
        compute=compute,
        features=True,
        allow_user_code=allow_user_code,
    )


def resolve_local_model(model: str, cache: Path) -> str:
    """The model as ``from_pretrained`` takes it; a .gguf file is converted once and kept."""
    if model.endswith(".gguf"):
        from tasks.inputs.gguf import convert_gguf

        return str(convert_gguf(Path(model), cache))
    resolved = resolve_model(model)
    return str(Path(resolved).resolve()) if Path(resolved).exists() else resolved
