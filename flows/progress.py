"""Live progress in the terminal: one bar for the run, one for each trial that runs."""

from __future__ import annotations

import threading
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tasks.escape import markup, printable
from tasks.run_folder import RunInfo
from tasks.watch import Watcher
from trials.events import Event
from trials.records import TrialResult, TrialSpec

# Hyperparameters in the line of a finished trial; the report has them all.
SHOWN = {
    "sft_share": "share",
    "sft_learning_rate": "sft lr",
    "dpo_share": "dpo share",
    "dpo_learning_rate": "dpo lr",
    "rl_learning_rate": "rl lr",
    "adapter": "",
}


class _Shown:
    """A context in which a progress display is on the screen."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()


class LiveProgress(_Shown, Watcher):
    """Shows a run as it happens; prints one line for each finished trial.

    Args:
        console: where to show it. Without a terminal only the lines are printed.
    """

    def __init__(self, console: Console):
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._phase = self._progress.add_task("starting", total=None, note="")
        self._bars: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._best: float | None = None

    def phase(self, text: str) -> None:
        self._progress.update(self._phase, description=markup(text), completed=0, total=None)
        if not self._console.is_terminal:
            self._console.print(text)

    def progress(self, done: float, total: float) -> None:
        self._progress.update(self._phase, completed=done, total=total)

    def message(self, text: str) -> None:
        self._console.print(printable(text, lines=True), markup=False, highlight=False)

    def begun(self, info: RunInfo) -> None:
        rows = info.dataset.rows
        inferred = " (inferred)" if info.dataset.reward_inferred else ""
        base = info.base_validation
        self._console.print(
            f"[bold]{info.dataset.name}[/bold]: {rows['train']} training, {rows['validation']} "
            f"validation, {rows['test']} test rows; reward {info.dataset.reward}{inferred}\n"
            f"[bold]{info.model}[/bold]: {info.model_parameters / 1e6:.2f} M parameters; "
            f"validation score as it is {base.score:.3f} ± {base.score_se:.3f}\n"
            f"history: {info.history.trials} trials on {info.history.datasets} datasets; "
            f"budget {info.settings.budget}, {info.settings.parallel} at a time, "
            f"seed {info.settings.seed}; run [bold]{info.run_id}[/bold]"
        )

    def event(self, spec: TrialSpec, event: Event) -> None:
        with self._lock:
            bar = self._bars.get(spec.trial_id)
            if bar is None:
                last = round(spec.fidelity.fraction * spec.schedule.total_steps)
                name = f"  trial {spec.trial_id[:3]}"
                bar = self._progress.add_task(name, total=last, note="loading")
                self._bars[spec.trial_id] = bar
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

    def result(self, spec: TrialSpec, result: TrialResult) -> None:
        with self._lock:
            bar = self._bars.pop(spec.trial_id, None)
            if bar is not None:
                self._progress.remove_task(bar)
            full = result.fraction >= 1.0 and result.score is not None
            if full and (self._best is None or (result.score or 0.0) > self._best):
                self._best = result.score
            self._console.print(self._line(spec, result), highlight=False)

    def _line(self, spec: TrialSpec, result: TrialResult) -> str:
        settings = "  ".join(
            f"{short} {_short(spec.config[name])}"
            for name, short in SHOWN.items()
            if spec.config.get(name) is not None
        )
        if result.failure:
            ending = f"[red]failed: {result.failure.kind}[/red]"
        else:
            ending = f"{result.score:.3f} ± {result.score_se:.3f}"
            if result.stop:
                ending += f" [yellow]stopped: {result.stop.rule}[/yellow]"
        best = f"  best {self._best:.3f}" if self._best is not None else ""
        return (
            f"trial {spec.trial_id[:3]}  {result.fraction:4.0%} of the schedule  {ending}  "
            f"{result.cost.seconds:4.0f} s  [dim]{settings}[/dim]{best}"
        )


class CollectProgress(_Shown, Watcher):
    """Live progress of a collect run: trials done, the last score, time elapsed.

    Args:
        console: where to show it. Without a terminal one line is printed for each trial.
        total: trials of the whole design.
    """

    def __init__(self, console: Console, total: int):
        self._console, self._total, self._done = console, total, 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed}/{task.total} trials"),
            BarColumn(bar_width=40),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("collect", total=total, note="")

    def probed(self, done: int, total: int) -> None:
        note = f"base model measured on {done}/{total} datasets"
        self._progress.update(self._bar, note=note)
        if not self._console.is_terminal:
            self._console.print(note, highlight=False)

    def result(self, spec: TrialSpec, result: TrialResult) -> None:
        score = "failed" if result.score is None else f"{result.score:.3f}"
        self._done += 1
        self._progress.update(self._bar, advance=1, note=score)
        if not self._console.is_terminal:
            self._console.print(f"{self._done}/{self._total} trials  {score}", highlight=False)


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
