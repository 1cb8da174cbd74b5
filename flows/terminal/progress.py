"""Live progress in the terminal: one bar for the run, one for each trial that runs."""

from __future__ import annotations

import threading
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from flows.terminal.interrupts import interrupts
from flows.terminal.pace import Pace
from tasks.monitoring import observers
from tasks.output.escape import printable, rich_markup
from tasks.runs.folder import RunInfo
from tasks.runs.formatting import pluralize, plus_minus
from trials.spec.events import Event
from trials.spec.records import TrialResult, TrialSpec

# Hyperparameters in the line of a finished trial; the report has them all.
SHOWN = {
    "sft_share": "share",
    "sft_learning_rate": "sft lr",
    "dpo_share": "dpo share",
    "dpo_learning_rate": "dpo lr",
    "rl_learning_rate": "rl lr",
    "adapter": "",
}
BAR_WIDTH, NARROW = 20, 80  # characters; a narrow terminal has neither bars nor clocks
TELL_SECONDS = 30.0


class _Note(ProgressColumn):
    """The note of a task, as text; some notes change with time alone."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.fields["note"]))


def _bars(console: Console) -> Progress:
    """One line for each bar, however narrow the terminal: what does not fit is cut off."""
    wide = console.width >= NARROW
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        *([BarColumn(bar_width=BAR_WIDTH)] if wide else []),
        _Note(Column(no_wrap=True, overflow="ellipsis")),
        *([TimeElapsedColumn(Column(no_wrap=True))] if wide else []),
        console=console,
        transient=True,
        redirect_stdout=False,  # what others print is kept away from the terminal already
        redirect_stderr=False,
    )


class _Shown:
    """A context in which a progress display is on the screen."""

    def __init__(self, console: Console):
        self._console, self._progress = console, _bars(console)
        self._lines_only = not console.is_terminal or console.is_dumb_terminal

    def __enter__(self) -> Self:
        if not self._lines_only:
            self._progress.start()
            interrupts.closing.append(self._progress.stop)
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leaves the screen, for what is printed afterwards."""
        if self._progress.stop in interrupts.closing:
            interrupts.closing.remove(self._progress.stop)
            self._progress.stop()


class LiveProgress(_Shown, observers.RunObserver):
    """Shows a run as it happens; prints one line for each finished trial.

    Without a terminal, or in one that cannot move its cursor, only lines are printed: phases,
    trials, and now and then how far the run is.
    """

    def __init__(self, console: Console):
        super().__init__(console)
        self._narrow = console.width < NARROW
        self._now = "starting"
        self._phase = self._progress.add_task("run", total=None, note=self._now)
        self._budget: TaskID | None = None
        self._pace: Pace | None = None
        self._trials: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._info: RunInfo | None = None
        self._best: float | None = None
        self._told = time.monotonic()

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.PhaseStarted(text):
                self._now = text
                self._progress.reset(self._phase, total=None, note=text)
                if self._lines_only:
                    self._console.print(printable(text), markup=False, highlight=False)
                    self._told = time.monotonic()
            case observers.PhaseProgress(done, total):
                self._show_progress(done, total)
            case observers.Message(text):
                self._console.print(printable(text, lines=True), markup=False, highlight=False)
            case observers.RunStarted(info):
                self._introduce(info)
            case observers.BudgetSpent(share):
                self._show_budget(share)
            case observers.TrialLogged(spec, logged):
                self._show_step(spec, logged)
            case observers.TrialFinished(spec, result, replayed):
                self._close_trial(spec, result, replayed)

    def _show_progress(self, done: float, total: float) -> None:
        counted = float(done).is_integer() and float(total).is_integer()
        note = f"{done:g} of {total:g}" if counted else f"{done / total:.0%}" if total else ""
        text = f"{self._now}, {note}" if note else self._now
        self._progress.update(self._phase, completed=done, total=total, note=text)
        self._tell_now_and_then(f"  {note}")

    def _introduce(self, info: RunInfo) -> None:
        rows = info.dataset.rows
        inferred = " (inferred)" if info.dataset.reward_inferred else ""
        base = info.base_validation
        self._info, self._pace = info, Pace(info.settings.budget)
        self._console.print(
            f"[bold]{rich_markup(info.dataset.name)}[/bold]: {rows['train']} training, "
            f"{rows['validation']} validation, {rows['test']} test rows; "
            f"reward {rich_markup(info.dataset.reward)}{inferred}\n"
            f"[bold]{rich_markup(info.model)}[/bold]: "
            f"{info.model_parameters / 1e6:.2f} M parameters; "
            f"scores {base.score:.3f} ± {base.score_se:.3f} before any training "
            f"(on {base.rows} validation rows)\n"
            f"history: {pluralize(info.history.trials, 'trial')} on "
            f"{pluralize(info.history.datasets, 'dataset')}; "
            f"budget {info.settings.budget}, {info.settings.parallel} at a time, "
            f"seed {info.settings.seed}; run [bold]{rich_markup(info.run_id)}[/bold]",
            highlight=False,
        )

    def _show_budget(self, share: float) -> None:
        if self._pace is None:
            return
        self._pace.spent(share)
        with self._lock:
            if self._budget is None:
                self._budget = self._progress.add_task("budget", total=1.0, note=self._pace)
            self._progress.update(self._budget, completed=share)
        self._tell_now_and_then(f"  {self._pace}")

    def _show_step(self, spec: TrialSpec, event: Event) -> None:
        with self._lock:
            bar = self._trials.get(spec.trial_id)
            if bar is None:
                last = round(spec.fidelity.fraction * spec.schedule.total_steps)
                name = f"  trial {spec.trial_id[:3]}" + ("" if self._narrow else self._on(spec))
                bar = self._progress.add_task(name, total=last, note="loading")
                self._trials[spec.trial_id] = bar
            if event["kind"] == "metric":
                values = event["values"]
                shown = "reward" if event["stage"] == "rl" else "loss"
                note = f"{event['stage']} {shown} {values.get(shown, float('nan')):.3f}"
                self._progress.update(bar, completed=event["step"], note=note)
            elif "last_step" in event:  # a stage begins; its length may follow from the data
                self._progress.update(bar, total=event["last_step"], note=event["phase"])
            elif event["kind"] == "score":
                note = f"validation {event['values']['score']:.3f}"
                self._progress.update(bar, completed=event["step"], note=note)

    def _close_trial(self, spec: TrialSpec, result: TrialResult, replayed: bool) -> None:
        with self._lock:
            bar = self._trials.pop(spec.trial_id, None)
            if bar is not None:
                self._progress.remove_task(bar)
            full = result.fraction >= 1.0 and result.score is not None and not self._on(spec)
            if full and (self._best is None or (result.score or 0.0) > self._best):
                self._best = result.score
            if not replayed:
                self._console.print(self._line(spec, result), highlight=False)

    def _on(self, spec: TrialSpec) -> str:
        """`` on tiny-100k`` for a trial of a proxy, as markup; empty for one of the target."""
        proxy = self._info.proxy_of(spec) if self._info else None
        return f" on {rich_markup(proxy)}" if proxy else ""

    def _tell_now_and_then(self, text: str) -> None:
        """Without bars, prints now and then how far a long phase is."""
        now = time.monotonic()
        if self._lines_only and now - self._told >= TELL_SECONDS:
            self._told = now
            self._console.print(text, markup=False, highlight=False)

    def _line(self, spec: TrialSpec, result: TrialResult) -> str:
        settings = "  ".join(
            f"{short} {_short(spec.config[name])}"
            for name, short in SHOWN.items()
            if spec.config.get(name) is not None
        )
        if result.failure:
            ending = f"[red]failed: {rich_markup(result.failure.kind)}[/red]"
        else:
            ending = plus_minus(result.score, result.score_se)
            if result.stop:
                ending += f" [yellow]stopped: {rich_markup(result.stop.rule)}[/yellow]"
        on = self._on(spec)
        # Beside a proxy's score the target's best would read as if they were comparable.
        best = f"  best {self._best:.3f}" if self._best is not None and not on else ""
        length = f"{result.fraction:4.0%}" + ("" if self._narrow else " of the schedule") + on
        more = "" if self._narrow else f"  [dim]{rich_markup(settings)}[/dim]{best}"
        return f"trial {spec.trial_id[:3]}  {length}  {ending}  {result.cost.seconds:4.0f} s{more}"


class CollectProgress(_Shown, observers.RunObserver):
    """Live progress of a collect run of ``total`` trials; without a terminal as lines."""

    def __init__(self, console: Console, total: int):
        super().__init__(console)
        self._total, self._done = total, 0
        self._bar = self._progress.add_task("collecting", total=total, note="")

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.Message(text):
                self._console.print(printable(text, lines=True), markup=False, highlight=False)
            case observers.DatasetsProbed(done, total):
                self._show(line := f"base model measured on {done}/{total} datasets", line)
            case observers.TrialFinished(_, result):
                score = "failed" if result.score is None else f"{result.score:.3f}"
                self._done += 1
                note = f"{self._done} of {self._total} trials, the last: {score}"
                self._show(note, f"{self._done}/{self._total} trials  {score}")

    def _show(self, note: str, line: str) -> None:
        self._progress.update(self._bar, completed=self._done, note=note)
        if self._lines_only:
            self._console.print(line, highlight=False)


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
