"""How well the rule of learning rates predicts recipes that it has not seen.

    python -m benchmarks.recipes            # the tables of docs/spaces.md
    python -m benchmarks.recipes --family   # the tiny family's own rows of data/recipes.yaml

Left out are whole authors, as one author's recipes resemble each other, or all models of about one
size (half a decade), of whatever author. Errors are factors, 10^|log10 rate - log10 prediction|;
means are over authors within a stage and adapter, or over sizes within them, of logarithms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from surrogates.space.rate_rule import CELLS, CHOSEN, FORMS, REACH, Form, fit_rule, rounded
from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.rows import history_files, read_history
from tasks.inputs.auto_space import TOO_HIGH, covers
from tasks.inputs.catalog import load_catalog
from tasks.inputs.recipes import FAMILY, Recipe, load_recipes, reference_rule, shown
from tasks.inputs.sizes import ModelSize
from tasks.inputs.spaces import load_space

SIZES = (102_720, 1_009_024, 3_902_208, 135e6, 494e6, 1e9, 7e9, 70e9)
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BEST_SHARE = 0.2  # of a dataset's trials, whose median rate is taken as the best


@dataclass(frozen=True)
class LeftOut:
    """A recipe, and log10(its rate / the rate that a rule without its group predicts)."""

    recipe: Recipe
    residual: float


def author(recipe: Recipe) -> Hashable:
    """What is left out at once: all recipes of an author."""
    return recipe.author


def size(recipe: Recipe) -> Hashable:
    """What is left out at once: all models within half a decade."""
    return round(2 * recipe.log_size)


def leave_out(
    recipes: Sequence[Recipe], group: Callable[[Recipe], Hashable], form: Form = CHOSEN
) -> list[LeftOut]:
    """Residuals of each group under the rule that the others give."""
    groups = defaultdict(list)
    for recipe in recipes:
        groups[group(recipe)].append(recipe)
    found = []
    for key, own in groups.items():
        rule = fit_rule([recipe for recipe in recipes if group(recipe) != key], form)
        for recipe in own:
            expected = rule.rate(recipe.stage, recipe.adapter, recipe.parameters)
            found.append(LeftOut(recipe, float(np.log10(recipe.learning_rate / expected))))
    return found


def errors(left_out: Iterable[LeftOut], group: Callable[[Recipe], Hashable]) -> pd.Series:
    """Mean absolute residual, in decades, of each group within each stage and adapter."""
    rows = [(group(each.recipe), *each.recipe.cell, abs(each.residual)) for each in left_out]
    table = pd.DataFrame(rows, columns=["group", "stage", "adapter", "error"])
    return table.groupby(["group", "stage", "adapter"])["error"].mean()


def measured_optima(history: pd.DataFrame) -> pd.DataFrame:
    """The best learning rate of each bundled model, adapter and stage, by the history.

    For each dataset the median rate of the best fifth of its trials, and of those the median.
    """
    done = history[(history["state"] == "completed") & (history["fraction"] >= 1)]
    done = done.reset_index(drop=True)
    found = []
    for (model, adapter), trials in done.groupby(["model_id", "config.adapter"]):
        for stage in ("sft", "rl"):
            logs = np.log10(trials[f"config.{stage}_learning_rate"].astype(float))
            best = [
                logs[own.nlargest(max(1, round(BEST_SHARE * len(own))), "score").index].median()
                for _, own in trials.groupby("dataset_id")
            ]
            found.append((model, adapter, stage, rounded(10 ** float(np.median(best)))))
    return pd.DataFrame(found, columns=["model", "adapter", "stage", "learning_rate"])


def print_forms(recipes: Sequence[Recipe]) -> None:
    """Errors of each form of the rule, and how they differ from those of the constants."""
    print("| rule | numbers | author left out | against constants | size left out |")
    print("|---|---:|---:|---:|---:|")
    base: pd.Series | None = None
    for form in FORMS:
        by_author = errors(leave_out(recipes, author, form), author)
        by_size = errors(leave_out(recipes, size, form), size)
        base = by_author if base is None else base
        change = by_author - base
        slopes = len({round(each, 9) for each in fit_rule(recipes, form).slopes.values()} - {0.0})
        print(
            f"| {form} | {len(CELLS) + slopes} | x{10 ** by_author.mean():.2f} | "
            f"{change.mean():+.3f} ± {change.std() / len(change) ** 0.5:.3f} | "
            f"x{10 ** by_size.mean():.2f} |"
        )


def print_cells(recipes: Sequence[Recipe]) -> None:
    """Errors of the chosen rule for each stage and adapter."""
    by_author = errors(leave_out(recipes, author), author)
    by_size = errors(leave_out(recipes, size), size)
    rule = reference_rule()
    print("\n| stage | adapter | recipes | authors | at 1 B | author left out | size left out |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for cell in CELLS:
        own, other = (each.xs(cell, level=("stage", "adapter")) for each in (by_author, by_size))
        print(
            f"| {cell[0]} | {cell[1]} | {rule.counts[cell]} | {len(own)} | "
            f"{shown(10 ** rule.levels[cell])} | x{10 ** own.mean():.2f} | "
            f"x{10 ** other.mean():.2f} |"
        )
    family = by_author.xs(FAMILY, level="group")
    print(
        "\nThe tiny family left out: "
        + ", ".join(
            f"{stage} {adapter} x{10**value:.1f}" for (stage, adapter), value in family.items()
        )
    )


def print_scatter(recipes: Sequence[Recipe]) -> None:
    """Quantiles of rate / rule over authors left out, each author with the same weight."""
    found = leave_out(recipes, author)
    residuals = np.array([each.residual for each in found])
    keys = pd.Series([(each.recipe.author, each.recipe.cell) for each in found])
    weights = (1 / keys.map(keys.value_counts())).to_numpy()
    order = np.argsort(residuals)
    share = np.cumsum(weights[order]) / weights.sum()
    print("\n| quantile | " + " | ".join(f"{q:.0%}" for q in QUANTILES) + " |")
    print("|---|" + "---:|" * len(QUANTILES))
    values = [10 ** residuals[order][np.searchsorted(share, q)] for q in QUANTILES]
    print("| rate / rule | " + " | ".join(f"x{value:.2g}" for value in values) + " |")
    for factor, kept in ((REACH, np.abs(residuals)), (TOO_HIGH, residuals)):
        within = weights[kept <= np.log10(factor)].sum() / weights.sum()
        side = "within" if factor == REACH else "not above"
        print(f"{within:.1%} of the weight is {side} x{factor:g}")


def print_rates() -> None:
    """What the rule says for models of some sizes, and where the family's space serves."""
    rule = reference_rule()
    print("\n| | " + " | ".join(f"{stage} {adapter}" for stage, adapter in CELLS) + " |")
    print("|---|" + "---:|" * len(CELLS))
    for parameters in map(int, SIZES):
        rates = (shown(rule.rate(*cell, parameters)) for cell in CELLS)
        print(f"| {ModelSize(parameters)} | " + " | ".join(rates) + " |")
    space = load_space("sft_grpo")
    served = [size for size in np.geomspace(1e4, 1e9, 501) if covers(rule, space, int(size))]
    print(
        f"\nslope {rule.slopes[CELLS[0]]:+.3f}; sft_grpo serves up to {ModelSize(int(served[-1]))}"
    )


def main(
    family: Annotated[bool, typer.Option(help="The tiny family's measured optima.")] = False,
) -> None:
    """Print how well the rule predicts recipes left out."""
    if family:
        models = load_catalog().models
        for row in measured_optima(read_history(history_files(BUNDLED_HISTORY))).itertuples():
            print(
                f"  - {{model: {row.model}, parameters: {models[row.model].parameters}, "
                f"adapter: {row.adapter}, stage: {row.stage}, "
                f"learning_rate: {shown(row.learning_rate)},"
            )
            print(f'     kind: sweep_best, author: {FAMILY}, source: "data/history"}}')
        return
    recipes = load_recipes()
    print_forms(recipes)
    print_cells(recipes)
    print_scatter(recipes)
    print_rates()


if __name__ == "__main__":
    typer.run(main)
