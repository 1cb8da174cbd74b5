"""What can be wrong with an installation, looked at one by one, and what mends each finding."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from packaging.requirements import Requirement

from tasks.config.paths import BUNDLED_HISTORY, ROOT, runs_folder, workspace
from tasks.execution.devices import visible_gpus
from trials.io.errors import AutoPipeError, ModelError
from trials.io.imports import child_environment
from trials.models.memory import available_ram_bytes

Status = Literal["good", "note", "bad"]
FREE_GIGABYTES = 5.0
MEMORY_GIGABYTES = 4.0
TIMEOUT_SECONDS = 5.0
DRY_RUN = (
    "--model", "tiny-100k", "--steps", "10", "--budget", "2", "--parallel", "1",
    "--eval-rows", "16", "--test-rows", "16", "--no-use-history",
)  # fmt: skip


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    Attributes:
        name: of the check.
        status: bad stops runs; a note is worth knowing.
        message: the finding in words.
        fix: command or step that fixes it; empty if nothing is wrong.
    """

    name: str
    status: Status
    message: str
    fix: str = ""


Check = Callable[[], Iterator[CheckResult]]


def checks(dataset: str, model: str, with_dry_run: bool = True) -> dict[str, Check]:
    """All looks by what is looked at, in their order.

    Args:
        dataset: to load.
        model: to load, but for its weights.
        with_dry_run: also two trials, the whole way.
    """
    found: dict[str, Check] = {
        "Python": python,
        "devices": devices,
        "workspace": disk,
        "history": history,
        "server": server,
        f"dataset {dataset}": lambda: dataset_loads(dataset),
        f"model {model}": lambda: model_loads(model),
    }
    return found | ({"dry run": dry_run} if with_dry_run else {})


def run_check(what: str, check: Check) -> list[CheckResult]:
    """What a check found; one that breaks is a finding itself, and no end of the others."""
    found = []
    try:
        for finding in check():
            found.append(finding)
    except Exception as error:
        reason = f"could not be looked at: {type(error).__name__}: {error}"
        found.append(CheckResult(what, "bad", reason, "fix that, then: autopipe doctor"))
    return found


def python() -> Iterator[CheckResult]:
    """The interpreter and the packages, against what pyproject.toml asks for."""
    yield CheckResult("Python", "good", platform.python_version())
    wrong = [bad for text in requirements() if (bad := problem_of(Requirement(text)))]
    if wrong:
        fix = "make install, or: pip install --constraint constraints.txt --editable ."
        yield CheckResult("packages", "bad", "; ".join(wrong), fix)
    else:
        yield CheckResult("packages", "good", f"{len(requirements())} as pyproject.toml asks for")


def requirements() -> list[str]:
    """Those of AutoPipe itself, without its extras."""
    project = ROOT / "pyproject.toml"
    if not project.is_file():  # installed; the markers of extras leave theirs out
        return importlib.metadata.requires("autopipe") or []
    return list(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])


def problem_of(requirement: Requirement) -> str:
    """What is wrong with a package; empty if nothing, or if it is not for this machine."""
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if version not in requirement.specifier:
        return f"{requirement.name} {version} is not {requirement.specifier}"
    return ""


def devices() -> Iterator[CheckResult]:
    """Cores, memory, GPUs, and whether torch sees these."""
    memory = available_ram_bytes() / 1e9
    found = f"{os.cpu_count()} cores, {memory:.1f} GB of memory free"
    if memory < MEMORY_GIGABYTES:
        fix = "end other programs, or tune with --parallel 1"
        yield CheckResult("machine", "note", found, fix)
    else:
        yield CheckResult("machine", "good", found)
    import torch

    gpus = visible_gpus()
    if not gpus:
        yield CheckResult("GPUs", "note", "none visible: trials run on the CPU", "")
    elif not torch.cuda.is_available():
        fix = "TORCH_INDEX= deployments/install.sh .venv installs a torch build with CUDA"
        found = f"{len(gpus)} there, but torch {torch.__version__} cannot use them"
        yield CheckResult("GPUs", "bad", found, fix)
    else:
        names = []
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            names.append(f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
        yield CheckResult("GPUs", "good", "; ".join(names))


def disk() -> Iterator[CheckResult]:
    """The workspace: whether it can be written to, and how much room there is."""
    folder = workspace()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "choose another folder: export AUTOPIPE_HOME=/a/folder/of/yours"
        yield CheckResult("workspace", "bad", f"{folder} cannot be written to: {error}", fix)
        return
    free = shutil.disk_usage(folder).free / 1e9
    if free < FREE_GIGABYTES:
        fix = f"remove runs that are not needed from {runs_folder()}, or tune with --disk"
        yield CheckResult("workspace", "note", f"{folder}: {free:.1f} GB free", fix)
    else:
        yield CheckResult("workspace", "good", f"{folder}: {free:.0f} GB free")


def history() -> Iterator[CheckResult]:
    """Whether the history can be read, and how much it knows."""
    from tasks.history.location import resolve_history_dir
    from tasks.history.rows import history_files, read_history

    folder = resolve_history_dir()
    files = history_files(folder)
    if not files:
        restore = f"cp {BUNDLED_HISTORY}/*.parquet {folder}"
        if folder == BUNDLED_HISTORY:
            restore = f"git checkout -- {folder.relative_to(ROOT)}"
        fix = f"{restore}, or collect one: autopipe collect"
        yield CheckResult("history", "note", f"no parquet file in {folder}", fix)
        return
    try:
        rows = read_history(files)
    except AutoPipeError as error:
        yield CheckResult("history", "bad", _first_line(error), "autopipe history check")
        return
    found = f"{len(rows)} trials on {rows['dataset_id'].nunique()} datasets"
    yield CheckResult("history", "good", found)


def server() -> Iterator[CheckResult]:
    """The Prefect server of PREFECT_API_URL, its pools and their workers."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkPoolStatus
    from prefect.settings import PREFECT_API_URL

    from tasks.operations.deploy import POOLS

    url = PREFECT_API_URL.value()
    if not url:
        found = "PREFECT_API_URL is not set: every run starts a temporary server"
        yield CheckResult("server", "note", found, "for pages and workers: autopipe ui")
        return
    try:
        httpx.get(f"{url}/health", timeout=TIMEOUT_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        fix = "start it: autopipe ui, or: unset PREFECT_API_URL"
        yield CheckResult("server", "bad", f"{url} does not answer: {error}", fix)
        return
    yield CheckResult("server", "good", url)
    with get_client(sync_client=True) as client:
        pools = {pool.name: pool for pool in client.read_work_pools()}
    for name in POOLS:
        if name not in pools:
            yield CheckResult(f"work pool {name}", "note", "not there", "autopipe deploy")
        elif pools[name].status != WorkPoolStatus.READY:
            fix = f"prefect worker start --pool {name}"
            yield CheckResult(f"work pool {name}", "note", "no worker is online", fix)
        else:
            yield CheckResult(f"work pool {name}", "good", "a worker is online")


def dataset_loads(name: str) -> Iterator[CheckResult]:
    """Whether a dataset can be found or built, and all its rows be read."""
    from tasks.config.paths import cache_folder
    from tasks.inputs.catalog import resolve_dataset
    from trials.data.dataset import load_dataset

    what = f"dataset {name}"
    try:
        loaded = load_dataset(resolve_dataset(name, cache_folder() / "datasets").absolute())
    except AutoPipeError as error:
        fix = "autopipe datasets lists the catalog; docs/datasets.md shows the form"
        yield CheckResult(what, "bad", _first_line(error), fix)
        return
    rows = ", ".join(f"{len(part)} {split}" for split, part in loaded.splits.items())
    yield CheckResult(what, "good", f"{rows} rows")


def model_loads(name: str) -> Iterator[CheckResult]:
    """Whether configuration and tokenizer load; the hub is asked only if they are not here."""
    from tasks.config.paths import cache_folder
    from tasks.inputs.prepare import resolve_local_model
    from trials.models.check import check_folder

    what = f"model {name}"
    try:
        place = resolve_local_model(name, cache_folder() / "models")
        if Path(place).is_dir():
            check_folder(Path(place))
        size = _size_of(place)
    except AutoPipeError as error:
        fix = "name a model of the catalog, a folder with config.json, or a hub id"
        if os.environ.get("HF_HUB_OFFLINE"):
            fix += "; the hub is switched off: unset HF_HUB_OFFLINE"
        yield CheckResult(what, "bad", _first_line(error), fix)
        return
    if not Path(place).is_dir():
        yield CheckResult(what, "good", f"{size}, of the hub; weights are fetched when it is used")
    else:
        yield CheckResult(what, "good", f"{size}, at {place}")


def _size_of(model: str) -> str:
    """Type and parameters of a model whose configuration and tokenizer load.

    Raises:
        ModelError: one of them does not.
    """
    from transformers.utils import cached_file

    from trials.models.loading import count_parameters, load_config, load_tokenizer

    sources = [model]
    with suppress(OSError):  # of the hub, and fetched before
        if file := cached_file(model, "config.json", local_files_only=True):
            sources.insert(0, str(Path(file).parent))
    for source in dict.fromkeys(sources):
        try:
            config = load_config(source)
            load_tokenizer(source)
            break
        except ModelError:
            if source == model:
                raise
    return f"{config.model_type} of {count_parameters(config) / 1e6:.3g} million parameters"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def dry_run() -> Iterator[CheckResult]:
    """Two trials of the smallest model, the whole way, in a folder that is removed again."""
    with tempfile.TemporaryDirectory(prefix="autopipe-doctor-") as home:
        log = Path(home) / "log.txt"
        start = time.monotonic()
        with log.open("w") as output:
            code = subprocess.run(
                [sys.executable, "-m", "autopipe", "tune", *DRY_RUN, "--history", f"{home}/past"],
                env=child_environment({"AUTOPIPE_HOME": home}),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        seconds = time.monotonic() - start
        if code == 0:
            yield CheckResult(
                "dry run", "good", f"two trials, test, report, export: {seconds:.0f} s"
            )
            return
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        yield CheckResult("dry run", "bad", f"exit code {code}:\n{tail}", "fix what it says, above")
