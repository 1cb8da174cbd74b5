"""Everything that can be refused without starting anything, all at once."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from surrogates.options import STRATEGIES
from tasks.catalog import CatalogError, resolve_dataset, resolve_model
from tasks.paths import cache_folder
from tasks.settings import TuneSettings
from tasks.spaces import load_space, plain
from trials.dataset import load_dataset
from trials.errors import AutoPipeError, ModelError, SettingsError
from trials.hyperparameters import validate
from trials.plan import plan_steps
from trials.rewards import build_reward


def check_settings(settings: TuneSettings) -> None:
    """Looks at space, dataset, reward, model, strategy and launcher config.

    Raises:
        SettingsError: with every problem that was found.
    """
    checks: list[Callable[[], Any]] = [
        lambda: load_space(settings.space),
        lambda: _check_dataset(settings),
        lambda: _check_model(settings.model),
        lambda: _check_strategy(settings.strategy),
        lambda: _check_file(settings.accelerate_config),
        lambda: _check_vllm(settings),
    ]
    problems = []
    for check in checks:
        try:
            check()
        except (AutoPipeError, CatalogError) as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def _check_dataset(settings: TuneSettings) -> None:
    path = resolve_dataset(settings.dataset, cache_folder() / "datasets")
    dataset = load_dataset(path)
    build_reward(dataset, settings.allow_user_code)
    default = validate(plain(load_space(settings.space).get_default_configuration()))
    plan_steps(default, settings.schedule, len(dataset.splits["train"]), len(dataset.preferences))


def _check_model(model: str) -> None:
    if not model.endswith(".gguf"):
        resolve_model(model)
    elif not Path(model).is_file():
        raise ModelError(f"no file {model}; expected a .gguf model")


def _check_strategy(strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise SettingsError(f"strategy {strategy!r} is not one of {', '.join(STRATEGIES)}")


def _check_vllm(settings: TuneSettings) -> None:
    if settings.compute.vllm and find_spec("vllm") is None:
        raise SettingsError("--vllm: vLLM is not installed; install it with: pip install vllm")


def _check_file(file: str | None) -> None:
    if file is not None and not Path(file).is_file():
        raise SettingsError(f"no Accelerate config at {file}; make one with: accelerate config")
