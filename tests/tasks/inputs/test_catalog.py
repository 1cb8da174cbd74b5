from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from tasks.config.paths import ROOT
from tasks.inputs.catalog import (
    CATALOG,
    SPLITS,
    Catalog,
    CatalogError,
    DatasetEntry,
    SplitSizes,
    build_catalog,
    build_dataset,
    load_catalog,
    resolve_dataset,
    resolve_model,
    unknown_name_message,
)
from trials.data.dataset import load_dataset
from trials.io.errors import SettingsError
from trials.scoring.rewards import build_reward

BUNDLED = load_catalog()
NAMES = sorted(BUNDLED.datasets)
SMALL = SplitSizes(train=20, validation=10, test=10)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dataset of the catalog at its full size."""
    folder = tmp_path_factory.mktemp("catalog")
    return {path.name: path for path in build_catalog(folder / "built")}


def rows_of(folder: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]


def write_catalog(path: Path, **changes: object) -> Path:
    content = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    content["datasets"]["chain_sum"].update(changes)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_catalog_is_wide_enough() -> None:
    entries = BUNDLED.datasets.values()
    assert len(entries) >= 24
    forms = {entry.answer_form for entry in entries}
    assert {"integer", "decimal", "word", "letters", "list", "yes_no", "time", "date"} <= forms
    train = [entry.sizes.train for entry in entries]
    assert min(train) <= 300
    assert max(train) >= 3000
    assert all((e.sizes.validation, e.sizes.test) == (200, 300) for e in entries)
    assert BUNDLED.example() in BUNDLED.datasets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "blue"}, "colour"),
        ({"reward": "vibes"}, "reward"),
        ({"sizes": {"train": 0, "validation": 1, "test": 1}}, "train"),
        ({"example": not BUNDLED.datasets["chain_sum"].example}, "exactly one entry"),
    ],
)
def test_a_bad_entry_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load_catalog(write_catalog(tmp_path / "catalog.yaml", **changes))


def test_a_missing_or_broken_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No catalog at"):
        load_catalog(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("datasets: [", encoding="utf-8")
    with pytest.raises(CatalogError, match="not a valid catalog"):
        load_catalog(tmp_path / "broken.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_met_and_splits_disjoint(catalog: dict[str, Path], name: str) -> None:
    prompts: list[str] = []
    for split in SPLITS:
        rows = rows_of(catalog[name], split)
        assert len(rows) == getattr(BUNDLED.datasets[name].sizes, split)
        assert all(set(r) == {"prompt", "completion", "answer", "metadata"} for r in rows)
        assert all(r["completion"] == r["answer"] != "" for r in rows)
        prompts += [row["prompt"] for row in rows]
    assert len(set(prompts)) == len(prompts)
    assert all(prompt == prompt.strip() for prompt in prompts)


@pytest.mark.parametrize("name", NAMES)
def test_the_reward_takes_the_truth_and_refuses_the_rest(
    catalog: dict[str, Path], name: str
) -> None:
    dataset = load_dataset(catalog[name])
    reward = build_reward(dataset)
    rows = dataset.splits["test"]
    assert all(reward(row.answer, row) == pytest.approx(1.0) for row in rows)
    wrong = []
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        if other.answer != row.answer:
            wrong.append(reward(other.answer, row))
        assert reward("no idea whatsoever", row) <= 0.05
        assert reward("", row) <= 0.05
    assert max(wrong) < 0.9
    assert statistics.mean(wrong) < 0.06


@pytest.mark.parametrize("name", NAMES)
def test_rows_fit_the_tiny_models(catalog: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "tokenizer")
    rows = rows_of(catalog[name], "validation")
    prompts = [len(ids) for ids in tokenizer([row["prompt"] for row in rows])["input_ids"]]
    answers = [len(ids) for ids in tokenizer([row["answer"] for row in rows])["input_ids"]]
    assert max(prompts) <= 120
    assert statistics.mean(prompts) <= 105
    assert max(answers) <= 24


def test_a_new_description_keeps_the_fingerprint() -> None:
    entry = BUNDLED.datasets["chain_sum"]
    assert entry.model_copy(update={"description": "x"}).fingerprint() == entry.fingerprint()
    assert entry.model_copy(update={"seed": 5}).fingerprint() != entry.fingerprint()


def test_a_finished_dataset_is_reused_and_nothing_is_left_over(tmp_path: Path) -> None:
    first = build_dataset("gcd", tmp_path, sizes=SMALL)
    stamp = (first / "train.jsonl").stat().st_mtime_ns
    assert build_dataset("gcd", tmp_path, sizes=SMALL) == first
    assert (first / "train.jsonl").stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    entry = BUNDLED.datasets["gcd"].model_copy(update={"seed": 999_000})
    other = BUNDLED.model_copy(update={"datasets": {"gcd": entry}})
    second = build_dataset("gcd", tmp_path, other, SMALL)
    assert first != second
    assert (first / "train.jsonl").read_bytes() != (second / "train.jsonl").read_bytes()


def test_an_exhausted_generator_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    entry = BUNDLED.datasets["count_primes"].model_copy(update={"params": {"max_n": 4}})
    catalog = Catalog(
        datasets={"few": DatasetEntry(**{**entry.model_dump(), "example": True})}, models={}
    )
    with pytest.raises(CatalogError, match=r"few: 40 distinct prompts .* Lower `sizes`"):
        build_dataset("few", tmp_path, catalog, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_resolve_dataset(tmp_path: Path, catalog: dict[str, Path]) -> None:
    assert resolve_dataset(str(tmp_path), tmp_path / "cache") == tmp_path
    target = resolve_dataset("gcd", tmp_path / "cache")
    assert rows_of(target, "train") == rows_of(catalog["gcd"], "train")
    assert resolve_dataset("gcd", tmp_path / "cache") == target
    with pytest.raises(CatalogError, match="Did you mean chain_sum"):
        resolve_dataset("chain_sums", tmp_path)


def test_resolve_model(tmp_path: Path) -> None:
    assert resolve_model("tiny-1m") == str(ROOT / "data" / "models" / "tiny-1m")
    assert resolve_model(str(tmp_path)) == str(tmp_path)
    assert resolve_model("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert resolve_model("gpt2") == "gpt2"
    with pytest.raises(CatalogError, match="Did you mean tiny-1m"):
        resolve_model("tiny-1n")
    for path in ("./models/mine", "/no/such/folder", "a/b/c"):
        with pytest.raises(CatalogError, match="There is no file or folder /"):
            resolve_model(path)


def test_what_is_not_there_is_named_in_full_with_what_is_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("qa3.csv", "QA4.jsonl", "qa4.txt", ".qa4.csv", "unlike.parquet", "gcd.gguf"):
        (tmp_path / name).touch()
    (tmp_path / "my_model").mkdir()
    (tmp_path / "gcd").mkdir()

    def said(find: Callable[[], object]) -> str:
        with pytest.raises(CatalogError) as caught:
            find()
        return str(caught.value)

    text = said(lambda: resolve_dataset("qa4.csv", tmp_path))
    assert text.startswith(f"There is no file or folder {tmp_path}/qa4.csv, nor a dataset of that")
    assert text.endswith("Did you mean QA4.jsonl or qa3.csv?")
    text = said(lambda: resolve_dataset("gcf", tmp_path))
    assert text.endswith("Did you mean ./gcd or gcd?")
    text = said(lambda: resolve_dataset("no/where/x.csv", tmp_path))
    assert f"{tmp_path}/no/where/x.csv (nor the folder {tmp_path}/no/where)" in text
    assert text.endswith("`autopipe datasets` lists the catalog.")
    text = said(lambda: resolve_dataset("zzzzzz", tmp_path))
    assert "chain_sum" not in text
    assert said(lambda: resolve_model("./my_modle")).endswith("Did you mean my_model?")
    assert "--model also takes a hub id" in said(lambda: resolve_model("./zzzzzz"))
    assert "Did you mean gcd.gguf?" in unknown_name_message("model", "gcf.gguf", ())


def test_the_models_say_their_size() -> None:
    for name, model in BUNDLED.models.items():
        assert (ROOT / model.path / "config.json").is_file(), name
        smaller = [BUNDLED.models[proxy].parameters for proxy in model.proxies]
        assert smaller == sorted(smaller, reverse=True)
        assert all(size < model.parameters for size in smaller)


def test_the_whole_catalog_is_built_anew_with_the_same_bytes(tmp_path: Path) -> None:
    small = {
        name: BUNDLED.datasets[name].model_copy(update={"sizes": SMALL})
        for name in ("chain_sum", "gcd", BUNDLED.example())
    }
    catalog = BUNDLED.model_copy(update={"datasets": small})
    seen: list[tuple[int, int]] = []
    folder = tmp_path / "built"
    paths = build_catalog(folder, catalog, lambda *done: seen.append(done))
    assert sorted(path.name for path in folder.iterdir()) == sorted(small)
    assert seen[-1] == (len(small), len(small))
    assert [load_dataset(path).name for path in paths] == list(small)
    written = {file: file.read_bytes() for file in folder.rglob("*.*")}
    build_catalog(folder, catalog)
    assert {file: file.read_bytes() for file in folder.rglob("*.*")} == written
    (folder / "of_somebody_else").mkdir()
    with pytest.raises(SettingsError, match="of_somebody_else"):
        build_catalog(folder, catalog)
    assert (folder / "of_somebody_else").is_dir()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.slow
def test_the_same_entries_give_the_same_bytes_whatever_the_order_of_sets(tmp_path: Path) -> None:
    """Some generators draw letters from a set, whose order depends on the seed of hashes."""
    code = """
import sys
from tasks.inputs.catalog import SplitSizes, build_catalog, load_catalog
sizes, catalog = SplitSizes(train=20, validation=10, test=10), load_catalog()
small = {n: e.model_copy(update={"sizes": sizes}) for n, e in catalog.datasets.items()}
build_catalog(sys.argv[1], catalog.model_copy(update={"datasets": small}))
"""
    written = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        files = (tmp_path / seed).rglob("*.*")
        written.append({file.relative_to(tmp_path / seed): file.read_bytes() for file in files})
    assert {path.parts[0] for path in written[0]} == set(NAMES)
    assert len(written[0]) == 4 * len(NAMES)
    assert written[0] == written[1]
