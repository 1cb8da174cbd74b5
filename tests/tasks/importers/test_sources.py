"""Values outside a search space are counted and named."""

from __future__ import annotations

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import OrdinalHyperparameter

from tasks.importers.sources import values_outside_space
from tasks.inputs.spaces import load_space


def test_values_beyond_the_ends_are_counted_by_hyperparameter():
    space = ConfigurationSpace({"rate": (1e-4, 1e-2), "steps": (1, 8), "kind": ["a", "b"]})
    space.add(OrdinalHyperparameter("batch", [8, 16, 32]))
    rates, batches = [2e-5, 1e-4, 1e-2, 5e-5, None], [8, 12, 32, 64, float("nan")]
    rows = [
        {"config.rate": rate, "config.batch": batch, "config.steps": 3, "config.kind": "z"}
        for rate, batch in zip(rates, batches, strict=True)
    ]
    assert values_outside_space(rows, space) == [
        "batch (1 value, 64; the space has 8 to 32)",
        "rate (2 values, 2e-05 to 5e-05; the space has 0.0001 to 0.01)",
    ]


def test_what_the_bundled_space_proposes_is_inside_it():
    space = load_space("sft_grpo")
    space.seed(1)
    rows = [
        {f"config.{name}": value for name, value in dict(drawn).items()}
        for drawn in space.sample_configuration(30)
    ]
    assert values_outside_space(rows, space) == []
