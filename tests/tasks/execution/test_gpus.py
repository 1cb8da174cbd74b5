"""GPUs that two training jobs never share."""

from __future__ import annotations

import threading
import time

import pytest

from tasks.config.settings import TuneSettings
from tasks.execution.gpus import (
    measuring_launcher,
    reserve_gpus,
    reserve_launchers,
    trial_launchers,
)
from trials.io.errors import SettingsError


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "test-a,test-b,test-c")
    monkeypatch.setattr("tasks.execution.gpus.POLL_SECONDS", 0.1)


def test_two_trials_never_have_a_gpu_in_common() -> None:
    with reserve_gpus(2) as first, reserve_gpus(1) as second:
        assert not set(first) & set(second)
        with pytest.raises(
            SettingsError, match="1 of the GPUs test-a, test-b, test-c are needed, 0 are free"
        ):
            reserve_gpus(1).__enter__()
    with reserve_gpus(1, 3) as again:
        assert again == ["test-a", "test-b", "test-c"]


def test_without_gpus_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserve_gpus(0) as none:
        assert none == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with reserve_gpus(4) as none:
        assert none == []


def test_others_are_waited_for_and_it_is_said() -> None:
    told, waited = [], []

    def wait() -> None:
        with reserve_gpus(2, wait_seconds=60, on_wait=told.append) as gpus:
            waited.extend(gpus)

    with reserve_gpus(2):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        assert not waited
        with reserve_gpus(1):  # who waits holds none of them
            pass
    thread.join(timeout=20)
    assert waited == ["test-a", "test-b"]
    assert told == ["waiting: 2 of the GPUs test-a, test-b, test-c are needed, 1 are free"]


def test_more_than_there_are_is_not_waited_for() -> None:
    with pytest.raises(SettingsError, match="4 of the GPUs"), reserve_gpus(4, wait_seconds=60):
        pass
    with pytest.raises(SettingsError, match="largest that works"), reserve_launchers(4, 1):
        pass


def test_the_free_ones_are_shared_out() -> None:
    with reserve_launchers(1, 1) as [launcher]:
        assert launcher.devices == "test-a,test-b,test-c"
        with pytest.raises(SettingsError):
            reserve_gpus(1).__enter__()
    with reserve_gpus(1), reserve_launchers(2, 1) as launchers:
        assert [each.devices for each in launchers] == ["test-b", "test-c"]
    with reserve_launchers(2, 1, gpus_per_trial=1), reserve_gpus(1) as left:
        assert left == ["test-c"]


def test_models_are_measured_on_one() -> None:
    with measuring_launcher(1, print) as launcher:
        assert launcher.devices == "test-a"
        assert launcher.processes == 1


def test_a_leader_takes_none_for_trials_elsewhere() -> None:
    settings = {"dataset": "d", "model": "m", "parallel": 3}
    with trial_launchers(TuneSettings(**settings, trials_on="workers"), print) as none:
        assert none == []
        with reserve_gpus(3):
            pass
    with trial_launchers(TuneSettings(**settings), print) as launchers:
        assert [each.devices for each in launchers] == ["test-a", "test-b", "test-c"]
