"""Everything that is looked up and checked before compute is spent on trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.catalog import resolve_dataset, resolve_model
from tasks.chats import check_chats
from tasks.featurize import answered, meta_features, probe_all
from trials.fingerprints import model_fingerprint
from tasks.paths import cache_folder
from tasks.progress import Progress, quiet
from trials.dataset import Dataset, load_dataset
from trials.launch import Launcher
from trials.own_completions import check_own_completions
from trials.records import Compute, ProbeAnswer, ProbeRequest, Schedule


@dataclass(frozen=True)
class Inputs:
    """A dataset and a model, found, checked and described.

    Attributes:
        dataset_id, model_id: short names for tables and the history.
        model: what ``from_pretrained`` takes.
        meta: meta-features of both.
        model_fingerprint: content hash of the model folder; None for a hub id.
        warnings: what the check of the rewards has to say to people.
        schedule: of full-length trials, with the completion length taken from the data.
    """

    dataset_id: str
    dataset: Dataset
    model_id: str
    model: str
    meta: dict[str, float]
    probe: ProbeAnswer
    schedule: Schedule
    model_fingerprint: str | None = None
    warnings: tuple[str, ...] = ()


@task(cache_policy=NO_CACHE)
def prepare_inputs(
    dataset: str,
    model: str,
    schedule: Schedule,
    launcher: Launcher,
    allow_user_code: bool = False,
    compute: Compute = Compute(),  # noqa: B008  # frozen
) -> Inputs:
    """Finds or builds the dataset, checks every row, and probes the base model (cached).

    Raises:
        DatasetError, CatalogError, ModelError: for what cannot be used.
    """
    found = resolve_dataset(dataset, cache_folder() / "datasets").absolute()
    check_chats(load_dataset(found), local_model(model, cache_folder() / "models"), cache_folder())
    return prepare([dataset], model, schedule, launcher, allow_user_code, compute)[0]


@task(cache_policy=NO_CACHE)
def prepare_datasets(
    datasets: Sequence[str],
    model: str,
    schedule: Schedule,
    launcher: Launcher,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    report: Progress = quiet,
) -> list[Inputs]:
    """As `prepare_inputs` for many datasets, with one launch; ``report`` is told of each probe."""
    return prepare(datasets, model, schedule, launcher, compute=compute, report=report)


def prepare(
    datasets: Sequence[str],
    model: str,
    schedule: Schedule,
    launcher: Launcher,
    allow_user_code: bool = False,
    compute: Compute = Compute(),  # noqa: B008  # frozen
    report: Progress = quiet,
) -> list[Inputs]:
    """Finds or builds datasets, checks every row, and probes the base model on them (cached).

    Raises:
        DatasetError, CatalogError, ModelError: for what cannot be used.
        RewardError: where the rows' own completions do not earn the reward.
    """
    cache = cache_folder()
    loaded = [
        load_dataset(resolve_dataset(name, cache / "datasets").absolute()) for name in datasets
    ]
    # Before anything is spent; what they warn of is told when the run begins.
    warnings = [check_own_completions(each, allow_user_code) for each in loaded]
    folder = local_model(model, cache / "models")
    requests = [
        probe_request(each.path, folder, schedule, compute, allow_user_code) for each in loaded
    ]
    folders = [cache / "probes" / each.fingerprint for each in loaded]
    answers = answered(probe_all(requests, folders, launcher, report))
    model_id = Path(model).name.removesuffix(".gguf") if Path(model).exists() else model
    fingerprint = model_fingerprint(folder, cache / "fingerprints")
    return [
        Inputs(
            dataset_id=each.name,
            dataset=each,
            model_id=model_id,
            model=folder,
            meta=meta_features(each, answer),
            probe=answer,
            schedule=schedule.model_copy(
                update={"max_completion_tokens": answer.max_completion_tokens}
            ),
            model_fingerprint=fingerprint,
            warnings=tuple(said),
        )
        for each, answer, said in zip(loaded, answers, warnings, strict=True)
    ]


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
        from tasks.gguf import convert

        return str(convert(Path(model), cache))
    resolved = resolve_model(model)
    return str(Path(resolved).resolve()) if Path(resolved).exists() else resolved
