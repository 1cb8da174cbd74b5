"""Starts programs through ``accelerate launch``, and ends them with all that they started.

Each launch leads its own process group, and ending it ends the whole group: a SIGTERM to
``accelerate launch`` alone would leave the training process running.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from trials.io.imports import child_environment
from trials.io.redact import redacted
from trials.io.watchdog import SUPERVISOR_VARIABLE, supervisor_token
from trials.spec.records import LOG_TAIL_LINES

TERMINATE_GRACE_SECONDS = 3.0

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
# Left over from an enclosing launch (of Accelerate, torchrun or MPI) or set for another program,
# these would steer the trial; an empty thread count crashes the launcher.
SCRUBBED = (
    *("ACCELERATE_", "MASTER_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("GROUP_", "ROLE_", "NODE_RANK", "TORCHELASTIC_", "OMP_NUM_THREADS"),
    *("FSDP_", "DEEPSPEED_", "MEGATRON_", "PARALLELISM_CONFIG_", "FORK_LAUNCHED"),
    *("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MV2_COMM_WORLD_", "MPI_LOCAL", "CCL_WORLD_SIZE"),
)
OWN_CONFIG = Path(__file__).with_name("accelerate.yaml")


@dataclass(frozen=True)
class Launcher:
    """Settings with which trials are launched.

    Attributes:
        config_file: an Accelerate config passed through (FSDP, DeepSpeed), or None for
            AutoPipe's own: one process on whatever device is found. The user's default one, of
            ``accelerate config``, is never read.
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
        accelerate += ["--config_file", str(self.config_file or OWN_CONFIG)]
        if self.config_file is None:
            accelerate += ["--num_machines", "1", "--num_processes", str(self.processes)]
            accelerate += ["--mixed_precision", "no", "--dynamo_backend", "no"]
            # `--cpu --num_processes 2` would silently run one process. And trials side by side
            # must not all meet at the same port.
            several = ["--multi_gpu", "--main_process_port", "0"]
            accelerate += several if self.processes > 1 else []
        return [*accelerate, "-m", module, *map(str, files)]

    def environment(self) -> dict[str, str]:
        """The environment of one launch: quiet, own code and threads, no trace of another one."""
        kept = {k: v for k, v in child_environment().items() if not k.startswith(SCRUBBED)}
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


def log_tail(file: Path, start: int = 0) -> str:
    """The last lines of a log from byte ``start`` on, without secrets; empty without a log."""
    if not file.exists():
        return ""
    text = file.read_bytes()[start:].decode("utf-8", errors="replace")
    return redacted("\n".join(text.splitlines()[-LOG_TAIL_LINES:]))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the group and all descendants: SIGTERM, a moment of grace, SIGKILL.

    The group alone is not enough: workers of a distributed launch have sessions of their own.
    """
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
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
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 0)
        return True
    return False


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
