"""What a trial imports before it knows its device."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.trials.helpers import ROOT


@pytest.mark.slow
def test_nothing_for_gpus_only_is_imported_at_start_up() -> None:
    """What torch imports by itself is its own affair."""
    code = """
import importlib, json, sys
import peft, torch, trl
trl.DPOTrainer, trl.GRPOTrainer, trl.SFTTrainer
of_others = set(sys.modules)  # peft imports triton where it is installed, which needs no GPU
import trials.training.run, trials.training.trainers
wanted = ("vllm", "deepspeed", "bitsandbytes", "flash_attn", "liger_kernel", "xformers",
          "triton", "pynvml", "cupy")
print(json.dumps([name for name in wanted if name in sys.modules and name not in of_others]))
print(json.dumps(torch.cuda.is_initialized()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    found, initialised = done.stdout.split("\n")[:2]
    assert json.loads(found) == []
    assert json.loads(initialised) is False
