"""Memory of a trial: what it took, what there is, and the least that it will need.

Nothing heavy is imported here before it is used, so that a supervisor can ask too.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trials.spec.arguments import Execution, per_device_batches, weights_dtype
from trials.spec.hyperparameters import Hyperparameters
from trials.spec.kinds import Stage
from trials.spec.plan import StagePlan
from trials.spec.records import Schedule

FLOAT32, BFLOAT16 = 4, 2  # bytes
# TRL projects hidden states to the vocabulary in tiles, never all logits at once.
LOGITS_TILE_TOKENS = 4_096
LOGITS_TILE_VOCABULARY = 32_768
LINUX_PROCESS = Path("/proc/self")


class TooLargeForMemory(MemoryError):
    """A trial was refused because it cannot fit; says what it needs and which fields to lower."""


# What was taken


def reset_peak_memory() -> None:
    """Starts ``peak_memory_bytes`` anew, for the next of the trials that share a process.

    Memory of the last trial that lies free in the heap is given back to the system first, or it
    would count for the next one. On a CPU this works on Linux alone; elsewhere the peak stays that
    of the process's whole life.
    """
    if _cuda() is not None:
        _cuda().reset_peak_memory_stats()
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc; other C libraries have none
    with suppress(OSError):
        (LINUX_PROCESS / "clear_refs").write_text("5")  # resets VmHWM, see proc(5)


def peak_memory_bytes() -> int:
    """Peak memory of this process: allocated on the GPU if there is one, else resident."""
    if _cuda() is not None:
        return int(_cuda().max_memory_allocated())
    with suppress(OSError):
        for line in (LINUX_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# What there is


def available_memory_bytes() -> int:
    """Memory that this process can still take: of its GPU if there is one, else of the machine."""
    if _cuda() is None:
        return available_ram_bytes()
    free, _ = _cuda().mem_get_info()
    # What PyTorch keeps for later is as good as free.
    return int(free + _cuda().memory_reserved() - _cuda().memory_allocated())


def available_ram_bytes(root: Path = Path("/")) -> int:
    """Main memory to be had without swapping, within the limit of a container or job.

    ``root`` is where ``proc`` and ``sys`` are mounted.
    """
    limits = list(_cgroup_available(root))
    return max(0, min([int(psutil.virtual_memory().available), *limits]))


def oom_kills(root: Path = Path("/")) -> int:
    """Processes of this control group that the kernel killed for want of memory so far."""
    files = {"2": "memory.events", "1": "memory.oom_control"}
    groups = _cgroups(root)
    return sum(_statistic(group / files[version], "oom_kill") for version, group in groups)


def _cgroup_available(root: Path) -> Iterator[int]:
    """Limit less use of this process's control groups and of all above them, versions 1 and 2."""
    files = {
        "2": ("memory.max", "memory.current", "inactive_file"),
        "1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for version, group in _cgroups(root):
        limit_file, use_file, cache_key = files[version]
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):
                limit = int((folder / limit_file).read_text())  # "max" is no limit
                use = int((folder / use_file).read_text())
                # File cache counts as used, but is given up when memory is wanted.
                yield limit - use + _statistic(folder / "memory.stat", cache_key)
            if folder.name in ("cgroup", "memory"):
                break


def _cgroups(root: Path) -> Iterator[tuple[str, Path]]:
    """Version and folder of the memory groups of this process."""
    mount = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield "2", mount / path.lstrip("/")
        elif "memory" in controllers.split(","):
            yield "1", mount / "memory" / path.lstrip("/")


def _statistic(file: Path, key: str) -> int:
    """One number of a file of a control group, which holds a name and a number a line."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


def _cuda() -> Any:
    """``torch.cuda`` where there is a device, else None."""
    import torch

    return torch.cuda if torch.cuda.is_available() else None


# What a trial needs


@dataclass(frozen=True)
class MemoryEstimate:
    """The least memory that a trial needs on each device, at the peak of its largest stage; bytes.

    Attributes:
        stage: the stage that needs most.
        weights: of the model.
        gradients: of what is trained, in float32.
        optimizer: AdamW's two moments of what is trained, in float32.
        reference: the second model of DPO, and of RL with a KL term, when all weights are trained.
        logits_and_activations: what the forward pass of a micro batch keeps for the backward pass.
    """

    stage: Stage
    weights: int
    gradients: int
    optimizer: int
    reference: int
    logits_and_activations: int

    @property
    def total(self) -> int:
        """Activations are given up while gradients are made, so only the larger of them counts."""
        kept = self.weights + self.optimizer + self.reference
        return kept + max(self.gradients, self.logits_and_activations)

    def describe(self) -> str:
        """One line for each part, and one for the total."""
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "reference model": self.reference,
            "gradients": self.gradients,
            "logits and activations (in turn with gradients)": self.logits_and_activations,
            f"at least, in the {self.stage} stage": self.total,
        }
        return "\n".join(f"{_readable(size):>10}  {name}" for name, size in parts.items())


def estimate_memory(
    config: Any,
    parameters: int,
    h: Hyperparameters,
    plan: StagePlan,
    schedule: Schedule,
    execution: Execution,
    *,
    longest_row: int | None = None,
    sharded: bool = False,
) -> MemoryEstimate:
    """A lower bound of what a trial needs: what it counts is there all at once.

    Not counted are buffers of kernels, the cache of generation, fragments, and the program itself.
    In RL a completion of full length and no prompt is counted: models that are still to learn when
    to end do go on to the limit.

    Args:
        config: of the model, as transformers has it.
        parameters: of the model.
        longest_row: tokens of the longest training row, to which its batch is padded; without it
            the schedule's ``max_length`` is taken, which may be far more.
        sharded: weights, gradients and optimizer are split over the processes (FSDP, DeepSpeed).
    """
    shape = _Shape.of(config, parameters)
    share = execution.processes if sharded else 1
    lora = h.adapter == "lora"
    weight_bytes = BFLOAT16 if weights_dtype(lora, execution.bf16) == "bfloat16" else FLOAT32
    trained = shape.lora_parameters(h) if lora else parameters
    weights = parameters * weight_bytes + lora * trained * FLOAT32
    longest = longest_row or schedule.max_length or 0
    row = (schedule.max_length or longest) if h.sft_packing else longest
    completion = h.rl_max_completion_tokens or schedule.max_completion_tokens or 0
    length: dict[Stage, int] = {"sft": row, "dpo": 2 * row, "rl": completion}  # a pair: two rows
    batch = per_device_batches(h, plan, schedule, execution)
    has_reference = {"sft": False, "dpo": not lora, "rl": not lora and h.rl_beta > 0}
    estimates = [
        MemoryEstimate(
            stage=stage,
            weights=weights // share,
            gradients=trained * FLOAT32 // share,
            optimizer=2 * trained * FLOAT32 // share,
            reference=has_reference[stage] * weights // share,
            logits_and_activations=shape.forward_bytes(
                batch[stage] * length[stage], execution, logits=stage == "rl"
            ),
        )
        for stage in plan.stages
    ]
    return max(estimates, key=lambda estimate: estimate.total)


def check_fits(estimate: MemoryEstimate, limit_bytes: int) -> None:
    """Refuses a trial that surely needs more than the limit.

    Raises:
        TooLargeForMemory: with the parts of the estimate, the limit, and the fields to lower.
    """
    if estimate.total <= limit_bytes:
        return
    raise TooLargeForMemory(
        f"the trial needs at least {_readable(estimate.total)} of memory on each device, and may "
        f"use {_readable(limit_bytes)}:\n{estimate.describe()}\n"
        f"  expected: a trial that fits; lower {estimate.stage}_batch_size or set --micro-batch, "
        "train an adapter (adapter: lora), set gradient_checkpointing, choose a smaller model, or "
        "run fewer trials at the same time (--parallel)"
    )


@dataclass(frozen=True)
class _Shape:
    """Dimensions of a transformer that decide its memory; sizes are values per token."""

    layers: int
    hidden: int
    queries: int
    keys: int  # and as many values
    intermediate: int
    vocabulary: int
    mlp_matrices: int  # 3 where the MLP is gated, else 2

    @classmethod
    def of(cls, config: Any, parameters: int) -> _Shape:
        text = config.get_text_config()
        hidden, layers, heads = text.hidden_size, text.num_hidden_layers, text.num_attention_heads
        head = getattr(text, "head_dim", None) or hidden // heads
        keys = (getattr(text, "num_key_value_heads", None) or heads) * head
        intermediate = getattr(text, "intermediate_size", None) or 4 * hidden
        if experts := getattr(text, "moe_intermediate_size", None):
            intermediate = experts * (getattr(text, "num_experts_per_tok", None) or 1)
        tied = getattr(text, "tie_word_embeddings", True)
        rest = parameters - text.vocab_size * hidden * (1 if tied else 2)
        rest -= layers * 2 * hidden * (heads * head + keys)
        # No configuration says whether the MLP is gated; the number of parameters does. Biases and
        # embedded positions are in the rest too, so it is rounded down.
        matrices = min(3, max(2, rest // (layers * hidden * intermediate)))
        return cls(layers, hidden, heads * head, keys, intermediate, text.vocab_size, matrices)

    def lora_parameters(self, h: Hyperparameters) -> int:
        """rank x (inputs + outputs) of every linear layer that gets an adapter."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        mlp = self.mlp_matrices * (self.hidden + self.intermediate)
        sizes = {"attention": attention, "mlp": mlp, "all-linear": attention + mlp}
        return self.layers * (h.lora_rank or 16) * sizes[h.lora_targets or "all-linear"]

    def forward_bytes(self, tokens: int, execution: Execution, logits: bool) -> int:
        """Kept by the forward pass of a batch, after Korthikanti et al. (2022, arXiv 2205.05198).

        For each token and layer: input and output of two norms (4 hidden), queries, keys, values
        and the output of attention, and input and output of each activation and product of the MLP.
        The attention matrix is not there with fused kernels. With gradient checkpointing only the
        input of each layer stays, and the values of one layer at a time. Padding counts as tokens;
        with ``logits`` all of them are scored on a GPU too, where prompts are left out.
        """
        size = BFLOAT16 if execution.bf16 else FLOAT32
        layer = 4 * self.hidden + 2 * self.queries + 2 * self.keys
        layer += 2 * (self.mlp_matrices - 1) * self.intermediate
        # Tiles of logits are there after the last layer, and again when its backward pass begins.
        tile = min(tokens, LOGITS_TILE_TOKENS) * min(self.vocabulary, LOGITS_TILE_VOCABULARY)
        tile *= logits or execution.on_cpu
        if execution.compute.gradient_checkpointing:
            return size * (self.layers * tokens * self.hidden + max(tokens * layer, tile))
        return size * (self.layers * tokens * layer + tile)


def _readable(size: int) -> str:
    value, unit = (size / 2**30, "GiB") if size >= 2**30 else (size / 2**20, "MiB")
    return f"{value:.1f} {unit}"
