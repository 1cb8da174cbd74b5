from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tasks.config.command import beyond_options, reproduce_command
from tasks.config.settings import Budget, TuneSettings
from tasks.monitoring.console import render_summary, render_trials
from tasks.report.build import write_report
from tasks.report.page import Cell, Html, page, table, tag
from tasks.report.reasons import _cells
from tasks.runs import tables as run_tables
from tasks.runs.folder import HistoryInfo, RunFolder
from tasks.runs.formatting import (
    decimals,
    format_duration,
    format_setting,
    outcome,
    plus_minus,
    verdict,
)
from tasks.runs.tables import RunTables
from trials.spec.records import Schedule, StoppingRules

MakeRun = Callable[..., RunFolder]
SECTIONS = (
    "best", "progress", "trials", "reasons", "curves", "prior", "space", "importance", "cost",
    "stops", "reproduce",
)  # fmt: skip


class Document(HTMLParser):
    """What a browser would see: elements with their attributes, text, and script contents."""

    def __init__(self, source: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.figures: dict[str, dict] = {}
        self._open: tuple[str, dict[str, str | None]] = ("", {})
        self.feed(source)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open = (name, dict(attributes))
        self.elements.append(self._open)

    def handle_endtag(self, name: str) -> None:
        if name in ("script", "style"):
            self._open = ("", {})

    def handle_data(self, data: str) -> None:
        name, attributes = self._open
        if name == "script" and attributes.get("type") == "application/json":
            self.figures[str(attributes["data-for"])] = json.loads(data)
        elif name not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def report(run: RunFolder) -> Document:
    return Document(write_report(run).read_text(encoding="utf-8"))


def printed(renderable: object) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_report_of_a_finished_run_has_every_section_trial_and_chart(make_run: MakeRun) -> None:
    run = make_run()
    document = report(run)
    anchors = [a["id"] for name, a in document.elements if name == "section"]
    rows = [cell.get("data-key") for name, cell in document.elements if name == "td"]
    assert anchors == list(SECTIONS)
    assert {trial.spec.trial_id for trial in run.trials()} <= set(rows)
    assert len(run.trials()) == 12
    assert set(document.figures) == {
        "comparison", "progress-chart", "curve-score", "curve-loss", "curve-reward", "curve-kl",
        "prior-chart", "space-chart", "importance-chart", "cost-chart", "fractions-chart",
    }  # fmt: skip
    assert all(figure["data"] for figure in document.figures.values())


def test_the_headline_states_the_measured_outcome(make_run: MakeRun) -> None:
    words = report(make_run()).words
    assert "reached 0.712 ± 0.023 on the test split; the default 0.604 ± 0.023" in words
    assert "The gain over the default is +0.108 ± 0.021 (paired on the same test rows)" in words
    assert "38 % saved" in words
    assert (
        "autopipe tune add --model tiny-m --budget 25m --parallel 2 --seed 3 --test-rows 300"
        in words
    )


@pytest.mark.parametrize(
    ("gain", "se", "expected"),
    [
        (0.108, 0.021, "more than noise explains"),
        (0.04, 0.021, "within noise"),
        (-0.04, 0.021, "within noise"),
        (-0.2, 0.021, "keep the default"),
        (None, None, "not paired"),
    ],
)
def test_a_difference_within_noise_is_called_so(
    make_run: MakeRun, gain: float | None, se: float | None, expected: str
) -> None:
    summary = make_run(paired_gain=gain, paired_gain_se=se).summary()
    assert summary is not None
    assert expected in verdict(summary)


def test_a_training_that_gained_nothing_over_the_base_model_is_called_so(make_run: MakeRun) -> None:
    summary = make_run().summary()
    assert summary is not None
    assert "Nothing shows" not in outcome(summary)
    untrained = summary.base.model_copy(update={"test": summary.best.test - 0.01})
    told = outcome(summary.model_copy(update={"base": untrained}))
    assert told.endswith("Nothing shows that training improved on the base model.")


def test_data_docs_are_one_click_away_when_they_are_there(make_run: MakeRun) -> None:
    run = make_run()
    assert "Data Docs" not in report(run).words
    for name in ("data_docs", "history_docs"):
        page = run.path / name / "validations" / "__none__" / "20261123T0936.58Z" / "all.html"
        page.parent.mkdir(parents=True)
        page.write_text("results")
        document = report(run)
        links = {a["href"] for element, a in document.elements if element == "a"}
        assert page.relative_to(run.path).as_posix() in links
    assert "the Data Docs of the dataset and the history" in document.words
    for link in (link for link in links if link and "docs" in link):
        assert (run.path / link).is_file()


def test_without_a_measured_default_no_gain_is_claimed(make_run: MakeRun) -> None:
    run = make_run(default=None)
    assert "no gain can be stated" in report(run).words


def test_every_proposal_is_explained_in_parts_that_add_up(make_run: MakeRun) -> None:
    tables = RunTables.read(make_run())
    rows = [
        [cell.key for cell in _cells(p, tables.labels, {p.trial_id: 0.5})] for p in tables.proposals
    ]
    assert [row[0] for row in rows] == list(tables.trials.trial_id)
    for _, _, prior, changed, expected, failure, _, became in rows:
        assert prior + changed == pytest.approx(expected)
        assert (failure, became) == (0.02, 0.5)
    unknown = tables.proposals[0].model_copy(update={"prior_score": None})
    assert "–" in str(_cells(unknown, tables.labels, {})[2].shown)


def test_without_a_history_there_is_no_prior_to_show(make_run: MakeRun) -> None:
    run = make_run()
    empty = HistoryInfo(files=[], trials=0, datasets=0)
    run.write_info(run.info().model_copy(update={"history": empty}))
    document = report(run)
    assert "no history to learn from" in document.words
    assert "prior-chart" not in document.figures


def test_the_default_itself_may_be_the_best(make_run: MakeRun) -> None:
    run = make_run()
    summary = run.summary()
    assert summary is not None
    run.write_summary(summary.model_copy(update={"best": summary.default}))
    words = report(run).words
    assert "No configuration was found that is expected to do better than the default" in words
    assert "This is the default itself." in words


def test_what_comes_from_data_is_escaped(make_run: MakeRun) -> None:
    evil = '<script>alert("x")</script>'
    run = make_run(dataset=evil)
    source = write_report(run).read_text(encoding="utf-8")
    assert evil not in source
    assert "&lt;script&gt;alert(" in source
    assert 'File <b>"run.py"</b>' not in source
    assert 'File <b>"run.py"</b>' in " ".join(Document(source).text)  # as text, not as markup


def test_the_report_needs_nothing_but_itself(make_run: MakeRun) -> None:
    run = make_run()
    before = {path for path in run.path.rglob("*") if path.is_file()}
    document = report(run)
    after = {path for path in run.path.rglob("*") if path.is_file()}
    assert after - before == {run.path / "report.html"}
    addresses = [
        (name, attributes[key])
        for name, attributes in document.elements
        for key in ("src", "href", "srcset", "data", "action")
        if key in attributes
    ]
    assert {name for name, _ in addresses} == {"a"}
    assert all((run.path / str(address)).is_file() for _, address in addresses)
    assert not {name for name, _ in document.elements} & {"link", "iframe", "img", "object"}
    styles = re.findall(r"<style>(.*?)</style>", (run.path / "report.html").read_text(), re.S)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    policies = [a["content"] for n, a in document.elements if a.get("http-equiv")]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")
    assert "http" not in policies[0]


@pytest.mark.parametrize("trials", [0, 1, 2, 7])
def test_an_unfinished_run_has_a_report(make_run: MakeRun, trials: int) -> None:
    run = make_run(trials=trials, finished=False)
    document = report(run)
    assert "autopipe tune --resume run-1" in document.words
    assert "This run is not finished (" in document.words
    assert [a["id"] for name, a in document.elements if name == "section"] == list(SECTIONS)
    keys = {cell.get("data-key") for name, cell in document.elements if name == "td"}
    assert {f"t{index:03d}" for index in range(trials)} <= keys
    assert ("curve-score" in document.figures) == (trials > 0)


def test_a_finished_run_of_one_trial_has_a_report(make_run: MakeRun) -> None:
    assert "Left out: it takes 8 configurations" in report(make_run(trials=1)).words


def test_writing_again_gives_the_same_report(make_run: MakeRun) -> None:
    run = make_run()
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_tables_keep_the_order_of_the_proposals_and_join_what_is_known(make_run: MakeRun) -> None:
    tables = RunTables.read(make_run())
    trials = tables.trials.set_index("trial_id")
    assert list(trials.index) == [f"t{index:03d}" for index in range(12)]
    assert trials.loc["t006", "continues"] == "t001"
    assert trials.loc["t006", "final"] == trials.loc["t006", "score"]
    assert trials.loc["t008", "final"] == trials.loc["t008", "predicted"]
    assert trials.loc["t004", "reason"] == "out_of_memory"
    assert trials.loc["t007", "reason"] == "kl_growth at step 24"
    assert trials.cumulative_seconds.iloc[-1] == pytest.approx(trials.seconds.sum())
    assert tables.best_row is not None
    assert tables.best_row.trial_id == "t010"
    assert "lora_rank" in tables.varied


def test_a_prediction_is_an_observation_only_with_a_score(make_run: MakeRun) -> None:
    run = make_run(trials=7, finished=False)
    guesses = [{"trial_id": f"t{i:03d}", "predicted": 0.9, "predicted_sd": 0.1} for i in range(7)]
    run.write_observations(guesses)
    trials = RunTables.read(run).trials.set_index("trial_id")
    assert trials.loc["t004", "state"] == "failed"
    assert trials.loc["t006", "state"] == "unfinished"
    assert trials.final.isna().tolist() == [False] * 4 + [True, False, True]
    assert trials.loc["t001", "final"] == 0.9
    # Without an opinion of now, the one at the time of the proposal counts.
    assert trials.prior.notna().all()


def test_trial_ids_are_shortened_where_they_stay_apart() -> None:
    assert run_tables._labels(["000-ab12", "001-cd34"]) == ["000", "001"]
    assert run_tables._labels(["000-ab12", "000-cd34"]) == ["000-ab12", "000-cd34"]
    assert run_tables._labels(["a", "-b"]) == ["a", "-b"]


def test_an_unfinished_trial_is_read_from_its_events(make_run: MakeRun) -> None:
    tables = RunTables.read(make_run(trials=2, finished=False))
    assert tables.trials.state.tolist() == ["completed", "unfinished"]
    assert set(tables.curves[tables.curves.trial_id == "t001"].metric) >= {"loss", "score"}


def test_elements_escape_all_but_markup() -> None:
    assert tag("p", "<b>", Html("<i>"), title='"&') == '<p title="&quot;&amp;">&lt;b&gt;<i></p>'
    assert tag("td", 1.5, data_key=2, open_=True, hidden=None) == '<td data-key="2" open>1.5</td>'
    assert "<title>a &lt; b</title>" in page("a < b")


def test_missing_numbers_have_an_empty_sort_key() -> None:
    content = table(["x"], [[Cell("–", float("nan"))], [Cell("2", 2.0)]], sortable=True)
    assert 'data-key=""' in content
    assert 'data-key="2.0"' in content


def test_the_command_names_what_is_no_default() -> None:
    settings = TuneSettings(
        dataset="my data.jsonl",
        model="m",
        budget=Budget.parse("8 full"),
        early_stopping=False,
        retries=3,
        schedule=Schedule(total_steps=60, eval_points=(0.5, 1.0)),
        stopping=StoppingRules(kl_patience=9),
    )
    assert reproduce_command(settings) == (
        "autopipe tune 'my data.jsonl' --model m --budget '8 full' --parallel 2 --seed 0 "
        "--steps 60 --no-early-stopping"
    )
    assert beyond_options(settings) == ["retries", "schedule.eval_points", "stopping.kl_patience"]


@pytest.mark.parametrize("text", ["25m", "1h30m", "12", "8 full", "1.5 full"])
def test_the_budget_in_the_command_is_the_budget(text: str) -> None:
    budget = Budget.parse(text)
    command = reproduce_command(TuneSettings(dataset="d", model="m", budget=budget))
    written = re.search(r"--budget ('[^']+'|\S+)", command)
    assert written is not None
    assert Budget.parse(written[1].strip("'")) == budget


def test_numbers_have_sensible_digits() -> None:
    assert plus_minus(0.71234, 0.0231) == "0.712 ± 0.023"
    assert plus_minus(71.234, 2.31) == "71.2 ± 2.3"
    assert plus_minus(-0.05, 0.1, signed=True) == "−0.05 ± 0.10"
    assert plus_minus(float("nan"), 0.1) == "–"
    assert decimals(0.0) == 3
    assert [format_setting(v) for v in (3e-05, 0.2, 16, "cosine", None)] == [
        "3e-05", "0.2", "16", "cosine", "not set",
    ]  # fmt: skip
    assert [format_duration(s) for s in (8.4, 245, 7800)] == ["8.4 s", "4 min 05 s", "2 h 10 min"]


def test_the_console_shows_every_trial_and_the_comparison(make_run: MakeRun) -> None:
    run = make_run()
    shown = printed(render_trials(run))
    assert all(f"t{index:03d}" in shown for index in range(12))
    assert "t010 ★" in shown
    assert "failed: out_of_memory" in shown
    assert "continue of t001" in shown
    closing = printed(render_summary(run))
    for score in ("0.712 ± 0.023", "0.604 ± 0.023", "0.030 ± 0.010"):
        assert score in closing
    assert "+0.108 ± 0.021" in closing


def test_the_console_of_an_unfinished_run_says_how_to_go_on(make_run: MakeRun) -> None:
    run = make_run(trials=3, finished=False)
    closing = printed(render_summary(run))
    assert "not finished; best so far: t000" in closing
    assert "autopipe tune --resume run-1" in closing
    assert "unfinished" in printed(render_trials(run))


def test_the_console_of_a_run_without_trials_says_so(make_run: MakeRun) -> None:
    run = make_run(trials=0, finished=False)
    assert "no trial has a score yet" in printed(render_summary(run))


def test_the_plan_of_a_run_is_in_its_report(make_run: MakeRun) -> None:
    run = make_run()
    assert "Before the first trial" not in Document(write_report(run).read_text()).words
    (run.path / "plan.json").write_text(json.dumps({"text": "plan: about 9 <fit>"}))
    assert (
        "Before the first trial: plan: about 9 <fit>."
        in Document(write_report(run).read_text()).words
    )
