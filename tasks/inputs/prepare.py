"""Everything that is looked up and checked before compute is spent on trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.paths import cache_folder
from tasks.config.progress import Progress, quiet
from tasks.config.settings import TuneSettings
from tasks.inputs.catalog import resolve_dataset, resolve_model
from tasks.inputs.chats import check_chats
from tasks.inputs.featurize import Say, answered, meta_features, probe_all, unsaid
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
class Found:
    """A dataset and a model, found and checked.

    Attributes:
        dataset_id, model_id: short names for tables and the history.
        model: what ``from_pretrained`` takes.
        schedule: of full-length trials.
        model_fingerprint: content hash of the model folder; None for a hub id.
        warnings: what the check of the rewards has to say to people.
    """

    dataset_id: str
    dataset: Dataset
    model_id: str
    model: str
    schedule: Schedule
    model_fingerprint: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inputs(Found):
    """A dataset and a model, also described; lengths that were left open are those of the data.

    Attributes:
        meta: meta-features of both; what could not be measured in time is missing.
        probe: what the probe of the base model found.
    """

    meta: dict[str, float]
    probe: ProbeAnswer


class ProbeSize(Record):
    """How many rows a probe of a base model looks at, and how long it may take.

    Attributes:
        rows: validation rows that are scored.
        feature_rows, sampled_rows: training rows that are looked at, and that 8 completions each
            are sampled for; None: as many as the history was described with.
        lora: trials train adapters, and the base model is held as it is under theirs.
        limits: of the probe.
    """

    rows: int
    feature_rows: int | None = None
    sampled_rows: int | None = None
    lora: bool = False
    limits: Limits = Limits()


@task(cache_policy=NO_CACHE)
def find_inputs(settings: TuneSettings) -> Found:
    """Finds or builds the dataset and the model of a run, and checks every row.

    Raises:
        DatasetError, CatalogError, ModelError: for what cannot be used.
    """
    inputs = found(settings.dataset, settings.model, settings.schedule, settings.allow_user_code)
    check_chats(inputs.dataset, inputs.model, cache_folder(), settings.schedule.max_length)
    return inputs


def found(dataset: str, model: str, schedule: Schedule, allow_user_code: bool = False) -> Found:
    """As `find_inputs`, of one dataset and model."""
    cache = cache_folder()
    loaded = load_dataset(resolve_dataset(dataset, cache / "datasets").absolute())
    folder = local_model(model, cache / "models")
    return Found(
        dataset_id=loaded.name,
        dataset=loaded,
        model_id=Path(model).name.removesuffix(".gguf") if Path(model).exists() else model,
        model=folder,
        schedule=schedule,
        model_fingerprint=model_fingerprint(folder, cache / "fingerprints"),
        warnings=tuple(check_own_completions(loaded, allow_user_code)),
    )


@task(cache_policy=NO_CACHE)
def probe_inputs(
    inputs: Found, settings: TuneSettings, size: ProbeSize, measurer: Supervisor, say: Say = unsaid
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
    folder = cache_folder() / "probes" / inputs.dataset.fingerprint
    [answer] = answered(probe_all([request], [folder], measurer, limits=size.limits, say=say))
    return described(inputs, answer)


@task(cache_policy=NO_CACHE)
def prepare_datasets(
    datasets: Sequence[str],
    model: str,
    schedule: Schedule,
    measurer: Supervisor,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    report: Progress = quiet,
) -> list[Inputs]:
    """Finds or builds datasets, checks every row, and probes the base model on them (cached).

    Args:
        datasets, model, schedule, compute: as the settings have them.
        measurer: has a worker answer the probes.
        report: told of each probe.

    Raises:
        DatasetError, CatalogError, ModelError: for what cannot be used.
        RewardError: where the rows' own completions do not earn the reward.
    """
    all_found = [found(name, model, schedule) for name in datasets]
    requests = [
        probe_request(each.dataset.path, each.model, schedule, compute) for each in all_found
    ]
    folders = [cache_folder() / "probes" / each.dataset.fingerprint for each in all_found]
    answers = answered(probe_all(requests, folders, measurer, report))
    return [described(*pair) for pair in zip(all_found, answers, strict=True)]


def described(inputs: Found, answer: ProbeAnswer) -> Inputs:
    """A dataset and a model with what a probe found out about them."""
    length = {
        "max_completion_tokens": answer.max_completion_tokens,
        "max_length": inputs.schedule.max_length or max(LEAST_LENGTH, answer.longest_row),
    }
    return Inputs(
        dataset_id=inputs.dataset_id,
        dataset=inputs.dataset,
        model_id=inputs.model_id,
        model=inputs.model,
        meta=meta_features(inputs.dataset, answer),
        probe=answer,
        schedule=inputs.schedule.model_copy(update=length),
        model_fingerprint=inputs.model_fingerprint,
        warnings=inputs.warnings,
    )


def probe_request(
    dataset: Path,
    model: str,
    schedule: Schedule,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    allow_user_code: bool = False,
) -> ProbeRequest:
    """What is asked about a base model before any training: all probes, and its base score."""
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


def local_model(model: str, cache: Path) -> str:
    """The model as ``from_pretrained`` takes it; a .gguf file is converted once and kept."""
    if model.endswith(".gguf"):
        from tasks.inputs.gguf import convert

        return str(convert(Path(model), cache))
    resolved = resolve_model(model)
    return str(Path(resolved).resolve()) if Path(resolved).exists() else resolved
