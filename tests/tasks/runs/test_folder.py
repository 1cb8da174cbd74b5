"""A run folder whose files were cut short, changed or damaged."""

from __future__ import annotations

import json

import pytest

from tasks.config.settings import Budget
from tasks.runs.folder import ProposalRecord, RunFolder
from tasks.runs.ledger import Ledger
from tasks.runs.tables import RunTables
from tests.tasks.conftest import MakeRun
from trials.io.errors import RecordError


def proposal(order: int) -> ProposalRecord:
    return ProposalRecord(
        order=order, trial_id=f"t{order}", proposal_id="p", origin="new", fraction=1.0, config={}
    )


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    for order in range(3):
        folder.add_proposal(proposal(order))
    return folder


def orders(run: RunFolder) -> list[int]:
    return [record.order for record in run.proposals()]


def test_a_last_line_that_a_kill_cut_short_is_proposed_again(run: RunFolder) -> None:
    file = run.path / "proposals.jsonl"
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert orders(run) == [0, 1]
    file.write_bytes(whole[:-1])  # only the end of the line is missing
    assert orders(run) == [0, 1, 2]
    run.add_proposal(proposal(3))
    assert orders(run) == [0, 1, 2, 3]
    file.write_bytes(whole[:-10])
    run.add_proposal(proposal(2))
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "17",
        "null",
        '{"order": 1}',
        '{"order": "first", "trial_id": "t1"}',
        '{"order": 1, "trial_id": "../../x", "proposal_id": "p", "origin": "new", '
        '"fraction": 1.0, "config": {}}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_other_bad_line_is_an_error_that_names_it(
    run: RunFolder, line: str, number: int
) -> None:
    # review fault 17: it was dropped silently, and the search went on without that trial.
    file = run.path / "proposals.jsonl"
    lines = file.read_text().splitlines()
    lines[number - 1] = line
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match=rf"proposals\.jsonl:{number}: (?s:.)*remove that line"):
        run.proposals()


@pytest.mark.parametrize("name", ["run.json", "summary.json", "observations.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"rows": 3}'])
def test_the_page_of_a_damaged_run_names_the_file(
    make_run: MakeRun, name: str, content: bytes
) -> None:
    run = make_run()
    (run.path / name).write_bytes(content)
    with pytest.raises(RecordError, match=str(run.path / name)):
        RunTables.read(run)


@pytest.mark.parametrize("name", ["spec.json", "result.json", "events.jsonl"])
@pytest.mark.parametrize("content", [b"{}\n", b"nonsense\n", b"\xff\xfe\n", b"[1]\n"])
def test_so_does_that_of_a_damaged_trial(make_run: MakeRun, name: str, content: bytes) -> None:
    run = make_run()
    folder = run.trials()[0].folder
    (folder / name).write_bytes(content)
    if name == "events.jsonl":
        (folder / "result.json").unlink()
    with pytest.raises(RecordError, match=str(folder / name)):
        RunTables.read(run)


@pytest.mark.parametrize(
    "content",
    [
        *('{"elapsed_seconds": -1}', '{"elapsed_seconds": 1e400}', '{"elapsed_seconds": NaN}'),
        *('{"elapsed_seconds": "5"}', '{"elapsed_seconds": true}', "{}", "", "5", "{", "[]"),
    ],
)
def test_a_damaged_ledger_is_an_error(tmp_path, content: str) -> None:
    (tmp_path / "ledger.json").write_text(content)
    with pytest.raises(RecordError, match=r"ledger\.json: (?s:.)*remove it"):
        Ledger(tmp_path / "ledger.json", Budget(amount=60, unit="seconds"))
    (tmp_path / "ledger.json").write_text(json.dumps({"elapsed_seconds": 5}))
    assert Ledger(tmp_path / "ledger.json", Budget(amount=60, unit="seconds")).elapsed >= 5
