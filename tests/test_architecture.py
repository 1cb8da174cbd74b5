"""The rules of the code, checked on the source of the packages."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# flows -> tasks -> {surrogates, trials}: what each may import of the others.
ALLOWED = {
    "autopipe": {"flows", "tasks", "surrogates", "trials"},  # the door: hands names on
    "flows": {"tasks", "surrogates", "trials"},
    "tasks": {"surrogates", "trials"},
    "surrogates": set(),
    "trials": set(),
    "benchmarks": {"flows", "tasks", "surrogates", "trials"},  # and nothing imports them
}
ORCHESTRATION = {"prefect", "prefect_dask", "dvc", "great_expectations"}
HEAVY = {"torch", "transformers", "trl", "catboost", "botorch", "gpytorch"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib"}
UNSAFE_KEYWORDS = {"trust_remote_code", "allow_pickle"}
UNSAFE_CALLS = {"torch.load", "pd.read_pickle", "pandas.read_pickle"}
MAX_LINES, MAX_FUNCTION_LINES = 400, 60
PACKAGE_FILES = range(3, 13)  # without __init__.py
# Files outside of any package.
STANDALONE = {
    "flows": {
        *("tune", "trial", "collect", "offline", "promote", "recurring", "reproduce"),
        "python_api",
    },
    "tasks": set(),
    "surrogates": set(),
    "trials": set(),
}

FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every absolute import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


def imported_on_load(tree: ast.Module) -> set[str]:
    """Top-level names that importing the module imports: no functions, no type-only blocks."""
    names: set[str] = set()
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names.update(name for _, name in imported(node))
        pending.extend(ast.iter_child_nodes(node))
    return names


def forbidden_imports(package: str, source: str) -> list[str]:
    """Imports that go against the arrows between the folders, as `line: name`."""
    forbidden = set(ALLOWED) - ALLOWED[package] - {package}
    if package in {"surrogates", "trials"}:
        forbidden |= ORCHESTRATION
    return [f"{line}: {name}" for line, name in imported(ast.parse(source)) if name in forbidden]


def unsafe_loading(source: str) -> list[str]:
    """Ways to run code hidden in a file or a model repository, as `line: what`."""
    tree = ast.parse(source)
    found = [f"{line}: import {name}" for line, name in imported(tree) if name in UNSAFE_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if (called := ast.unparse(node.func)) in UNSAFE_CALLS:
            found.append(f"{node.lineno}: {called}")
        # Left to itself, transformers asks on standard input whether to run a model's own code.
        asks = re.fullmatch(r"Auto\w+\.from_(?:pretrained|config)", called)
        if asks and "trust_remote_code" not in {keyword.arg for keyword in node.keywords}:
            found.append(f"{node.lineno}: {called} without trust_remote_code=False")
        found += [
            f"{node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"
            for keyword in node.keywords
            if keyword.arg in UNSAFE_KEYWORDS
            and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        ]
    return found


def offences(check_of_file: dict[Path, list[str]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{finding}"
        for path, findings in check_of_file.items()
        for finding in findings
    ]


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_the_checks_below_see_every_package() -> None:
    assert {package_of(path) for path in FILES} == set(ALLOWED)
    assert len(FILES) > 10


def packages(top: str) -> list[str]:
    """The packages within one of the three large folders."""
    return sorted(path.parent.name for path in (ROOT / top).glob("*/__init__.py"))


def may_import(top: str, package: str) -> set[str]:
    """The other packages of its folder that a package's docstring lets it import."""
    said = ast.get_docstring(ast.parse((ROOT / top / package / "__init__.py").read_text("utf-8")))
    assert said is not None
    ending = r"^(?:May import (.+)|Imports no other package of `\w+`)\.\Z"
    found = re.search(ending, said, re.MULTILINE | re.DOTALL)
    assert found, f"{top}/{package}/__init__.py does not end with what it may import"
    return set(re.findall(r"`(\w+)`", found[1] or ""))


def imported_packages(top: str, source: str) -> set[str]:
    """Packages within a large folder that a file imports from."""
    names = {
        name
        for node in ast.walk(ast.parse(source))
        for name in (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    return {name.split(".")[1] for name in names if name.startswith(f"{top}.")} & set(packages(top))


@pytest.mark.parametrize("top", STANDALONE)
def test_packages_import_what_their_docstrings_say_and_never_in_circles(top: str) -> None:
    allowed = {name: may_import(top, name) for name in packages(top)}
    assert len(allowed) > 2
    for name, may in allowed.items():
        used = set()
        for path in (ROOT / top / name).rglob("*.py"):
            used |= imported_packages(top, path.read_text("utf-8")) - {name}
        assert used == may, f"{top}/{name} imports {sorted(used)} and may {sorted(may)}"
    TopologicalSorter(allowed).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from trials.io.errors import ModelError", {"io"}),
        ("def f():\n    from trials import data, spec", {"data", "spec"}),
        ("import trials.models.loading", {"models"}),
        ("import trials, surrogates.core.base", set()),
    ],
)
def test_imports_of_packages_are_seen(source: str, found: set[str]) -> None:
    assert imported_packages("trials", source) == found


@pytest.mark.parametrize("top", STANDALONE)
def test_every_file_is_in_a_package(top: str) -> None:
    alone = {path.stem for path in (ROOT / top).glob("*.py")} - {"__init__"}
    assert alone == STANDALONE[top]


@pytest.mark.parametrize("top", [*STANDALONE, "benchmarks"])
def test_packages_are_of_a_size_to_be_read(top: str) -> None:
    folders = [path.parent for path in (ROOT / top).rglob("*/__init__.py")]
    assert len(folders) > 2
    counts = {folder.name: len([*folder.glob("*.py")]) - 1 for folder in folders}
    assert {name: count for name, count in counts.items() if count not in PACKAGE_FILES} == {}


@pytest.mark.parametrize("top", STANDALONE)
def test_tests_stand_where_the_code_does(top: str) -> None:
    tested = {path.parent.name for path in (ROOT / "tests" / top).glob("*/test_*.py")}
    assert tested <= set(packages(top))
    if not STANDALONE[top]:
        assert [*(ROOT / "tests" / top).glob("test_*.py")] == []


def test_imports_follow_the_arrows() -> None:
    found = {path: forbidden_imports(package_of(path), path.read_text("utf-8")) for path in FILES}
    assert offences(found) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("surrogates", "import trials.spec.records"),
        ("surrogates", "def f():\n    from tasks import history"),
        ("trials", "from surrogates.online.search import Search"),
        ("trials", "import prefect"),
        ("surrogates", "from dvc.repo import Repo"),
        ("tasks", "from flows import cli"),
        ("flows", "import autopipe"),
    ],
)
def test_an_import_against_the_arrows_is_found(package: str, source: str) -> None:
    assert len(forbidden_imports(package, source)) == 1


def child_without_own_imports(source: str) -> bool:
    """Whether Python is started in an environment that may import a user's ``tasks.py``."""
    safe = ("child_environment(", "Launcher().environment()")
    return "sys.executable" in source and not any(each in source for each in safe)


def test_every_program_of_ours_imports_our_packages() -> None:
    found = [str(path) for path in FILES if child_without_own_imports(path.read_text("utf-8"))]
    assert found == []


def test_a_program_that_imports_what_lies_around_is_found() -> None:
    assert child_without_own_imports(
        "Popen([sys.executable, '-m', 'trials.training.run'], env=os.environ)"
    )


def test_no_code_is_loaded_from_data() -> None:
    found = {path: unsafe_loading(path.read_text("utf-8")) for path in FILES}
    assert offences(found) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=flag)",
        "AutoTokenizer.from_pretrained(name)",
        "AutoModelForCausalLM.from_config(config)",
    ],
)
def test_unsafe_loading_is_found(source: str) -> None:
    assert len(unsafe_loading(source)) == 1


def test_files_stay_short_enough_to_hold_one_thing() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {str(path): count for path, count in lines.items() if count > MAX_LINES} == {}


def test_functions_stay_short_enough_to_be_seen_at_once() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": length
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := body_lines(node)) > MAX_FUNCTION_LINES
    }
    assert long == {}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code of a function, without its parameters and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_the_command_imports_nothing_heavy_itself() -> None:
    source = (ROOT / "flows" / "cli" / "app.py").read_text("utf-8")
    assert imported_on_load(ast.parse(source)) & HEAVY == set()


def test_only_imports_that_run_on_load_count_as_such() -> None:
    source = (
        "import json\nif TYPE_CHECKING:\n    import torch\n"
        "try:\n    import trl\nexcept ImportError:\n    pass\n"
        "def f():\n    import catboost\n"
    )
    assert imported_on_load(ast.parse(source)) == {"json", "trl"}


def test_the_command_starts_without_loading_anything_heavy() -> None:
    code = f"import sys, flows.cli.app; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {_normalised(re.split(r"[<>=!~\[ ]", line)[0]) for line in requirements}
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        name: str(path.relative_to(ROOT))
        for path in FILES
        for _, name in imported(ast.parse(path.read_text("utf-8")))
        if name not in sys.stdlib_module_names
        and name not in ALLOWED
        and not declared & {_normalised(found) for found in distributions.get(name, [name])}
    }
    assert undeclared == {}


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_printed_beside_the_lines_of_libraries_goes_to_the_terminals_own_console() -> None:
    """Another console writes to what ``friendly_errors`` keeps away from the terminal."""
    sources = {path: path.read_text("utf-8") for path in FILES}
    found = [
        str(path.relative_to(ROOT))
        for path, source in sources.items()
        if re.search(r"(?<!Own)(?<!def )\bConsole\(", source)
        and "friendly_errors" in source
        and path.name != "terminal.py"
    ]
    assert found == []
