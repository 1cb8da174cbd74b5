"""Everything that is looked up and checked before compute is spent on trials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.catalog import resolve_dataset, resolve_model
from tasks.featurize import meta_features, probe
from tasks.fingerprint import model_fingerprint
from tasks.paths import cache_folder
from trials.dataset import Dataset, load_dataset
from trials.launch import Launcher
from trials.records import Compute, ProbeAnswer, ProbeRequest, Schedule


@dataclass(frozen=True)
class Inputs:
    """A dataset and a model, found, checked and described.

    Attributes:
        dataset_id, model_id: short names for tables and the history.
        model: what ``from_pretrained`` takes.
        meta: meta-features of both.
        model_fingerprint: content hash of the model folder; None for a hub id.
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
    cache = cache_folder()
    path = resolve_dataset(dataset, cache / "datasets").resolve()
    loaded = load_dataset(path)
    folder = local_model(model, cache / "models")
    answer = probe(
        ProbeRequest(
            dataset=str(path),
            models={"base": folder},
            tokenizer=folder,
            split="validation",
            rows=schedule.eval_rows,
            schedule=schedule,
            compute=compute,
            features=True,
            allow_user_code=allow_user_code,
        ),
        cache / "probes" / loaded.fingerprint,
        launcher,
    )
    return Inputs(
        dataset_id=loaded.name,
        dataset=loaded,
        model_id=Path(model).name.removesuffix(".gguf") if Path(model).exists() else model,
        model=folder,
        meta=meta_features(loaded, answer),
        probe=answer,
        schedule=schedule.model_copy(
            update={"max_completion_tokens": answer.max_completion_tokens}
        ),
        model_fingerprint=model_fingerprint(folder, cache / "fingerprints"),
    )


def local_model(model: str, cache: Path) -> str:
    """The model as ``from_pretrained`` takes it; a .gguf file is converted once and kept."""
    if model.endswith(".gguf"):
        from tasks.gguf import convert

        return str(convert(Path(model), cache))
    resolved = resolve_model(model)
    return str(Path(resolved).resolve()) if Path(resolved).exists() else resolved
