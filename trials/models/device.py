"""The kind of device that the processes of a launch train on, settled before anything asks."""

from __future__ import annotations

import torch
from accelerate import PartialState


def settle_device() -> None:
    """Tells Accelerate to use the CPU where there is no GPU.

    Left to itself it learns that when the first trainer is built: until then each of several
    processes on a CPU would take itself for the only one.
    """
    PartialState(cpu=not torch.cuda.is_available())
