"""Provenance of a trial: seed, package versions, git commit, data."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trials.spec.records import Provenance, TrialSpec

PACKAGES = ("autopipe", "torch", "transformers", "trl", "peft", "accelerate")


def provenance(spec: TrialSpec) -> Provenance:
    """Seed, versions, commit and data of a trial that runs here and now."""
    return Provenance(
        seed=spec.seed,
        versions=versions(PACKAGES),
        git_commit=git_commit(),
        dataset_fingerprint=spec.dataset_fingerprint,
    )


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the installed ones among ``packages``, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@lru_cache
def git_commit() -> str | None:
    """Commit of this project's checkout, or None outside of one.

    An installed AutoPipe may lie inside of a user's repository, whose commit says nothing of it.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        return None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
