"""A large text stays whole, unless code asks for its preview."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.journal.large_text import LargeText, preview_of, text_of, with_previews

LARGE = LargeText("begins", Path("/nowhere"), 20_000_000, 10_000_000, "text/plain")


def test_value_is_read_as_full_text_or_as_a_preview() -> None:
    assert text_of(LARGE) is LARGE
    assert preview_of(LARGE) == "begins"
    assert text_of("text") == preview_of("text") == "text"
    assert text_of(3) == preview_of(3) == "3"


@pytest.mark.parametrize("read", [text_of, preview_of])
def test_text_of_a_structure_shows_previews_and_no_path(read: Any) -> None:
    assert read({"words": [LARGE, 1]}) == "{'words': ['begins', 1]}"


def test_large_texts_in_a_value_are_replaced_in_a_copy() -> None:
    value: Any = {"a": [LARGE, {"b": LARGE}], "c": None}
    assert with_previews(value) == {"a": ["begins", {"b": "begins"}], "c": None}
    assert with_previews(value, lambda text: f"{text.left_out}")["a"][0] == "9999994"
    assert value["a"][0] is deepcopy(value)["a"][0] is LARGE


@pytest.mark.parametrize(
    "misuse",
    [
        pytest.param(len, id="length"),
        pytest.param(json.dumps, id="json"),
        pytest.param("".join, id="join"),
        pytest.param(lambda text: text + "", id="append"),
        pytest.param(lambda text: text[:3], id="slice"),
    ],
)
def test_preview_is_not_used_as_the_full_text_by_accident(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        misuse(LARGE)
