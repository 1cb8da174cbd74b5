"""What a person reads who interrupts a run."""

from __future__ import annotations

import pytest
import typer

from flows.cli.errors import friendly_errors
from flows.terminal.interrupts import interrupts
from flows.terminal.resumable import resumable
from tasks.monitoring.observers import RunEvent, RunObserver, RunStarted, TrialFinished, observe
from tests.tasks.conftest import MakeRun


class Seen(RunObserver):
    runs: list[str]

    def __init__(self) -> None:
        self.runs = []

    def notify(self, event: RunEvent) -> None:
        if isinstance(event, RunStarted):
            self.runs.append(event.info.run_id)


@pytest.mark.parametrize("store", [None, "s3://bucket/runs/"])
@pytest.mark.parametrize(("begun", "trials"), [(True, 1), (True, 0), (False, 0)])
def test_how_to_go_on_is_said_once_there_is_a_run(
    make_run: MakeRun,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: str | None,
    begun: bool,
    trials: int,
) -> None:
    monkeypatch.setattr(interrupts, "notes", [])
    run, seen = make_run(), Seen()
    info = run.info()
    info = info.model_copy(update={"settings": info.settings.model_copy(update={"store": store})})

    def interrupted() -> None:
        with friendly_errors(), resumable(seen), observe(run) as observer:
            if begun:
                observer.notify(RunStarted(info))
            for trial in run.trials()[:trials]:
                assert trial.result is not None
                observer.notify(TrialFinished(trial.spec, trial.result))
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        interrupted()
    assert ended.value.exit_code == 130
    told = capsys.readouterr().out
    assert told.startswith("interrupted")
    assert ("finished trials are kept" in told) == (trials > 0)
    assert (f"autopipe tune --resume {run.run_id}" in told) == begun
    assert (f"--resume s3://bucket/runs/{run.run_id}" in told) == (begun and store is not None)
    assert seen.runs == ([run.run_id] if begun else [])
