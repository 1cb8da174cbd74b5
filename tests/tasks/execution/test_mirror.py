"""A trial that has its files from storage: they arrive as they were, and secrets do not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.execution import mirror
from tasks.execution.mirror import mirrored, send_inputs
from tasks.sync.store import StoreError, open_store
from tests.trials.helpers import TINY, make_spec, write_dataset, write_rows
from trials.data.dataset import fingerprint
from trials.models.tokenizer import load_config
from trials.spec.records import TrialSpec

SECRET = "hf_abcdef123456"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the storage; the workspace of "the other machine" is a folder of its own."""
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    monkeypatch.setattr(mirror, "PUSH_SECONDS", 0.1)
    return (tmp_path / "storage").as_uri()


def sent(url: str, tmp_path: Path, dataset: Path | None = None) -> TrialSpec:
    dataset = dataset or write_dataset(tmp_path / "data")
    spec = make_spec(tmp_path / "runs" / "run" / "trials" / "000", dataset)
    spec = spec.model_copy(update={"model_fingerprint": "m" * 16})
    send_inputs(spec, open_store(url))
    return spec


@pytest.mark.parametrize("name", ["data", "gsm8k.v2"])
def test_dataset_and_model_arrive(url: str, tmp_path: Path, name: str) -> None:
    spec = sent(url, tmp_path, write_dataset(tmp_path / name))
    with mirrored(spec, url) as (own, run):
        assert fingerprint(own.dataset) == spec.dataset_fingerprint
        assert own.fidelity.model != str(TINY)
        assert load_config(own.fidelity.model) is not None
        for path in (own.dataset, own.fidelity.model, own.folder):
            assert Path(path).is_relative_to(tmp_path / "other")
        assert own.identity() == spec.identity()
        assert run.name == "run"


def test_a_dataset_of_one_file_arrives_as_a_file(url: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "completion": "1", "answer": "1"} for n in range(40)]
    spec = sent(url, tmp_path, write_rows(tmp_path / "rows.jsonl", rows))
    with mirrored(spec, url) as (own, _):
        assert Path(own.dataset).is_file()
        assert fingerprint(own.dataset) == spec.dataset_fingerprint


def test_what_it_makes_goes_back_without_secrets(url: str, tmp_path: Path) -> None:
    spec = sent(url, tmp_path)
    there = tmp_path / "storage" / "run" / "trials" / "000"
    with mirrored(spec, url) as (own, _):
        log = Path(own.folder) / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"using {SECRET}\n")
        (log.parent / "spec.json").write_text("{}")
        for _ in range(100):
            if (there / "log.txt").exists():
                break
            time.sleep(0.05)
        assert SECRET not in (there / "log.txt").read_text()
        with log.open("a") as stream:
            stream.write(f"and {SECRET}, too\n")
    assert (there / "log.txt").read_text() == f"using {'*' * 15}\nand {'*' * 15}, too\n"
    assert not (there / "spec.json").exists()  # its paths are of the other machine


def test_what_was_sent_is_kept_in_the_store_alone(url: str, tmp_path: Path) -> None:
    spec, store = sent(url, tmp_path), open_store(url)
    parent = Path(spec.folder).with_name("parent") / "checkpoint" / "rl-000010"
    parent.mkdir(parents=True)
    (parent / "weights").write_text("large")
    spec = spec.model_copy(update={"continue_from": str(parent)})
    send_inputs(spec, store)
    with mirrored(spec, url) as (own, _):
        assert (Path(str(own.continue_from)) / "weights").read_text() == "large"
        Path(own.folder).mkdir(parents=True, exist_ok=True)
        (Path(own.folder) / "result.json").write_text("done")
    left = {file.name for file in (tmp_path / "other").rglob("*") if file.is_file()}
    assert {"weights", "result.json"}.isdisjoint(left)
    assert "train.jsonl" in left
    assert store.text("run", "trials", "000", "result.json") == "done"


def test_a_failure_that_was_taken_out_is_not_taken_for_a_result(url: str, tmp_path: Path) -> None:
    spec, store = sent(url, tmp_path), open_store(url)
    with mirrored(spec, url) as (own, _):
        Path(own.folder).mkdir(parents=True, exist_ok=True)
        (Path(own.folder) / "result.json").write_text("failed")
        (Path(own.folder) / "checkpoint").mkdir()
        (Path(own.folder) / "checkpoint" / "x").write_text("1")
    store.remove("run", "trials", "000", "result.json")
    with mirrored(spec, url) as (own, _):
        assert not (Path(own.folder) / "result.json").exists()
        assert (Path(own.folder) / "checkpoint" / "x").exists()
    assert store.text("run", "trials", "000", "result.json") is None


def test_a_trial_that_fails_says_why_even_when_storage_is_away(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = sent(url, tmp_path)

    def away(*_: object) -> None:
        raise StoreError("away")

    def fail() -> None:
        with mirrored(spec, url):
            monkeypatch.setattr(open_store(url), "push", away)
            raise KeyError("why")

    with pytest.raises(KeyError):
        fail()
