"""One Gaussian process a past task, with a kernel that all share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from gpytorch.kernels import MaternKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.core.kernels import Kernel, distance, matern
from surrogates.history.table import read_history
from surrogates.offline.past_tables import Tables
from surrogates.offline.past_tasks import NOISE_FLOOR, PastTasks
from surrogates.space.encoding import SpaceEncoder

SPACE = ConfigurationSpace(dict.fromkeys("abcdef", (0.0, 1.0)))
ENCODER = SpaceEncoder(SPACE)


def table(tasks: int, trials: int, signal: float, seed: int = 0) -> pd.DataFrame:
    """Tasks with an optimum of their own in a and b; c to f do nothing."""
    rng = np.random.default_rng(seed)
    frames = []
    for task in range(tasks):
        configs = ENCODER.sample(trials, seed=1000 + task)
        x = ENCODER.matrix(configs)
        centre = rng.random(2)
        score = -signal * ((x[:, :2] - centre) ** 2).sum(axis=1) + 0.05 * rng.normal(size=trials)
        frame = pd.DataFrame(configs).add_prefix("config.")
        frames.append(frame.assign(dataset_id=f"d{task}", score=score))
    return pd.concat(frames, ignore_index=True)


def fitted(frame: pd.DataFrame) -> PastTasks | None:
    history = read_history(frame, ENCODER)
    assert history is not None
    return PastTasks.fit(history, ENCODER)


def test_tasks_are_predicted_where_they_were_not_tried_and_the_kernel_knows_what_matters():
    frame = table(8, 40, signal=1.0)
    tasks = fitted(frame)
    assert tasks is not None
    assert tasks.kernel.amplitudes[:2].min() > tasks.kernel.amplitudes[2:6].max()
    assert min(task.explained for task in tasks.tasks) > 0.5
    # The same tasks at other points: the truth without noise.
    rng = np.random.default_rng(0)
    cube = ENCODER.matrix(ENCODER.sample(200, seed=7))
    predicted = tasks.predict(cube)
    for row in range(8):
        truth = -((cube[:, :2] - rng.random(2)) ** 2).sum(axis=1)
        rng.normal(size=40)  # the noise that `table` drew
        assert np.corrcoef(predicted[row], truth)[0, 1] > 0.8


def test_noise_is_not_explained():
    tasks = fitted(table(8, 40, signal=0.0))
    assert tasks is not None
    assert tasks.kernel.amplitudes.sum() < 0.25
    assert np.mean([task.explained for task in tasks.tasks]) < 0.05
    assert np.abs(tasks.predict(ENCODER.matrix(ENCODER.sample(50, seed=1)))).mean() < 0.3


def test_leave_one_out_is_what_refits_without_each_trial_say():
    frame = table(3, 12, signal=1.0)
    tasks = fitted(frame)
    assert tasks is not None
    task, kernel = tasks.tasks[0], tasks.kernel
    own = frame[frame["dataset_id"] == task.name]["score"].to_numpy()
    z = (own - own.mean()) / own.std()
    covariance = kernel(task.cube, task.cube)
    noise = (kernel.noise + NOISE_FLOOR) * np.eye(12)
    errors = []
    for i in range(12):
        rest = np.arange(12) != i
        inverse = np.linalg.inv((covariance + noise)[np.ix_(rest, rest)])
        mu = inverse.sum(axis=0) @ z[rest] / inverse.sum()
        errors.append(z[i] - mu - covariance[i, rest] @ inverse @ (z[rest] - mu))
    assert task.explained == pytest.approx(1 - np.mean(np.square(errors)), abs=1e-6)


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_kernel_is_matern(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    kernel = MaternKernel(nu=2.5).double()
    kernel.lengthscale = 1.0
    with torch.no_grad():
        expected = kernel(torch.as_tensor(a), torch.as_tensor(b)).to_dense().numpy()
    np.testing.assert_allclose(matern(distance(a, b)), expected, atol=1e-6)
    np.testing.assert_allclose(np.diag(matern(distance(a, a))), 1.0, atol=1e-6)


def test_interactions_are_found_where_there_are_any():
    """Tasks that are products of two columns: no sum of main effects explains them."""
    rng = np.random.default_rng(0)
    frames = []
    for task in range(10):
        configs = ENCODER.sample(60, seed=2000 + task)
        x = ENCODER.matrix(configs)
        score = np.sin(7 * x[:, 0] + rng.uniform(0, 6)) * np.sin(7 * x[:, 1] + rng.uniform(0, 6))
        frame = pd.DataFrame(configs).add_prefix("config.")
        frames.append(
            frame.assign(dataset_id=f"d{task}", score=score).drop(
                columns=[f"config.{c}" for c in "cdef"]
            )
        )
    small = SpaceEncoder(ConfigurationSpace(dict.fromkeys("ab", (0.0, 1.0))))
    history = read_history(pd.concat(frames, ignore_index=True), small)
    tasks = PastTasks.fit(history, small)
    assert tasks is not None
    assert tasks.kernel.joint_lengthscale < 1.0
    assert np.mean([task.explained for task in tasks.tasks]) > 0.5


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
@settings(max_examples=10, deadline=None)
def test_units_of_the_score_do_not_matter(scale, shift):
    frame = table(3, 12, signal=1.0)
    moved = frame.assign(score=scale * frame["score"] + shift)
    cube = ENCODER.matrix(ENCODER.sample(16, seed=3))
    first, second = fitted(frame), fitted(moved)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.predict(cube), second.predict(cube), atol=0.05)


def test_a_known_standard_error_is_noise():
    """The same scores, said to be all luck, are believed less."""
    frame = table(6, 30, signal=1.0)
    sure, unsure = fitted(frame), fitted(frame.assign(score_se=1.0))
    assert sure is not None
    assert unsure is not None
    cube = ENCODER.matrix(ENCODER.sample(64, seed=5))
    assert unsure.predict(cube).std() < 0.5 * sure.predict(cube).std()


def test_repeats_are_averaged_and_thin_tasks_left_out():
    frame = table(3, 12, signal=1.0)
    thin = frame[frame["dataset_id"] == "d2"].head(4)
    twice = frame[frame["dataset_id"] == "d1"]
    tasks = fitted(pd.concat([frame[frame["dataset_id"] != "d2"], twice, thin]))
    assert tasks is not None
    assert [(task.name, len(task.weights)) for task in tasks.tasks] == [("d0", 12), ("d1", 12)]
    assert fitted(thin) is None
    assert fitted(frame.assign(score=1.0)) is None


def test_tables_say_what_the_kernel_says():
    """With many trials the joint term is read from a part of them."""
    rng = np.random.default_rng(0)
    kernel = Kernel(
        np.array([0.5, 0.0, 0.2, 0.3]), lengthscale=0.5, joint_lengthscale=1.0, noise=0.1
    )
    cubes = [rng.random((n, 3)) for n in (800, 30, 700)]
    weights = [rng.normal(size=len(c)) / len(c) for c in cubes]
    mean, x = np.array([0.1, -0.2, 0.0]), rng.random((100, 3))
    exact = [m + kernel(x, c) @ w for m, c, w in zip(mean, cubes, weights, strict=True)]
    said = Tables.of(kernel, mean, cubes, weights)(x)
    np.testing.assert_allclose(said, exact, atol=1e-3 * np.std(exact))


def test_a_task_far_above_zero_costs_no_likelihood():
    """Centred scores say nothing of a constant, so no effect may be lost for want of one."""
    frame = table(12, 20, signal=0.25, seed=3)
    tasks = fitted(frame)
    assert tasks is not None
    assert tasks.kernel.amplitudes[:2].min() > 0.01


def test_saving_loses_no_bit(tmp_path):
    tasks = fitted(table(3, 12, signal=1.0))
    assert tasks is not None
    tasks.save(tmp_path)
    loaded = PastTasks.load(tmp_path)
    cube = ENCODER.matrix(ENCODER.sample(9, seed=3))
    assert np.array_equal(tasks.predict(cube), loaded.predict(cube))
    assert [t.name for t in loaded.tasks] == [t.name for t in tasks.tasks]
    before = (tmp_path / "past_tasks.safetensors").read_bytes()
    loaded.save(tmp_path)
    assert (tmp_path / "past_tasks.safetensors").read_bytes() == before
