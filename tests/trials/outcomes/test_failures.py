"""What an exception or an exit says about why a trial failed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from trials.io.errors import (
    DatasetError,
    HyperparameterError,
    ModelError,
    RewardError,
    RewardFailed,
)
from trials.outcomes.failures import exit_failure, failure_kind, failure_of
from trials.spec.kinds import FATAL_KINDS, TRANSIENT_KINDS, FailureKind
from trials.spec.records import LOG_TAIL_LINES, Failure
from trials.spec.stopping import Diverged


def raised_from(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as chained:
        return chained


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Diverged("sft", 3, {"loss": float("nan")}), "diverged"),
        (
            RuntimeError("probability tensor contains either `inf`, `nan` or element < 0"),
            "diverged",
        ),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (DatasetError("bad", path="x.jsonl"), "bad_data"),
        (HyperparameterError(["rl_beta=-1: too small"]), "bad_config"),
        (ModelError("no model"), "bad_data"),
        (RewardError("unknown reward"), "bad_data"),
        (RewardFailed("raised"), "reward_failed"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk_full"),
        (RuntimeError("NCCL error"), "crashed"),
        (RuntimeError("shapes cannot be multiplied"), "error"),
        (raised_from(RuntimeError("while saving"), OSError(errno.EDQUOT, "quota")), "disk_full"),
        (raised_from(RuntimeError("in a step"), RewardFailed("raised")), "reward_failed"),
        # A reward that runs out of memory is a reward that failed: the trial would have fitted.
        (raised_from(RewardFailed("raised"), MemoryError()), "reward_failed"),
    ],
    ids=str,
)
def test_the_kind_of_an_exception(tmp_path: Path, error: Exception, kind: str) -> None:
    assert failure_kind(error, tmp_path) == kind


# review fault 18: retried because of words in a text, whatever the error was.
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no connection between the columns"),
        KeyError("connection"),
        RuntimeError("the connection matrix is singular"),
        RuntimeError("the run timed out of luck"),
        TypeError("gloo is not a backend of this model"),
        FileNotFoundError(errno.ENOENT, "No such file", "connection.json"),
        PermissionError(errno.EACCES, "denied", "/nccl"),
        AssertionError("cuda error expected"),
    ],
    ids=repr,
)
def test_words_make_no_bad_luck(tmp_path: Path, error: Exception) -> None:
    assert failure_kind(error, tmp_path) == "error"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "reset by peer"),
        BrokenPipeError(errno.EPIPE, "broken"),
        TimeoutError("no answer"),
        OSError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ESTALE, "Stale file handle"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        torch.distributed.DistBackendError("NCCL communicator was aborted"),
        torch.distributed.DistNetworkError("the client socket has failed to connect"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("NCCL Error 2: unhandled system error"),
        RuntimeError("[/src/third_party/gloo/transport/tcp/pair.cc:534] Connection closed"),
        raised_from(RuntimeError("in a step"), ConnectionResetError("gone")),
    ],
    ids=repr,
)
def test_what_may_pass_is_told_by_its_type(tmp_path: Path, error: Exception) -> None:
    assert failure_kind(error, tmp_path) == "crashed"


def test_a_failure_holds_the_end_of_the_traceback(tmp_path: Path) -> None:
    def even(level: int) -> None:
        if level == 0:
            raise ValueError("at the bottom")
        odd(level - 1)

    def odd(level: int) -> None:
        even(level - 1)

    try:
        even(20)
    except ValueError as error:
        failure = failure_of(error, tmp_path)
    assert failure.message == "ValueError: at the bottom"
    assert failure.log_tail.endswith("ValueError: at the bottom")
    assert len(failure.log_tail.splitlines()) == LOG_TAIL_LINES


def test_a_full_disk_is_said_to_be_one_whatever_a_library_calls_it(tmp_path: Path) -> None:
    error = RuntimeError("Error while serializing: No space left on device (os error 28)")
    failure = failure_of(error, tmp_path)
    assert failure.kind == "disk_full"
    assert failure.message.startswith(f"the disk is full where {tmp_path} lies: make space there")


def test_what_is_said_to_people_is_not_preceded_by_the_name_of_a_class(tmp_path: Path) -> None:
    error = DatasetError("empty", path="rows.jsonl", line=3, expected="an answer")
    failure = failure_of(error, tmp_path)
    assert failure.kind == "bad_data"
    assert failure.message == "rows.jsonl:3: empty\n  expected: an answer"


@pytest.mark.parametrize(
    ("code", "log", "oom_killed", "kind", "message"),
    [
        (-9, "", False, "killed", "SIGKILL"),
        (-9, "", True, "out_of_memory", "SIGKILL"),
        (-11, "", True, "killed", "SIGSEGV"),
        (1, "'...' died with <Signals.SIGKILL: 9>.", False, "killed", "SIGKILL"),
        (1, "Signal 15 (SIGTERM) received by PID 12", False, "killed", "SIGTERM"),
        # review fault 16
        (-35, "", False, "killed", "SIGRTMIN+1"),
        (-64, "", False, "killed", "SIGRTMAX"),
        (-99, "", False, "killed", "signal 99"),
        (1, "'...' died with unknown signal 36.", False, "killed", "SIGRTMIN+2"),
        (1, "torch.OutOfMemoryError: CUDA out of memory.", False, "out_of_memory", "code 1"),
        (1, "OSError: [Errno 28] No space left on device", False, "disk_full", "disk is full"),
        (3, "ValueError: no", False, "crashed", "code 3"),
    ],
)
def test_the_kind_of_an_exit(
    tmp_path: Path, code: int, log: str, oom_killed: bool, kind: str, message: str
) -> None:
    found, text = exit_failure(code, log, oom_killed, tmp_path)
    assert found == kind
    assert message in text


def test_no_kind_is_both_worth_a_retry_and_the_end_of_a_run() -> None:
    assert not TRANSIENT_KINDS & FATAL_KINDS


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux, always full")
def test_a_write_that_the_system_refuses_is_a_full_disk(tmp_path: Path) -> None:
    """What the kernel itself raises; tests of endings fill a whole file system, as root."""
    with pytest.raises(OSError, match="No space left") as caught, open("/dev/full", "wb") as file:
        file.write(b"0" * 100_000)
    assert failure_kind(raised_from(RuntimeError("while saving"), caught.value), tmp_path) == (
        "disk_full"
    )


def test_secrets_stay_out_of_what_a_result_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef123456")
    said = "401 for the token hf_abcdef123456"
    failure = Failure(kind=FailureKind.ERROR, message=said, log_tail=said)
    assert "hf_abcdef123456" not in failure.model_dump_json()
    assert "401 for the token" in failure.message
