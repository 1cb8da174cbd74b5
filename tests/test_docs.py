"""The documentation as a whole: every link leads somewhere, every page can be reached."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for folder in (ROOT, *(ROOT / name for name in ("docs", "data", "benchmarks", "deployments")))
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    if not {"built", "offline", "results"} & set(path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> set[tuple[Path, str]]:
    """Target file and anchor of every relative link of a page."""
    found = (target for target in LINK.findall(page.read_text()) if "://" not in target)
    parts = (target.partition("#") for target in found)
    return {((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts}


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as code hosts name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target.name}{'#' * bool(anchor)}{anchor}"
        for page in PAGES
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert len(PAGES) > 20
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md", ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            waiting += [target for target, _ in links(page) if target.exists()]
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= seen


def purpose(package: Path) -> str:
    """The first paragraph of a package's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def test_the_page_on_the_architecture_describes_every_package_by_its_docstring() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = [
        path.parent
        for root in ("flows", "tasks", "surrogates", "trials")
        for path in (ROOT / root).glob("*/__init__.py")
    ]
    rows = {each: f"| `{each.name}/` | {purpose(each)} |" for each in packages}
    assert len(packages) > 30
    assert not [str(each.relative_to(ROOT)) for each, row in rows.items() if row not in page]
