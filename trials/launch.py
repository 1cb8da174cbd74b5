"""The supervisor: starts trials through ``accelerate launch``, watches them, and always answers.

Each launch leads its own process group. Whatever happens to it, every trial gets a
``TrialResult``, and ending a launch ends the whole group (a SIGTERM to ``accelerate launch`` alone
would leave the training process running).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from trials.errors import SettingsError
from trials.events import Event, read_new_events
from trials.leftovers import clear_leftovers
from trials.provenance import provenance
from trials.records import (
    LOG_TAIL_LINES,
    Cost,
    Failure,
    FailureKind,
    TrialResult,
    TrialSpec,
    read_record,
    write_json,
)
from trials.watchdog import SUPERVISOR_VARIABLE, supervisor_token

OnEvent = Callable[[TrialSpec, Event], None]
OnResult = Callable[[TrialSpec, TrialResult], None]
POLL_SECONDS = 0.2
TERMINATE_GRACE_SECONDS = 3.0
# A trial stops itself at its wall-clock limit; the supervisor only acts when it does not.
WALL_GRACE_SECONDS = 60.0

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
# Left over from an enclosing launch, these would steer the inner one; an empty thread count
# crashes the launcher.
SCRUBBED = (
    *("ACCELERATE_", "MASTER_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("GROUP_", "ROLE_", "TORCHELASTIC_", "OMP_NUM_THREADS"),
)


class Cancelled(Exception):
    """The launch was ended on request; its unfinished trials have no result."""


@dataclass(frozen=True)
class Launcher:
    """How trials are launched.

    Attributes:
        config_file: an Accelerate config passed through (FSDP, DeepSpeed, several nodes), or None
            for one process on whatever device is found.
        processes: processes of one trial; more than one on CPU uses gloo.
        threads: CPU threads of each process.
        devices: value for CUDA_VISIBLE_DEVICES, or None for all.
    """

    config_file: Path | None = None
    processes: int = 1
    threads: int = 1
    devices: str | None = None

    def command(self, module: str, files: Sequence[Path]) -> list[str]:
        """The command line that runs ``module`` on ``files``."""
        accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
        if self.config_file is not None:
            accelerate += ["--config_file", str(self.config_file)]
        else:
            accelerate += ["--num_machines", "1", "--num_processes", str(self.processes)]
            accelerate += ["--mixed_precision", "no", "--dynamo_backend", "no"]
            # `--cpu --num_processes 2` would silently run one process.
            accelerate += ["--multi_gpu"] if self.processes > 1 else []
        return [*accelerate, "-m", module, *map(str, files)]

    def environment(self) -> dict[str, str]:
        """The environment of one launch: quiet, own threads, no trace of an enclosing launch."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(SCRUBBED)}
        own = {
            **QUIET,
            "OMP_NUM_THREADS": str(self.threads),
            # Spinning threads starve the other trials of a shared machine.
            "OMP_WAIT_POLICY": "PASSIVE",
            SUPERVISOR_VARIABLE: supervisor_token(),
        }
        if self.devices is not None:
            own["CUDA_VISIBLE_DEVICES"] = self.devices
        return {**kept, **own}

    def start(self, module: str, files: Sequence[Path], log_file: Path) -> subprocess.Popen[bytes]:
        """Starts ``module`` as the leader of a new process group, with its output in a file."""
        with log_file.open("ab") as log:
            return subprocess.Popen(
                self.command(module, files),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, module: str, files: Sequence[Path], log_file: Path) -> int:
        """Runs ``module`` to its end and returns its exit code; the group never outlives this."""
        process = self.start(module, files, log_file)
        try:
            return process.wait()
        finally:
            _end_group(process)


@dataclass
class Supervisor:
    """Runs specs through one launcher.

    Attributes:
        launcher: how to launch.
        on_event: called with every event of every trial, from the thread that waits.
        on_result: called with every result, as soon as it is there.
        cancel: set it to end what is running; ``run`` then raises ``Cancelled``.
    """

    launcher: Launcher = Launcher()
    on_event: OnEvent | None = None
    on_result: OnResult | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    def run(self, spec: TrialSpec) -> TrialResult:
        """Runs one trial to its end; never raises for what happens inside the trial."""
        return self.run_all([spec])[0]

    def run_all(self, specs: Sequence[TrialSpec]) -> list[TrialResult]:
        """Runs trials one after another in one launched process, which spares its start-up.

        A trial that takes the process down gets a failed result; the rest are launched anew.

        Trials that have a result already are not run again.

        Raises:
            Cancelled: when ``cancel`` was set.
            SettingsError: when a folder holds another trial than the spec's.
        """
        for spec in specs:
            _claim_folder(spec)
            if _result_file(spec).exists():
                self._report(spec)
        while waiting := [spec for spec in specs if not _result_file(spec).exists()]:
            if self.cancel.is_set():
                raise Cancelled(waiting[0].trial_id)
            self._launch(waiting)
        return [read_record(_result_file(spec), TrialResult) for spec in specs]

    def _launch(self, specs: list[TrialSpec]) -> None:
        log_file = Path(specs[0].folder) / "log.txt"
        spec_files = [Path(spec.folder) / "spec.json" for spec in specs]
        # An earlier launch into the same file says nothing about how this one ends.
        start = log_file.stat().st_size if log_file.exists() else 0
        process = self.launcher.start("trials.run", spec_files, log_file)
        try:
            self._watch(process, specs, partial(log_tail, log_file, start))
        finally:
            _end_group(process)

    def _watch(
        self, process: subprocess.Popen[bytes], specs: list[TrialSpec], tail: Callable[[], str]
    ) -> None:
        """Returns when all have results or the process is gone and the culprit has one."""
        for spec in specs:
            progress = _Progress(spec, self.on_event)
            while not _result_file(spec).exists():
                if self.cancel.is_set():
                    raise Cancelled(spec.trial_id)
                exited = process.poll()
                progress.read()
                problem = progress.overdue()
                if exited is not None and not _result_file(spec).exists():
                    problem = _describe_exit(exited, tail())
                if problem:
                    _end_group(process)
                    _write_failure(spec, problem, progress.seconds, tail())
                    self._report(spec)
                    return
                time.sleep(POLL_SECONDS)
            progress.read()
            self._report(spec)

    def _report(self, spec: TrialSpec) -> None:
        if self.on_result:
            self.on_result(spec, read_record(_result_file(spec), TrialResult))


def _claim_folder(spec: TrialSpec) -> None:
    """Writes the spec, unless another trial's lies there; limits may differ from an earlier try."""
    file = Path(spec.folder) / "spec.json"
    if file.exists() and read_record(file, TrialSpec).identity() != spec.identity():
        raise SettingsError(
            f"{spec.folder} holds a trial with other settings; choose another run folder, "
            "or repeat the command with the settings of the first time"
        )
    if not _result_file(spec).exists():
        # Here too, and not only in the trial: the events are followed from now on.
        clear_leftovers(file.parent)
        write_json(file, spec)


class _Progress:
    """Follows the events of one trial and knows when it is overdue."""

    def __init__(self, spec: TrialSpec, on_event: OnEvent | None):
        self._spec, self._on_event = spec, on_event
        self._file = Path(spec.folder) / "events.jsonl"
        self._offset = 0
        self._start = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def read(self) -> None:
        events, self._offset = read_new_events(self._file, self._offset)
        if events:
            self._last = time.monotonic()
        for event in events:
            if self._on_event:
                self._on_event(self._spec, event)

    def overdue(self) -> tuple[FailureKind, str] | None:
        limits = self._spec.limits
        silent = time.monotonic() - self._last
        if silent > limits.silent_seconds:
            return "timed_out", f"no event for {silent:.0f} s"
        if limits.wall_seconds and self.seconds > limits.wall_seconds + WALL_GRACE_SECONDS:
            return "timed_out", f"still running {WALL_GRACE_SECONDS:.0f} s after its limit"
        return None


def _result_file(spec: TrialSpec) -> Path:
    return Path(spec.folder) / "result.json"


def _describe_exit(code: int, tail: str) -> tuple[FailureKind, str]:
    tail = tail.lower()
    if "out of memory" in tail or "memoryerror" in tail:
        return "out_of_memory", f"the process ended with code {code} for want of memory"
    if code < 0:
        return "crashed", f"the process was killed by {signal.Signals(-code).name}"
    return "crashed", f"the process ended with code {code} and left no result"


def _write_failure(
    spec: TrialSpec, problem: tuple[FailureKind, str], seconds: float, tail: str
) -> None:
    kind, message = problem
    result = TrialResult(
        trial_id=spec.trial_id,
        state="failed",
        fraction=0.0,
        cost=Cost(seconds=seconds),
        failure=Failure(kind=kind, message=message, log_tail=tail),
        provenance=provenance(spec),
    )
    write_json(_result_file(spec), result)


def log_tail(file: Path, start: int = 0, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log from byte ``start`` on; empty without a log."""
    if not file.exists():
        return ""
    text = file.read_bytes()[start:].decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the group and all descendants: SIGTERM, a moment of grace, SIGKILL.

    The group alone is not enough: workers of a distributed launch have sessions of their own.
    """
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        deadline = time.monotonic() + TERMINATE_GRACE_SECONDS
        while alive := _group_alive(process) or any(map(_runs, family)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if not alive:
            break
    process.wait()


def _group_alive(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reaps the leader, which would otherwise count as alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
