"""Proxies: smaller models of the target's family, on which configurations are tried first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from surrogates.space.levels import Levels
from tasks.config.paths import cache_folder
from tasks.config.settings import TuneSettings
from tasks.config.steps import step
from tasks.inputs.catalog import load_catalog, unknown_name_message
from tasks.inputs.chats import check_chats, model_folder
from tasks.inputs.prepare import CheckedInputs, Inputs, ProbeSize, check_inputs, probe_inputs
from tasks.inputs.siblings import smaller_siblings
from trials.io.errors import AutoPipeError, FileError, SettingsError
from trials.io.hashing import content_hash
from trials.process.supervisor import Supervisor

AUTO = "auto"
OTHER_TOKENIZERS = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model")


def resolve_proxies(names: Sequence[str], model: str) -> list[str]:
    """The models that are meant; ``auto``: the smaller ones of the catalog, or of the Hub by name.

    Raises:
        SettingsError: there is no smaller model of this one's family, the Hub cannot be asked, a
            name can be no model's, or the model itself or the same proxy twice is named.
    """
    found: list[str] = []
    for name in names:
        if name != AUTO:
            _check_name(name)
            found.append(name)
            continue
        if not (smaller := _smaller(model)):
            raise SettingsError(
                f"--proxy auto: no smaller model of the family of {model} is known, neither in the "
                "catalog nor by its name on the Hub\n"
                "  name one with the same tokenizer: --proxy MODEL, or leave --proxy out"
            )
        found += [proxy for proxy in smaller if proxy not in names]
    twice = sorted({name for name in found if found.count(name) > 1 or name == model})
    if twice:
        raise SettingsError(
            f"--proxy {', '.join(twice)}: expected models other than {model}, each once"
        )
    return found


def _check_name(name: str) -> None:
    """Refuses what is no file, no folder, not in the catalog and not named as models on the Hub.

    Those that have no owner, such as ``gpt2``, are taken if they were fetched before.
    """
    models = load_catalog().models
    if name in models or "/" in name or Path(name).exists() or model_folder(name):
        return
    hub_id = f"a model of the Hub is named with its owner: --proxy OWNER/{name}"
    message = unknown_name_message("model", name, models, hub_id)
    raise SettingsError(f"--proxy {name}: {message}")


def _smaller(model: str) -> Sequence[str]:
    """Of a model's family: in the catalog, which alone knows its models, or on the Hub."""
    if entry := load_catalog().models.get(model):
        return entry.proxies
    return () if Path(model).exists() else smaller_siblings(model)


def with_proxies_named(settings: TuneSettings) -> TuneSettings:
    """The settings with the models that ``auto`` stands for: another day it may mean others."""
    names = resolve_proxies(settings.proxies, settings.model)
    return settings.model_copy(update={"proxies": tuple(names)})


@step
def find_proxies(settings: TuneSettings, target: CheckedInputs) -> list[CheckedInputs]:
    """Finds the proxies of a run and checks that they are of the target's family.

    Raises:
        SettingsError, ModelError: one of them cannot be used.
    """
    found = []
    for name in resolve_proxies(settings.proxies, settings.model):
        with named_proxy(name):
            proxy = check_inputs(
                settings.dataset, name, settings.schedule, settings.allow_user_code
            )
            check_same_family(target, proxy)
            check_chats(proxy.dataset, proxy.model, cache_folder(), settings.schedule.max_length)
        found.append(proxy)
    return found


@step
def probe_proxies(
    proxies: Sequence[CheckedInputs],
    target: Inputs,
    settings: TuneSettings,
    size: ProbeSize,
    measurer: Supervisor,
) -> list[Inputs]:
    """Probes the proxies as the target was, the smallest first; their lengths are the target's.

    Raises:
        SettingsError: one of them cannot be read or measured, or is not smaller than the target.
    """
    probed = []
    for proxy in proxies:
        with named_proxy(proxy.model_id):
            probed.append(probe_inputs.fn(proxy, settings, size, measurer))
        check_same_family(target, probed[-1])  # models of the hub have been fetched by now
    same = [replace(each, schedule=target.schedule) for each in probed]
    return in_order_of_size(target, same)[:-1]


@contextmanager
def named_proxy(name: str) -> Iterator[None]:
    """Says of what cannot be used that it was meant as a proxy, not as the model.

    Raises:
        SettingsError: with the error of a model that cannot be used, whatever its kind.
    """
    try:
        yield
    except (SettingsError, FileError):  # the first names the proxy, the second is no fault of it
        raise
    except AutoPipeError as error:
        raise SettingsError(f"--proxy {name}: {error}") from error


def not_smaller(proxy: str, size: int, model: str, limit: int) -> str:
    """The message on a proxy that is as large as the model, or larger."""
    return (
        f"--proxy {proxy}: it has {size / 1e6:.2f} million parameters, {model} {limit / 1e6:.2f}\n"
        "  expected: a smaller model of the same family"
    )


def check_same_family(target: CheckedInputs, proxy: CheckedInputs) -> None:
    """Refuses a proxy that does not read and write as the target does.

    A model of the hub that was not fetched yet is looked at again once it was probed.

    Raises:
        SettingsError: its tokenizer or chat template is another one.
    """
    folders = [model_folder(each.model) for each in (target, proxy)]
    if None in folders:
        return
    ours, theirs = (_language(folder) for folder in folders if folder is not None)
    for what, mine, other in zip(("tokenizer", "chat template"), ours, theirs, strict=True):
        if mine != other:
            raise SettingsError(
                f"--proxy {proxy.model_id}: its {what} is not that of {target.model_id}, so it "
                "would learn another task\n"
                "  expected: a smaller model of the same family; choose another --proxy, or none"
            )


def _language(folder: Path) -> tuple[Any, str]:
    """Vocabulary and chat template of a model folder."""
    tokenizer = _read(folder / "tokenizer.json")
    vocabulary: Any = (tokenizer.get("model"), tokenizer.get("added_tokens"))
    if not tokenizer:  # of another form: the same bytes
        files = (folder / name for name in OTHER_TOKENIZERS)
        vocabulary = [content_hash(file.read_bytes()) for file in files if file.is_file()]
    file = folder / "chat_template.jinja"
    if file.is_file():
        return vocabulary, file.read_text(encoding="utf-8")
    return vocabulary, str(_read(folder / "tokenizer_config.json").get("chat_template", ""))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def in_order_of_size(target: Inputs, proxies: Sequence[Inputs]) -> list[Inputs]:
    """Proxies and target, the smallest first.

    Raises:
        SettingsError: a proxy is not smaller than the target, or two have one name.
    """
    for proxy in proxies:
        if proxy.probe.parameters >= target.probe.parameters:
            size, limit = proxy.probe.parameters, target.probe.parameters
            raise SettingsError(not_smaller(proxy.model_id, size, target.model_id, limit))
    ordered = [*sorted(proxies, key=lambda each: each.probe.parameters), target]
    names = [each.model_id for each in ordered]
    if len(set(names)) < len(names):
        raise SettingsError(f"two of the models are called alike: {', '.join(names)}")
    return ordered


def search_levels(inputs: Sequence[Inputs]) -> dict[str, Any]:
    """The arguments of ``Search`` that describe the models, of which the target is the last.

    With equal steps, batches and texts the compute of a trial is in proportion to the parameters.
    """
    if len(inputs) == 1:
        return {}
    largest = inputs[-1].probe.parameters
    return {
        "levels": {each.model_id: each.probe.parameters / largest for each in inputs},
        "level_meta": {each.model_id: each.meta for each in inputs},
    }


def plan_text(inputs: Sequence[Inputs]) -> str:
    """What the proxies cost, for people; empty without any."""
    if len(inputs) == 1:
        return ""
    levels = Levels.of(search_levels(inputs)["levels"])
    costs = (f"{name} at {levels.cost(name):.2g} of a full trial" for name in levels.proxies)
    return f"proxies: {', '.join(costs)}; they may spend a quarter of the budget together"
