"""The door of the library: names on first use, whatever lies around."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autopipe

ROOT = Path(__file__).resolve().parents[1]
SHADOWS = ("flows", "tasks", "trials", "surrogates")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, as a user starts it: that folder is on the import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def shadow(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was run')\n")


def test_the_door_hands_on_what_it_names() -> None:
    from flows.python_api import tune
    from surrogates.search import Search
    from trials.errors import AutoPipeError

    assert (autopipe.tune, autopipe.Search) == (tune, Search)
    assert autopipe.AutoPipeError is AutoPipeError
    assert set(autopipe.__all__) <= set(dir(autopipe))
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = autopipe.nothing_of_ours


def test_importing_the_door_costs_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, autopipe; "
        "print({'tasks', 'flows', 'torch', 'prefect', 'pydantic'} & set(sys.modules))"
    )
    assert python(tmp_path, "-c", code).stdout.strip() == "set()"


@pytest.mark.slow
def test_a_users_modules_of_the_same_names_shadow_nothing(tmp_path: Path) -> None:
    shadow(tmp_path, *SHADOWS)
    (tmp_path / "mine.py").write_text(
        "from autopipe import AutoPipeError, tune\n"
        "try:\n    tune('no-such-dataset', budget='nonsense')\n"
        "except AutoPipeError as error:\n    print(error)\n"
    )
    done = python(tmp_path, "mine.py")
    assert "budget 'nonsense' is not understood" in done.stdout, done.stderr


def test_a_users_module_that_was_imported_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    done = python(tmp_path, "-c", "import tasks\nfrom autopipe import tune")
    assert "import autopipe first" in done.stderr
    assert str(tmp_path / "tasks.py") in done.stderr


def test_the_command_as_a_module_imports_nothing_of_the_current_folder(tmp_path: Path) -> None:
    shadow(tmp_path, *SHADOWS, "random", "yaml", "typer")
    done = python(tmp_path, "-m", "autopipe", "tune", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--budget" in done.stdout


def test_settings_that_do_not_exist_are_named() -> None:
    with pytest.raises(autopipe.AutoPipeError, match="sede: Extra inputs are not permitted"):
        autopipe.tune("gcd", sede=1)
