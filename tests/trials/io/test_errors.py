from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tasks.inputs.catalog import CatalogError
from trials.io import errors
from trials.io.errors import AutoPipeError, DatasetError, RewardFailed

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2-of-the-environment"


def drawn() -> dict[str, str]:
    """Each error of the tree at the top of the module, with the one that it is a kind of."""
    parents, above = {}, {-1: "AutoPipeError"}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│ ]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4
            above[depth] = found[2]
            parents[found[2]] = above[depth - 1]
    return parents


def defined() -> dict[str, str]:
    """The same as the code has it."""
    bases = {
        node.name: [ast.unparse(base) for base in node.bases]
        for top in ("trials", "tasks", "flows", "surrogates", "benchmarks")
        for file in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    found = {"AutoPipeError": ""}
    while more := {
        name: base
        for name, those in bases.items()
        for base in those
        if base in found and name not in found
    }:
        found |= more
    del found["AutoPipeError"]
    return found


def test_the_tree_of_errors_is_as_it_is_drawn() -> None:
    assert drawn() == defined()


@pytest.mark.parametrize(
    "make",
    [
        AutoPipeError,
        CatalogError,
        RewardFailed,
        lambda text: DatasetError(text, path="a.jsonl"),
    ],
)
def test_no_error_for_people_says_a_secret(
    make: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_PASSWORD", SECRET)
    assert SECRET not in str(make(f"cannot reach it with {SECRET}"))
