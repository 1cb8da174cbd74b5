"""docs/settings.md is what the code says."""

from __future__ import annotations

from flows.cli.settings_page import page
from tasks.config.options import table_of
from tasks.config.paths import ROOT
from tasks.config.settings import TuneSettings


def test_the_page_of_settings_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == page(), "run `make settings-page`"


def test_it_names_every_setting_of_a_run_with_its_option() -> None:
    lines = page().splitlines()
    for row in table_of(TuneSettings):
        flag = f"`{row.flag}`" if row.flag else ""
        assert any(line.startswith(f"| {flag} | `{row.path}` |") for line in lines), row.path
        assert row.meaning
