"""How trials share this machine."""

from __future__ import annotations

import os
from pathlib import Path

from trials.launch import Launcher


def launcher_for(
    parallel: int, threads: int | None = None, accelerate_config: str | None = None
) -> Launcher:
    """A launcher whose trials have their share of the cores, so that they do not fight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = max(1, (cores or 1) // parallel)
    return Launcher(
        config_file=Path(accelerate_config).resolve() if accelerate_config else None,
        threads=threads or share,
    )
