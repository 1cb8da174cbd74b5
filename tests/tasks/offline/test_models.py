"""The offline models of a run: of its history, described by its table of features, kept once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tasks.history.rows import read_history
from tasks.inputs.spaces import load_space
from tasks.offline.features import keys_of, write_features
from tasks.offline.models import OfflineTraining
from tests.histories import bundled_files
from tests.trials.helpers import gone
from trials.io.errors import AutoPipeError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    return tmp_path


def train(files, space, features=None):
    with OfflineTraining(files, space, features) as training:
        return training.models()


@pytest.mark.slow
def test_the_table_describes_the_history_that_the_models_learn_from(home):
    space, files = load_space("sft_grpo"), bundled_files()[:3]
    pairs = keys_of(read_history(files)).drop_duplicates()
    told = np.arange(len(pairs), dtype=float)
    table = home / "features.csv"
    write_features(pairs.assign(only_here=told), table)

    plain = train(files, space)
    described = train(files, space, table)
    seen = [
        {c for c in models.cost.schema.columns if c.startswith("meta.")}
        for models in (plain, described)
    ]
    assert "meta.probe_loss" in seen[0]
    assert seen[1] <= {"meta.only_here"}
    assert "meta.only_here" in described.ranker.schema.columns
    # Kept apart, and read again instead of trained again.
    kept = sorted((home / ".cache" / "autopipe" / "offline").iterdir())
    assert len(kept) == 2
    train(files, space, table)
    assert sorted((home / ".cache" / "autopipe" / "offline").iterdir()) == kept
    missing = train(files, space, home / "none.csv")
    assert missing.cost.schema == plain.cost.schema


def test_without_a_history_there_are_no_models(home):
    assert train([], load_space("sft_grpo")) is None


def test_training_ends_with_the_run_that_wants_it(home):
    space, files = load_space("sft_grpo"), bundled_files()[:3]
    with OfflineTraining(files, space) as training:
        assert training.models(wait_seconds=0.0) is None
        process = training._process
        assert process is not None
        assert process.poll() is None
    assert process.poll() is not None
    assert not list((home / ".cache" / "autopipe" / "offline").iterdir())


@pytest.mark.slow
def test_what_cannot_be_trained_on_is_said_with_what_to_do(home, tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no parquet")
    with (
        pytest.raises(AutoPipeError, match=r"(?s)--no-use-history.*parquet"),
        OfflineTraining([broken], load_space("sft_grpo")) as training,
    ):
        training.models()


WAITING = """
import sys
from pathlib import Path
from tasks.history.rows import history_files
from tasks.offline.models import OfflineTraining
from tasks.inputs.spaces import load_space
from tasks.config.paths import BUNDLED_HISTORY

with OfflineTraining(history_files(BUNDLED_HISTORY), load_space("sft_grpo")) as training:
    print("child", training._process.pid, flush=True)
    training.models()
"""


@pytest.mark.slow
def test_an_interrupt_is_answered_at_once_while_models_are_trained(home):
    """CatBoost and BoTorch do not look at signals; the process that waits for them does."""
    waiting = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert waiting.stdout is not None
    child = int(waiting.stdout.readline().split()[1])
    time.sleep(8)  # it is at work by now
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    assert gone(child, within=2)
    waiting.wait(timeout=30)  # to leave the interpreter takes a while on a busy machine
    waiting.stdout.close()
