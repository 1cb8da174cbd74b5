"""A proxy that is left is told once, with the reason, while the run is under way."""

from __future__ import annotations

from tasks.monitoring.observers import (
    Message,
    RunEvent,
    RunObserver,
    RunStarted,
    TrialFinished,
    observe,
    observed_by,
)
from tasks.runs.folder import RunFolder
from tests.tasks.conftest import MakeRun, on_proxy

REVERSED = "it ranks the configurations in reverse"


class Told(RunObserver):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notify(self, event: RunEvent) -> None:
        if isinstance(event, Message):
            self.texts.append(event.text)


def finish(run: RunFolder, observer: RunObserver, name: str, replayed: bool = False) -> None:
    [trial] = [trial for trial in run.trials() if trial.spec.trial_id == name]
    assert trial.result is not None
    observer.notify(TrialFinished(trial.spec, trial.result, replayed))


def test_a_proxy_that_is_left_is_told_once(make_run: MakeRun) -> None:
    run, told = on_proxy(make_run(trials=3), "t001", "t002"), Told()
    with observed_by(told), observe(run) as observer:
        observer.notify(RunStarted(run.info()))
        finish(run, observer, "t000")
        assert told.texts == []
        on_proxy(run, "t001", "t002", left=REVERSED)
        finish(run, observer, "t001")
        finish(run, observer, "t002")
    assert told.texts == [f"tiny-s is left: {REVERSED}"]


def test_a_resumed_run_does_not_tell_it_again(make_run: MakeRun) -> None:
    run, told = on_proxy(make_run(trials=3), "t001", left=REVERSED), Told()
    with observed_by(told), observe(run) as observer:
        observer.notify(RunStarted(run.info()))
        finish(run, observer, "t001", replayed=True)
        finish(run, observer, "t002")
    assert told.texts == []


def test_nothing_is_read_for_a_run_without_proxies(make_run: MakeRun) -> None:
    run, told = make_run(trials=2), Told()
    (run.path / "observations.json").write_text("damaged")
    with observed_by(told), observe(run) as observer:
        observer.notify(RunStarted(run.info()))
        finish(run, observer, "t000")
    assert told.texts == []


def test_a_damaged_file_does_not_end_the_run(make_run: MakeRun) -> None:
    run, told = on_proxy(make_run(trials=2), "t001"), Told()
    with observed_by(told), observe(run) as observer:
        observer.notify(RunStarted(run.info()))
        (run.path / "observations.json").write_text("damaged")
        finish(run, observer, "t001")
    assert told.texts == []
