"""Checks of settings that need nothing to be started; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ConfigSpace import ConfigurationSpace

from tasks.config.paths import cache_folder
from tasks.config.settings import TuneSettings
from tasks.execution.base import on_this_machine
from tasks.execution.devices import launchers_for, remote_processes, trial_processes
from tasks.inputs.auto_space import searched_space
from tasks.inputs.catalog import load_catalog, resolve_dataset, resolve_model, unknown_name_message
from tasks.inputs.chats import check_chats, model_folder
from tasks.inputs.gguf import check_gguf
from tasks.inputs.proxies import named_proxy, not_smaller, resolve_proxies
from tasks.inputs.sizes import model_size
from tasks.inputs.spaces import sampled_problems
from trials.data.dataset import Dataset, load_dataset
from trials.io.errors import AutoPipeError, ModelError, SettingsError
from trials.models.check import check_folder
from trials.scoring.own_completions import check_own_completions
from trials.spec.arguments import Execution, per_device_batches
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.plan import plan_steps

Found = TypeVar("Found")


def check_settings(settings: TuneSettings) -> None:
    """Checks space, dataset, reward, model and devices; a SettingsError with every problem."""
    problems: list[str] = []
    dataset = _found(problems, lambda: _usable_dataset(settings))
    pairs = len(dataset.preferences) if dataset is not None else 0
    searched = _found(problems, lambda: searched_space(settings, pairs))
    processes = _found(problems, lambda: _processes(settings))
    _found(problems, lambda: _check_model(settings, dataset))
    proxies = _found(problems, lambda: resolve_proxies(settings.proxies, settings.model))
    for name in proxies or []:
        _found(problems, partial(_check_proxy, settings, name, dataset))
    if settings.compute.vllm and find_spec("vllm") is None:
        problems.append("--vllm: vLLM is not installed; install it with: pip install vllm")
    if searched is not None and dataset is not None and processes is not None:
        problems += _space_problems(searched.settings, searched.space, dataset, processes)
    if problems:
        raise SettingsError("\n".join(problems))


def _found(problems: list[str], look: Callable[[], Found]) -> Found | None:
    """The outcome of a check; None if it fails, which becomes one more problem."""
    try:
        return look()
    except AutoPipeError as error:
        problems.append(str(error))
        return None


def _usable_dataset(settings: TuneSettings) -> Dataset:
    dataset = load_dataset(resolve_dataset(settings.dataset, cache_folder() / "datasets"))
    check_own_completions(dataset, settings.allow_user_code)
    return dataset


def _processes(settings: TuneSettings) -> int:
    """Processes that share a trial's batch; this machine's GPUs count where trials run on it."""
    config, gpus = settings.accelerate_config, settings.gpus_per_trial
    if not on_this_machine(settings.trials_on):
        return remote_processes(config, gpus)
    return trial_processes(launchers_for(settings.parallel, settings.threads, config, gpus)[0])


def _space_problems(
    settings: TuneSettings, space: ConfigurationSpace, dataset: Dataset, processes: int
) -> list[str]:
    """Problems of the default and of a sample of the space with the data or the processes."""
    rows, pairs = len(dataset.splits["train"]), len(dataset.preferences)
    execution = Execution(seed=0, processes=processes, on_cpu=True, bf16=False)

    def check(h: Hyperparameters) -> list[str]:
        plan = plan_steps(h, settings.schedule, rows, pairs)
        per_device_batches(h, plan, settings.schedule, execution)  # raises what does not divide
        return []

    if problems := sampled_problems(space, check):
        problems.append(
            f"The search space {settings.space} proposes this. Choose another with --space, or "
            "give a copy without these values as --space FILE (bundled ones are in data/spaces)."
        )
    return problems


def _check_model(settings: TuneSettings, dataset: Dataset | None) -> None:
    """Checks a model before it is loaded; a .gguf file, before it is converted."""
    model = settings.model
    if model.endswith(".gguf"):
        if not Path(model).is_file():
            raise ModelError(unknown_name_message("model", model, load_catalog().models))
        check_gguf(Path(model))
        return
    found = resolve_model(model)
    if dataset is not None:
        check_chats(dataset, found, cache_folder(), settings.schedule.max_length)
    elif folder := model_folder(found):
        check_folder(folder)


def _check_proxy(settings: TuneSettings, name: str, dataset: Dataset | None) -> None:
    """Checks a proxy as a model, and that it is smaller, where both sizes are known beforehand."""
    proxy, target = model_size(name), model_size(settings.model)
    if proxy.known and target.known and proxy.parameters >= target.parameters:
        raise SettingsError(not_smaller(name, proxy.parameters, settings.model, target.parameters))
    with named_proxy(name):
        _check_model(settings.model_copy(update={"model": name}), dataset)
