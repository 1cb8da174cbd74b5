"""The catalog: datasets generated on demand and the models kept in the repository, by name.

A built dataset is a folder of `train.jsonl`, `validation.jsonl`, `test.jsonl` and `dataset.yaml`;
prompts are distinct within and across the splits. Most scorers of reasoning_gym give
len(answer) / len(text) to a text that contains the answer; entries whose scorer pays more than that
for a wrong answer name `exact_match` or `numeric` instead.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from tasks.config.paths import DATA
from tasks.config.progress import Progress, quiet
from tasks.config.replace import replace_folder
from trials.data.data_files import SUFFIXES
from trials.io.atomic import draft_of, put_first
from trials.io.errors import AutoPipeError
from trials.io.hashing import content_hash
from trials.io.imports import child_environment
from trials.io.plain_yaml import read_yaml
from trials.spec.records import Record

CATALOG = DATA / "catalog.yaml"
MAX_SUGGESTIONS = 3  # names that are offered for an unknown one
READABLE_SUFFIXES = {"dataset": SUFFIXES, "model": (".gguf",)}
SPLITS = ("train", "validation", "test")


class CatalogError(AutoPipeError, ValueError):
    """A catalog name, entry or file that cannot be used; the message says what to do about it."""


class SplitSizes(Record):
    """Rows in each split."""

    train: PositiveInt
    validation: PositiveInt
    test: PositiveInt


class DatasetEntry(Record):
    """One generated dataset."""

    generator: Literal["reasoning_gym"]
    dataset: str
    """Name of the dataset inside the generator."""
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(ge=0)
    sizes: SplitSizes
    reward: Literal["reasoning_gym", "exact_match", "numeric", "choice"]
    answer_form: str
    description: str
    example: bool = False

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with anything that changes the rows."""
        entry = self.model_dump(mode="json", exclude={"description", "answer_form", "example"})
        entry["version"] = importlib.metadata.version(self.generator)
        return content_hash(json.dumps(entry, sort_keys=True), digits=12)


class ModelEntry(Record):
    """One model folder of the repository."""

    path: str
    """Relative to the root of the repository."""
    parameters: PositiveInt
    proxies: list[str] = Field(default_factory=list)
    """Smaller models that stand in for this one, nearest first."""


class Catalog(Record):
    """The whole file."""

    datasets: dict[str, DatasetEntry]
    models: dict[str, ModelEntry]

    @model_validator(mode="after")
    def _check_references(self) -> Catalog:
        for name, model in self.models.items():
            unknown = [proxy for proxy in model.proxies if proxy not in self.models]
            if unknown:
                raise ValueError(f"models.{name}.proxies: {unknown} are not models of the catalog")
        if sum(entry.example for entry in self.datasets.values()) != 1:
            raise ValueError("datasets: exactly one entry must have `example: true`")
        return self

    def example(self) -> str:
        """Name of the dataset that the bundled example uses."""
        return next(name for name, entry in self.datasets.items() if entry.example)


def load_catalog(path: Path = CATALOG) -> Catalog:
    """Reads a catalog; a CatalogError when it is missing, not YAML, or has wrong keys."""
    try:
        return Catalog.model_validate(read_yaml(path))
    except FileNotFoundError:
        raise CatalogError(f"No catalog at {path}. Restore it with: git checkout {path}") from None
    except ValueError as error:
        raise CatalogError(f"{path} is not a valid catalog: {error}") from error


def build_dataset(
    name: str, folder: str | Path, catalog: Catalog | None = None, sizes: SplitSizes | None = None
) -> Path:
    """Generate a dataset, or reuse the finished one: `<folder>/<name>-<fingerprint>`, complete.

    Raises:
        CatalogError: unknown name, or the generator has too few distinct prompts.
    """
    catalog = catalog or load_catalog()
    if name not in catalog.datasets:
        raise CatalogError(unknown_name_message("dataset", name, catalog.datasets))
    entry = catalog.datasets[name]
    if sizes is not None:
        entry = entry.model_copy(update={"sizes": sizes})
    target = Path(folder) / f"{name}-{entry.fingerprint()}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as draft:
        _generate({name: entry}, Path(draft))
        put_first(Path(draft, name), target)
    return target


def build_catalog(
    folder: str | Path, catalog: Catalog | None = None, report: Progress = quiet
) -> list[Path]:
    """Generate every dataset of the catalog anew, the same bytes for the same catalog.

    When all are there, they replace the folder: one folder per dataset, with its name.

    Raises:
        CatalogError: a generator has too few distinct prompts.
    """
    entries = (catalog or load_catalog()).datasets
    folder = Path(folder)
    draft = draft_of(folder)
    draft.mkdir()
    try:
        _generate(entries, draft, report)
        # An earlier catalog may have had other datasets.
        replace_folder(draft, folder, own=lambda path: (path / "train.jsonl").is_file())
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in entries]


def _generate(entries: Mapping[str, DatasetEntry], folder: Path, report: Progress = quiet) -> None:
    """Writes `<folder>/<name>` for each entry, in a process of its own.

    Some generators draw from sets of strings, whose order differs from process to process unless
    PYTHONHASHSEED is set before Python starts.
    """
    content = {name: entry.model_dump(mode="json") for name, entry in entries.items()}
    report(0, len(entries))
    with tempfile.TemporaryFile("w+") as log:
        program = [sys.executable, "-m", "tasks.inputs.generate"]
        process = subprocess.Popen(
            [*program, str(folder.resolve()), json.dumps(content)],
            env=child_environment({"PYTHONHASHSEED": "0"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with process:
            for done, _ in enumerate(process.stdout or (), start=1):
                report(done, len(entries))
        if process.returncode:
            log.seek(0)
            raise CatalogError(log.read().strip() or f"exit code {process.returncode}")


def resolve_model(name_or_path: str) -> str:
    """Turn what a user typed into what `from_pretrained` takes.

    A name of the catalog becomes its absolute folder, an existing path stays itself, and anything
    that can be a hub id (`name` or `owner/name`) is passed through.

    Raises:
        CatalogError: it looks like a path that does not exist, or like a misspelt catalog name.
    """
    models = load_catalog().models
    if name_or_path in models:
        folder = DATA.parent / models[name_or_path].path
        if not (folder / "config.json").is_file():
            raise CatalogError(f"{name_or_path} is not at {folder}. Make it with: dvc repro")
        return str(folder)
    if Path(name_or_path).exists():
        return name_or_path
    is_path = name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1
    is_misspelt = difflib.get_close_matches(name_or_path, models, cutoff=0.7)
    if is_path or (is_misspelt and "/" not in name_or_path):
        raise CatalogError(unknown_name_message("model", name_or_path, models))
    return name_or_path


def resolve_dataset(name_or_path: str, cache: str | Path) -> Path:
    """Turn a catalog name (built under `cache` when needed) or an existing path into a path.

    Raises:
        CatalogError: neither a name of the catalog nor an existing path.
    """
    catalog = load_catalog()
    if name_or_path in catalog.datasets:
        return build_dataset(name_or_path, cache, catalog)
    if Path(name_or_path).exists():
        return Path(name_or_path)
    raise CatalogError(unknown_name_message("dataset", name_or_path, catalog.datasets))


def unknown_name_message(
    kind: Literal["dataset", "model"],
    name: str,
    known: Collection[str],
    hub_id: str = "--model also takes a hub id",
) -> str:
    """The message on a name that is neither in the catalog nor on disk, with those close to it."""
    path = Path(name).absolute()
    lost = next((f" (nor the folder {each})" for each in path.parents if not each.is_dir()), "")
    close = [
        *_close_files(kind, name, known),
        *difflib.get_close_matches(name, known, n=MAX_SUGGESTIONS),
    ]
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif kind == "dataset":
        hint = "`autopipe datasets` lists the catalog."
    else:
        hint = f"The catalog has {', '.join(known)}; {hub_id}."
    return (
        f"There is no file or folder {path}{lost}, nor a {kind} of that name in the catalog. {hint}"
    )


def _close_files(kind: str, name: str, known: Collection[str]) -> list[str]:
    """Files and folders beside a path that is not there, whose names are like its own."""
    path = Path(name)
    try:
        beside = [
            entry.name
            for entry in path.parent.iterdir()
            if not entry.name.startswith(".")
            and (
                entry.is_dir()
                or entry.name.lower().removesuffix(".gz").endswith(READABLE_SUFFIXES[kind])
            )
        ]
    except OSError:  # no such folder, or a closed one
        return []
    stem = path.name.split(".")[0].lower()
    same = [each for each in sorted(beside) if each.split(".")[0].lower() == stem]
    lower = {each.lower(): each for each in beside if each not in same}
    like = difflib.get_close_matches(path.name.lower(), lower, n=MAX_SUGGESTIONS)
    found = [str(path.parent / each) for each in (*same, *(lower[each] for each in like))]
    return [f"./{each}" if each in known else each for each in found[:MAX_SUGGESTIONS]]
