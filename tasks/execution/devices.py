"""Shares of this machine for trials that run at the same time: cores, GPUs and memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trials.io.errors import SettingsError
from trials.io.plain_yaml import read_yaml
from trials.models.memory import available_ram_bytes
from trials.process.launch import Launcher


def launchers_for(
    parallel: int,
    threads: int | None = None,
    accelerate_config: str | None = None,
    gpus_per_trial: int | None = None,
    gpus: Sequence[str] | None = None,
) -> list[Launcher]:
    """One launcher for each of ``parallel`` trials; no two share a core or a GPU.

    Args:
        threads: CPU threads of each process; None: an even share of the cores.
        accelerate_config: passed through to every launch; it then says how many processes a trial
            has, else that is one for each of its GPUs.
        gpus_per_trial: None: as many as the Accelerate config has processes on this machine, or
            an even share of all.
        gpus: names of the GPUs to use, as CUDA_VISIBLE_DEVICES takes them; None: all.

    Raises:
        SettingsError: there are too few GPUs, with the largest ``parallel`` that works; or
            settings contradict each other.
    """
    config = _AccelerateConfig.read(accelerate_config)
    gpus = config.usable(gpus)
    if gpus_per_trial and not gpus:
        raise SettingsError(
            f"gpus_per_trial={gpus_per_trial}: no GPU is visible here; leave --gpus-per-trial out, "
            "or look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    count = gpus_of_trial(accelerate_config, gpus_per_trial)
    each = (count or max(1, len(gpus) // parallel)) if gpus else 0
    if each * parallel > len(gpus):
        raise SettingsError(_too_few(parallel, each, len(gpus)))
    processes = max(1, each)
    share = core_share(parallel * (config.local or processes))
    groups = [gpus[slot * each : (slot + 1) * each] for slot in range(parallel)]
    return [
        Launcher(
            config_file=config.file,
            processes=1 if config.file else processes,
            threads=threads or share,
            # GPUs are hidden from a trial that must not use them.
            devices=",".join(group) if group or config.on_cpu else None,
        )
        for group in groups
    ]


def gpus_of_trial(accelerate_config: str | None, gpus_per_trial: int | None) -> int | None:
    """GPUs of each trial on a machine, as the settings name them; None if they leave that open.

    Raises:
        SettingsError: the two contradict each other, or the config cannot be read.
    """
    config = _AccelerateConfig.read(accelerate_config)
    if config.on_cpu:
        return 0
    if gpus_per_trial and config.local and gpus_per_trial != config.local:
        raise SettingsError(
            f"gpus_per_trial={gpus_per_trial}, but {config.file} has "
            f"num_processes for {config.local} on this machine, and each process takes one GPU: "
            "leave --gpus-per-trial out"
        )
    return gpus_per_trial or config.local


def core_share(processes: int) -> int:
    """CPU threads for each of the concurrent processes on this machine."""
    return max(1, _cores() // processes)


def default_parallel(
    accelerate_config: str | None = None,
    gpus_per_trial: int | None = None,
    gpus: Sequence[str] | None = None,
) -> int:
    """As many concurrent trials as the GPUs are enough for, one GPU each unless more are asked for.

    On a CPU two, or one if it has several processes. Arguments are those of ``launchers_for``,
    which refuses what does not fit.
    """
    try:
        config = _AccelerateConfig.read(accelerate_config)
    except SettingsError:
        return 1
    if usable := config.usable(gpus):
        return max(1, len(usable) // (gpus_per_trial or config.local or 1))
    return 2 if (config.local or 1) == 1 else 1


def trial_processes(launcher: Launcher) -> int:
    """Processes that share a trial's batch, those on other machines included."""
    if launcher.config_file is None:
        return launcher.processes
    return _AccelerateConfig.read(str(launcher.config_file)).total or 1


def remote_processes(accelerate_config: str | None, gpus_per_trial: int | None) -> int:
    """Processes that share a trial's batch on machines whose devices are not known here.

    Raises:
        SettingsError: the two contradict each other, or the config cannot be read.
    """
    count = gpus_of_trial(accelerate_config, gpus_per_trial)
    return _AccelerateConfig.read(accelerate_config).total or count or 1


def memory_share(
    parallel: int, accelerate_config: str | None = None, gpus: Sequence[str] | None = None
) -> int | None:
    """Bytes of main memory for each process of the trials; None on GPUs, which they do not share.

    Raises:
        SettingsError: the Accelerate config cannot be read.
    """
    config = _AccelerateConfig.read(accelerate_config)
    if config.usable(gpus):
        return None
    return available_ram_bytes() // (parallel * (config.local or 1))


def visible_gpus() -> list[str]:
    """Names of the GPUs that programs started from here can use.

    CUDA is not touched: initialised here, it could not be used in processes forked from this one,
    and would take memory on the first GPU.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name.strip() for name in listed.split(",")]
        # CUDA ignores everything from the first invalid name on.
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:end]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip().isdigit()]


@dataclass(frozen=True)
class _AccelerateConfig:
    """The demands of an Accelerate config; None where it does not say.

    A trial has ``local`` processes on this machine and ``total`` on all of them.
    """

    file: Path | None = None
    local: int | None = None
    total: int | None = None
    on_cpu: bool = False

    @classmethod
    def read(cls, path: str | None) -> _AccelerateConfig:
        if path is None:
            return cls()
        file = Path(path).resolve()
        try:
            content = read_yaml(file)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the Accelerate config {file} cannot be read: {error}\n"
                "  expected: a YAML file; make one with: accelerate config"
            ) from None
        content = content if isinstance(content, dict) else {}
        total, on_cpu = content.get("num_processes"), bool(content.get("use_cpu"))
        if not isinstance(total, int):
            return cls(file, on_cpu=on_cpu)
        return cls(file, max(1, total // int(content.get("num_machines") or 1)), total, on_cpu)

    def usable(self, gpus: Sequence[str] | None) -> list[str]:
        """Those of the GPUs that it may use; None stands for all visible ones."""
        if self.on_cpu:
            return []
        return visible_gpus() if gpus is None else list(gpus)


def _too_few(parallel: int, each: int, gpus: int) -> str:
    wanted = f"{parallel} trial{'s' * (parallel > 1)} at a time with {each} GPU{'s' * (each > 1)}"
    found = f"{wanted} each need {parallel * each} GPUs, and {gpus} are visible: "
    if largest := gpus // each:
        return f"{found}the largest that works is --parallel {largest}"
    return f"{found}no --parallel works; lower --gpus-per-trial or num_processes to {gpus} or less"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
