"""The report of a run: its sections, what it says, and that it needs nothing but itself."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tasks.report.build import templates, write_report
from tasks.report.context import report_context
from tasks.runs.folder import HistoryInfo, RunFolder
from tests.tasks.conftest import MakeRun, write_run

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with its report; tests read it only."""
    run = write_run(tmp_path_factory.mktemp("runs") / "run-1")
    (run.path / "plan.json").write_text(json.dumps({"text": "plan: about 9 <fit>"}))
    write_report(run)
    return run


@pytest.fixture(scope="module")
def document(finished: RunFolder) -> Document:
    return Document((finished.path / "report.html").read_text(encoding="utf-8"))


def test_the_report_of_a_finished_run_has_every_section_trial_and_chart(
    finished: RunFolder, document: Document
) -> None:
    anchors = [a["id"] for name, a in document.elements if name == "section"]
    rows = [cell.get("data-key") for name, cell in document.elements if name == "td"]
    assert anchors == list(SECTIONS)
    assert {trial.spec.trial_id for trial in finished.trials()} <= set(rows)
    assert len(finished.trials()) == 12
    assert set(document.figures) == {
        "comparison", "progress-chart", "curve-score", "curve-loss", "curve-reward", "curve-kl",
        "prior-chart", "space-chart", "importance-chart", "cost-chart", "fractions-chart",
    }  # fmt: skip
    assert all(figure["data"] for figure in document.figures.values())


def test_the_report_states_the_measured_outcome_plan_and_command(document: Document) -> None:
    words = document.words
    assert "reached 0.712 ± 0.023 on the test split; the default 0.604 ± 0.023" in words
    assert "The gain over the default is +0.108 ± 0.021 (paired on the same test rows)" in words
    assert "38 % saved" in words
    assert "Before the first trial: plan: about 9 <fit>." in words
    command = "autopipe tune add --model tiny-m --budget 25m --parallel 2 --seed 3 --test-rows 300"
    assert command in words


def test_without_a_measured_default_or_a_history_neither_is_claimed(make_run: MakeRun) -> None:
    run = make_run(default=None)
    empty = HistoryInfo(files=[], trials=0, datasets=0)
    run.write_info(run.info().model_copy(update={"history": empty}))
    document = report(run)
    assert "no gain can be stated" in document.words
    assert "no history to learn from" in document.words
    assert "prior-chart" not in document.figures


def test_the_default_itself_may_be_the_best(make_run: MakeRun) -> None:
    run = make_run()
    summary = run.summary()
    assert summary is not None
    run.write_summary(summary.model_copy(update={"best": summary.default}))
    words = report(run).words
    assert "No configuration was found that is expected to do better than the default" in words
    assert "This is the default configuration itself." in words


def test_every_proposal_is_explained_in_parts_that_add_up(finished: RunFolder) -> None:
    context = report_context(finished)
    forecasts = context["forecasts"]
    assert [f["trial_id"] for f in forecasts] == [row.trial_id for row in context["trials"]]
    for f in forecasts:
        assert f["prior"] + f["change"] == pytest.approx(f["expected"])
        assert f["failure"] == 0.02


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


def test_what_comes_from_data_is_escaped(make_run: MakeRun) -> None:
    evil = '<script>alert("x")</script>'
    run = make_run(dataset=evil)
    source = write_report(run).read_text(encoding="utf-8")
    assert evil not in source
    assert "&lt;script&gt;alert(" in source
    assert 'File <b>"run.py"</b>' not in source
    assert 'File <b>"run.py"</b>' in " ".join(Document(source).text)  # as text, not as markup


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


def test_the_report_needs_nothing_but_itself_and_is_the_same_when_written_again(
    finished: RunFolder, document: Document
) -> None:
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    write_report(finished)
    assert before == {p: p.read_bytes() for p in finished.path.rglob("*") if p.is_file()}
    addresses = [
        (name, attributes[key])
        for name, attributes in document.elements
        for key in ("src", "href", "srcset", "data", "action")
        if key in attributes
    ]
    assert {name for name, _ in addresses} == {"a"}
    assert all((finished.path / str(address)).is_file() for _, address in addresses)
    assert not {name for name, _ in document.elements} & {"link", "iframe", "img", "object"}
    styles = re.findall(r"<style>(.*?)</style>", (finished.path / "report.html").read_text(), re.S)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    policies = [a["content"] for n, a in document.elements if a.get("http-equiv")]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")
    assert "http" not in policies[0]


def test_missing_numbers_have_an_empty_sort_key() -> None:
    cell = templates().get_template("macros.html").module.cell
    assert 'data-key=""' in cell("–", float("nan"))
    assert 'data-key="2.0"' in cell("<2>", 2.0)
    assert "&lt;2&gt;" in cell("<2>", 2.0)
