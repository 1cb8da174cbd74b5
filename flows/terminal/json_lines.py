"""A run as JSON lines on standard output, for programs: one object for each event."""

from __future__ import annotations

import json
import math
import threading
from typing import Any, TextIO

from flows.terminal.console import json_stream
from tasks.monitoring import observers
from tasks.runs.folder import RunInfo
from trials.io.redact import redacted
from trials.spec.records import TrialResult, TrialSpec


def write_event(event: str, stream: TextIO | None = None, **fields: Any) -> None:
    """Writes one line ``{"event": ..., ...}`` to standard output, or another stream."""
    stream = stream or json_stream()
    # JSON has no NaN; null says the same.
    stream.write(json.dumps({"event": event, **_plain(fields)}, allow_nan=False) + "\n")
    stream.flush()


class JsonLines(observers.RunObserver):
    """Writes ``{"event": ..., ...}``: phase, progress, message, begun, step, trial, probed,
    spent, ended.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream
        self._lock = threading.Lock()
        self._info: RunInfo | None = None

    def notify(self, event: observers.RunEvent) -> None:
        match event:
            case observers.PhaseStarted(text):
                self._write("phase", text=text)
            case observers.PhaseProgress(done, total):
                self._write("progress", done=done, total=total)
            case observers.Message(text):
                self._write("message", text=text)
            case observers.RunStarted(info):
                self._info = info
                self._write(
                    "begun",
                    run=info.run_id,
                    dataset=info.dataset.name,
                    model=info.model,
                    budget=str(info.settings.budget),
                    seed=info.settings.seed,
                    history_trials=info.history.trials,
                    base_score=info.base_validation.score,
                )
            case observers.TrialLogged(spec, logged) if logged["kind"] in ("metric", "score"):
                at = {"stage": logged["stage"], "step": logged["step"]}
                self._write("step", trial=spec.trial_id, **at, values=logged["values"])
            case observers.TrialFinished(spec, result):
                self._write_trial(spec, result)
            case observers.DatasetsProbed(done, total):
                self._write("probed", done=done, total=total)
            case observers.BudgetSpent(share):
                self._write("spent", share=round(share, 4))
            case observers.RunFinished(summary):
                self._write("ended", **json.loads(summary.model_dump_json()))

    def _write_trial(self, spec: TrialSpec, result: TrialResult) -> None:
        failure = result.failure
        self._write(
            "trial",
            trial=spec.trial_id,
            proxy=self._info.proxy_of(spec) if self._info else None,
            state=result.state,
            fraction=result.fraction,
            score=result.score,
            score_se=result.score_se,
            seconds=result.cost.seconds,
            stop=result.stop.rule if result.stop else None,
            failure={"kind": failure.kind, "message": failure.message} if failure else None,
            config=spec.config,
        )

    def _write(self, event: str, **fields: Any) -> None:
        with self._lock:
            write_event(event, self._stream, **fields)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it, without secrets: these are found before quotes are escaped."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return redacted(value) if isinstance(value, str) else value
