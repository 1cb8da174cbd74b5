from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from tasks import paths
from trials.arguments import Execution, grpo_arguments, sft_arguments
from trials.hyperparameters import Hyperparameters
from trials.records import Schedule


@given(
    per_device=st.integers(1, 64),
    processes=st.integers(1, 8),
    micro=st.none() | st.integers(1, 64),
)
def test_the_batch_of_a_step_is_the_one_asked_for(
    per_device: int, processes: int, micro: int | None
) -> None:
    batch = per_device * processes
    execution = Execution(seed=0, processes=processes, on_cpu=True, bf16=False)
    found = sft_arguments(
        Hyperparameters(sft_batch_size=batch), Schedule(micro_batch_size=micro), execution
    )
    size, steps = found["per_device_train_batch_size"], found["gradient_accumulation_steps"]
    assert size * steps * processes == batch
    # An odd batch cannot be halved; every other one is brought below the limit.
    assert micro is None or size <= micro or size % 2


@given(share=st.floats(0, 1), total=st.integers(2, 500))
def test_the_stages_share_the_steps_of_the_schedule(share: float, total: int) -> None:
    h = Hyperparameters(sft_share=share, sft_warmup=0.1, rl_warmup=0.2)
    execution = Execution(seed=0, processes=1, on_cpu=True, bf16=False)
    sft = sft_arguments(h, Schedule(total_steps=total), execution)
    rl = grpo_arguments(h, Schedule(total_steps=total), execution)
    assert sft["max_steps"] + rl["max_steps"] == total
    assert sft["warmup_steps"] == round(0.1 * sft["max_steps"])
    assert rl["warmup_steps"] == round(0.2 * rl["max_steps"])


def test_the_arguments_are_known_without_loading_anything_heavy() -> None:
    code = (
        "import sys, trials.arguments; print({'torch', 'trl', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
