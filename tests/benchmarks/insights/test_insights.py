"""Insights of a made history: settings, tables, files, page and figures."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from benchmarks.insights.figures import all_figures
from benchmarks.insights.page import blocks, filled, update_page
from benchmarks.insights.steps import (
    SECTION,
    Insights,
    InsightSettings,
    find_insights,
    write_insights,
)
from tasks.config.params import load_section
from tasks.config.paths import ROOT
from tests.benchmarks.insights.landscapes import history_of, unit
from trials.io.errors import SettingsError

PAGE = ROOT / "docs" / "rules-of-thumb.md"


def score(config: dict) -> float:
    return unit(config, "sft_learning_rate") - unit(config, "rl_learning_rate") ** 2


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return history_of(score, models=("small", "large"), seeds=2, noise=0.1, datasets=4)


@pytest.fixture(scope="module")
def found(rows: pd.DataFrame) -> Insights:
    return find_insights(rows, InsightSettings(shuffles=20, trees=10), lambda _: None)


def test_every_question_has_a_table(found):
    assert found.counts == {
        "trials": 640, "configurations": 320, "groups": 8, "datasets": 4, "models": 2, "failed": 0
    }  # fmt: skip
    assert all(len(table) for table in found.tables.values())
    assert found.tables["importance"]["hyperparameter"][0] == "sft_learning_rate"
    assert found.tables["agreement"]["proxy"].tolist() == ["small"]
    assert found.tables["noise"]["model"].tolist() == ["large", "small"]


def test_the_same_numbers_give_the_same_files(found, tmp_path):
    files = []
    for name in ("one", "two"):
        write_insights(found, tmp_path / name)
        paths = sorted(p for p in (tmp_path / name).rglob("*.*") if p.is_file())
        files.append([p.read_bytes() for p in paths])
    assert files[0] == files[1]
    assert {p.stem for p in (tmp_path / "one" / "tables").iterdir()} == set(found.tables)
    text = (tmp_path / "one" / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    metrics = json.loads(text)
    assert metrics["history"] == found.counts
    assert set(metrics["agreement"]["small_for_large"]) >= {"spearman", "kendall", "regret3"}
    assert metrics["noise"]["small"]["seed_sd"] == pytest.approx(0.1, rel=0.2)


def test_the_page_is_filled_and_keeps_its_prose(found, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    update_page(page, found)
    text = page.read_text("utf-8")
    assert "| small for large | 4 |" in text
    assert "640 full-length trials of 320 configurations in 8 groups" in text
    content = blocks(found)
    assert all(content[name] in text for name in content)
    assert filled(text, dict.fromkeys(content, "")) == filled(
        PAGE.read_text("utf-8"), dict.fromkeys(content, "")
    )
    update_page(page, found)
    assert page.read_text("utf-8") == text


def test_the_page_has_a_place_for_every_table(found):
    text = PAGE.read_text("utf-8")
    assert all(f"<!-- begin: {name} -->" in text for name in blocks(found))
    pictures = {f"images/{name}.svg" for name in all_figures(found.tables)}
    assert all(picture in text for picture in pictures)


@pytest.mark.parametrize(
    "text",
    [
        "<!-- begin: nothing -->\n<!-- end: nothing -->\n",
        "<!-- begin: rules -->\nno end\n",
        "<!-- end: rules -->\n<!-- begin: rules -->\n",
    ],
)
def test_a_marker_that_is_wrong_is_named(text):
    with pytest.raises(SettingsError, match=r"marker '(nothing|rules)'"):
        filled(text, {"rules": "x\n"})


def test_one_model_without_repeats_leaves_parts_empty_and_says_so():
    thin = history_of(score, datasets=2, noise=0.1)
    found = find_insights(thin, InsightSettings(shuffles=20, trees=10), lambda _: None)
    content = blocks(found)
    assert "nothing to answer" in content["agreement"]
    assert "nothing to answer" in content["noise"]
    assert "insights-agreement" not in all_figures(found.tables)


def test_figures_show_every_rule_hyperparameter_and_pair(found):
    figures = all_figures(found.tables)
    bars = {y for trace in figures["insights-importance"].data for y in trace.y}
    assert bars == set(found.tables["importance"]["hyperparameter"])
    rules = {y for trace in figures["insights-rules"].data for y in trace.y}
    assert rules == set(found.tables["rules"]["rule"])
    assert len(figures["insights-pairs"].data) == 4
    names = [
        trace.name for trace in figures["insights-agreement"].data if trace.showlegend is not False
    ]
    assert len(names) == len(set(names)) == 3
    assert all(figure.layout.title.text for figure in figures.values())


def test_settings_are_read_and_wrong_ones_refused(tmp_path):
    assert load_section(InsightSettings, SECTION) == InsightSettings()
    file = tmp_path / "params.yaml"
    for wrong in ({"shuffle": 3}, {"bins": 1}):
        file.write_text(yaml.safe_dump({"insights": wrong}))
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            load_section(InsightSettings, SECTION, file)
