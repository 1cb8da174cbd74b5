"""Checks of an installation, one by one, each with the fix for what it finds."""

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

from tasks.config.paths import BUNDLED_HISTORY, ROOT, cache_folder, runs_folder, workspace
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
    """Outcome of one check."""

    name: str
    status: Status  # bad stops runs; a note is worth knowing
    message: str
    fix: str = ""  # command or step that fixes it; empty if nothing is wrong


Check = Callable[[], Iterator[CheckResult]]


def checks(dataset: str, model: str, with_dry_run: bool = True) -> dict[str, Check]:
    """All checks by name, in their order; the dry run is two trials, from start to finish."""
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


def run_check(name: str, check: Check) -> list[CheckResult]:
    """The results of a check; one that crashes is a result itself, and does not end the others."""
    results = []
    try:
        for result in check():
            results.append(result)
    except Exception as error:
        reason = f"could not be checked: {type(error).__name__}: {error}"
        results.append(CheckResult(name, "bad", reason, "fix that, then: autopipe doctor"))
    return results


def _failed(name: str, error: Exception, fix: str) -> CheckResult:
    return CheckResult(name, "bad", str(error).splitlines()[0], fix)


def _checked(name: str, good: bool, message: str, fix: str, bad: Status = "note") -> CheckResult:
    return CheckResult(name, "good", message) if good else CheckResult(name, bad, message, fix)


def python() -> Iterator[CheckResult]:
    """The interpreter and the packages, against the requirements in pyproject.toml."""
    yield CheckResult("Python", "good", platform.python_version())
    wanted = requirements()
    wrong = [bad for text in wanted if (bad := problem_of(Requirement(text)))]
    message = "; ".join(wrong) or f"{len(wanted)} as pyproject.toml asks for"
    fix = "make install, or: pip install --constraint constraints.txt --editable ."
    yield _checked("packages", not wrong, message, fix, "bad")


def requirements() -> list[str]:
    """Requirements of AutoPipe itself, without its extras."""
    project = ROOT / "pyproject.toml"
    if not project.is_file():  # installed; the markers of extras leave theirs out
        return importlib.metadata.requires("autopipe") or []
    return list(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"])


def problem_of(requirement: Requirement) -> str:
    """The problem with a package; empty if none, or if it is not for this machine."""
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
    """Cores, memory and GPUs, and whether torch can use these."""
    memory = available_ram_bytes() / 1e9
    message = f"{os.cpu_count()} cores, {memory:.1f} GB of memory free"
    fix = "end other programs, or tune with --parallel 1"
    yield _checked("machine", memory >= MEMORY_GIGABYTES, message, fix)
    import torch

    gpus = visible_gpus()
    if not gpus:
        yield CheckResult("GPUs", "note", "none visible: trials run on the CPU")
    elif not torch.cuda.is_available():
        fix = "TORCH_INDEX= deployments/install.sh .venv installs a torch build with CUDA"
        message = f"{len(gpus)} there, but torch {torch.__version__} cannot use them"
        yield CheckResult("GPUs", "bad", message, fix)
    else:
        names = []
        for index in range(torch.cuda.device_count()):
            free, total = (size / 1e9 for size in torch.cuda.mem_get_info(index))
            name = torch.cuda.get_device_name(index)
            names.append(f"{name}, {free:.0f} of {total:.0f} GB free")
        yield CheckResult("GPUs", "good", "; ".join(names))


def disk() -> Iterator[CheckResult]:
    """Checks that the workspace is writable and has enough space."""
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
    fix = f"remove runs that are not needed from {runs_folder()}, or tune with --disk"
    yield _checked("workspace", free >= FREE_GIGABYTES, f"{folder}: {free:.1f} GB free", fix)


def history() -> Iterator[CheckResult]:
    """Checks that the history can be read."""
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
        yield _failed("history", error, "autopipe history check")
        return
    message = f"{len(rows)} trials on {rows['dataset_id'].nunique()} datasets"
    yield CheckResult("history", "good", message)


def server() -> Iterator[CheckResult]:
    """The Prefect server of PREFECT_API_URL, its pools and their workers."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkPoolStatus
    from prefect.settings import PREFECT_API_URL

    from tasks.operations.deploy import POOLS

    url = PREFECT_API_URL.value()
    if not url:
        message = "PREFECT_API_URL is not set: every run starts a temporary server"
        yield CheckResult("server", "note", message, "for pages and workers: autopipe ui")
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
            continue
        ready = pools[name].status == WorkPoolStatus.READY
        message, fix = f"{'a' if ready else 'no'} worker is online", "prefect worker start --pool "
        yield _checked(f"work pool {name}", ready, message, fix + name)


def dataset_loads(name: str) -> Iterator[CheckResult]:
    """Checks that a dataset can be found or built, and that all its rows can be read."""
    from tasks.inputs.catalog import resolve_dataset
    from trials.data.dataset import load_dataset

    try:
        loaded = load_dataset(resolve_dataset(name, cache_folder() / "datasets").absolute())
    except AutoPipeError as error:
        fix = "autopipe datasets lists the catalog; docs/datasets.md shows the form"
        yield _failed(f"dataset {name}", error, fix)
        return
    rows = ", ".join(f"{len(part)} {split}" for split, part in loaded.splits.items())
    yield CheckResult(f"dataset {name}", "good", f"{rows} rows")


def model_loads(name: str) -> Iterator[CheckResult]:
    """Checks that configuration and tokenizer load; the hub is asked only if they are not here."""
    from tasks.inputs.prepare import resolve_local_model
    from trials.models.check import check_folder

    try:
        model = resolve_local_model(name, cache_folder() / "models")
        local = Path(model).is_dir()
        if local:
            check_folder(Path(model))
        size = _size_of(model)
    except AutoPipeError as error:
        fix = "name a model of the catalog, a folder with config.json, or a hub id"
        if os.environ.get("HF_HUB_OFFLINE"):
            fix += "; the hub is switched off: unset HF_HUB_OFFLINE"
        yield _failed(f"model {name}", error, fix)
        return
    source = f"at {model}" if local else "of the hub; weights are fetched when it is used"
    yield CheckResult(f"model {name}", "good", f"{size}, {source}")


def _size_of(model: str) -> str:
    """Type and parameters of a model whose configuration and tokenizer load.

    Raises:
        ModelError: one of them does not.
    """
    from transformers.utils import cached_file

    from trials.models.loading import count_parameters
    from trials.models.tokenizer import load_config, load_tokenizer

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


def dry_run() -> Iterator[CheckResult]:
    """Two trials of the smallest model, from start to finish, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="autopipe-doctor-") as home:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "autopipe", "tune", *DRY_RUN, "--history", f"{home}/past"],
            env=child_environment({"AUTOPIPE_HOME": home}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        seconds = time.monotonic() - start
    message = f"two trials, test, report, export: {seconds:.0f} s"
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        message = f"exit code {done.returncode}:\n{tail}"
    yield _checked("dry run", done.returncode == 0, message, "fix what it says, above", "bad")
