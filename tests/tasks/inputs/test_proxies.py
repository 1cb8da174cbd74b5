"""Proxies: which are meant, which are refused, and what the search is told of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.config.command import reproduce_command
from tasks.config.paths import DATA
from tasks.config.settings import Budget, TuneSettings
from tasks.inputs import proxies
from tasks.inputs.prepare import CheckedInputs, Inputs, ProbeSize
from tasks.inputs.proxies import (
    check_same_family,
    find_proxies,
    in_order_of_size,
    plan_text,
    probe_proxies,
    resolve_proxies,
    search_levels,
)
from tasks.planning.preflight import check_settings
from tests.trials.helpers import write_dataset
from trials.data.dataset import load_dataset
from trials.evaluation.measurement import REFUSAL
from trials.io.errors import SettingsError
from trials.process.supervisor import MeasurementFailed
from trials.spec.kinds import FailureKind
from trials.spec.records import Failure, ProbeAnswer, Schedule

MODELS = DATA / "models"
KILLED = Failure(kind=FailureKind.KILLED, message="by a signal")


def checked(model: Path, folder: Path) -> CheckedInputs:
    return CheckedInputs(
        dataset_id="sums",
        dataset=load_dataset(folder),
        model_id=model.name,
        model=str(model),
        schedule=Schedule(),
    )


def sized(name: str, parameters: int, folder: Path) -> Inputs:
    answer = ProbeAnswer.model_construct(parameters=parameters)
    meta = {"model_hidden_size": float(parameters) ** 0.5}
    return Inputs(**vars(checked(MODELS / name, folder)), meta=meta, probe=answer)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("proxies") / "sums")


def test_auto_means_the_smaller_ones_of_the_catalog() -> None:
    assert resolve_proxies(["auto"], "tiny-4m") == ["tiny-1m", "tiny-100k"]
    assert resolve_proxies([], "tiny-4m") == []
    assert resolve_proxies(["./mine", "auto"], "tiny-1m") == ["./mine", "tiny-100k"]


@pytest.mark.parametrize(
    ("names", "model", "words"),
    [
        (["auto"], "tiny-100k", "no smaller model of the family of tiny-100k"),
        (["auto"], "Qwen/Qwen3-8B", "--proxy OWNER/MODEL"),
        (["tiny-1m"], "tiny-1m", "other than tiny-1m"),
        (["tiny-1m", "tiny-1m"], "tiny-4m", "each once"),
    ],
)
def test_what_cannot_be_a_proxy_is_refused(names: list[str], model: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        resolve_proxies(names, model)


@pytest.mark.parametrize("spoil", ["tokenizer", "chat template"])
def test_another_language_is_refused(spoil: str, data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(MODELS / "tiny-100k", tmp_path / "other"))
    target = checked(MODELS / "tiny-1m", data)
    check_same_family(target, checked(other, data))
    if spoil == "tokenizer":
        content = json.loads((other / "tokenizer.json").read_text())
        content["model"]["merges"] = content["model"]["merges"][:-1]
        (other / "tokenizer.json").write_text(json.dumps(content))
    else:
        (other / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(SettingsError, match=f"its {spoil} is not that of tiny-1m"):
        check_same_family(target, checked(other, data))


def test_levels_are_in_the_order_of_size_and_cost_what_their_size_says(data: Path) -> None:
    target = sized("tiny-4m", 4_000_000, data)
    smaller = [sized("tiny-1m", 1_000_000, data), sized("tiny-100k", 100_000, data)]
    ordered = in_order_of_size(target, smaller)
    assert [each.model_id for each in ordered] == ["tiny-100k", "tiny-1m", "tiny-4m"]
    told = search_levels(ordered)
    assert told["levels"] == {"tiny-100k": 0.025, "tiny-1m": 0.25, "tiny-4m": 1.0}
    assert told["level_meta"]["tiny-1m"] == {"model_hidden_size": 1000.0}
    assert "tiny-100k at 0.025 of a full trial" in plan_text(ordered)
    assert search_levels([target]) == {}
    assert plan_text([target]) == ""


def test_tokenizers_of_older_forms_are_compared_by_their_files(data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, text in zip(folders, ('{"x": 0}', '{"x": 0}', '{"y": 0}'), strict=True):
        folder.mkdir()
        (folder / "vocab.json").write_text(text)
    same, again, other = (checked(folder, data) for folder in folders)
    check_same_family(same, again)
    with pytest.raises(SettingsError, match="its tokenizer is not that of a"):
        check_same_family(same, other)


def test_a_proxy_that_is_not_smaller_is_refused(data: Path) -> None:
    target = sized("tiny-1m", 1_000_000, data)
    with pytest.raises(SettingsError, match=r"it has 4\.00 million parameters, tiny-1m 1\.00"):
        in_order_of_size(target, [sized("tiny-4m", 4_000_000, data)])
    with pytest.raises(SettingsError, match="called alike"):
        in_order_of_size(target, [replace(sized("tiny-1m", 10, data))])


def test_what_is_wrong_with_a_proxy_is_said_of_the_proxy(data: Path, tmp_path: Path) -> None:
    settings = settings_of(data, model="tiny-100k", proxies=("tiny-1m",))
    with pytest.raises(SettingsError, match=r"--proxy tiny-1m: it has 1\.01 million parameters"):
        check_settings(settings)
    missing = settings_of(data, proxies=(str(tmp_path / "nothing"),))
    with pytest.raises(SettingsError, match=r"--proxy .*nothing: There is no file or folder"):
        check_settings(missing)


def test_a_name_that_no_model_can_have_is_refused_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(settings_of(data, proxies=("nothing",)))
    said = str(caught.value)
    assert said.startswith(
        f"--proxy nothing: There is no file or folder {Path('nothing').absolute()}"
    )
    assert said.endswith("named with its owner: --proxy OWNER/nothing.")
    assert "--model" not in said
    with pytest.raises(SettingsError, match=r"--proxy tiny_1m: .*Did you mean tiny-1m"):
        resolve_proxies(["tiny_1m"], "tiny-4m")
    assert resolve_proxies(["owner/small"], "owner/large") == ["owner/small"]
    # Of those without an owner, as gpt2, nothing is known but by those that were fetched.
    monkeypatch.setattr(proxies, "model_folder", lambda _: Path("snapshot"))
    assert resolve_proxies(["gpt2"], "gpt2-large") == ["gpt2"]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (None, "--proxy owner/small: no tokenizer for 'owner/small'"),
        (MeasurementFailed(KILLED), "--proxy owner/small: measuring .* by a signal"),
    ],
)
def test_a_proxy_that_cannot_be_probed_is_named(
    failure: Exception | None, words: str, data: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))

    def measure(request: Path, *_: object) -> None:
        if failure is not None:
            raise failure
        (request.parent / REFUSAL).write_text("no tokenizer for 'owner/small'")

    measurer: Any = SimpleNamespace(measure=measure)
    proxy = replace(
        checked(MODELS / "tiny-100k", data), model="owner/small", model_id="owner/small"
    )
    target = sized("tiny-1m", 1_000_000, data)
    with pytest.raises(SettingsError, match=words):
        probe_proxies.fn([proxy], target, settings_of(data), ProbeSize(rows=4), measurer)


def test_proxies_are_found_and_checked(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "home"))
    settings = settings_of(data, proxies=("auto",))
    [found] = find_proxies.fn(settings, checked(MODELS / "tiny-1m", data))
    assert found.model == str((MODELS / "tiny-100k").resolve())
    assert found.model_fingerprint


def settings_of(data: Path, **others: Any) -> TuneSettings:
    given: dict[str, Any] = {"model": "tiny-1m", "budget": Budget(amount=6, unit="full")}
    return TuneSettings(dataset=str(data), **given | others)


def test_settings_with_proxies_need_a_budget_of_compute_and_a_search_that_uses_them() -> None:
    data = Path("sums")
    with pytest.raises(ValueError, match="a time \\(30m\\) or full-trial equivalents"):
        settings_of(data, proxies=("auto",), budget=Budget(amount=12, unit="trials"))
    with pytest.raises(ValueError, match="expected autopipe or gp"):
        settings_of(data, proxies=("auto",), strategy="random")


def test_the_command_repeats_every_proxy() -> None:
    settings = settings_of(Path("sums"), proxies=("a/small", "a/smaller"))
    assert "--proxy a/small --proxy a/smaller" in reproduce_command(settings)
