"""Sections of params.yaml: read whole, or refused with what was expected and what was found."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from tasks.config.params import load_section
from trials.io.errors import SettingsError


class Oven(BaseModel):
    model_config = ConfigDict(extra="forbid")

    heat: int = 180


def test_a_section_is_read(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("oven: {heat: 200}\nother: {}\n")
    assert load_section(Oven, "oven", file).heat == 200


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("oven: {heat: hot, hat: 3}", "heat: .*; hat: "),
        ("stove: {}", "section `oven`.*\n.*git checkout"),
        ("[]", "section `oven`.*\n.*git checkout"),
        ("oven: {", "section `oven`"),
    ],
)
def test_what_is_wrong_is_named_all_at_once(tmp_path, text, found):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=found):
        load_section(Oven, "oven", file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load_section(Oven, "oven", tmp_path / "nowhere.yaml")
