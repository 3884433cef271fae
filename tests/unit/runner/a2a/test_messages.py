"""What the parts of a remote agent's messages and artifacts say in words."""

from typing import Any

import pytest

from agentrun.runner.a2a import messages
from agentrun.runner.a2a.messages import render, render_made

Raw = dict[str, Any]

DATA: Raw = {"data": {"n": 1}}
BYTES = "x" * 9000


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([{"text": "al"}, {"text": "l "}], "all ", id="texts-as-they-were-said"),
        pytest.param([DATA], '{\n  "n": 1\n}', id="data"),
        pytest.param([{"text": "so:"}, DATA], 'so:\n\n{\n  "n": 1\n}', id="text-and-data"),
        pytest.param([{"url": "http://f", "filename": "f"}], "Attached file: f", id="file"),
        pytest.param([{"url": "http://f"}], "Attached file: http://f", id="file-without-a-name"),
        pytest.param([{"raw": BYTES, "filename": "f"}], "Attached file bytes: f", id="bytes"),
        pytest.param([{"raw": BYTES}], "Attached file bytes", id="bytes-without-a-name"),
        pytest.param([{"url": f"data:,{BYTES}"}], "Attached file bytes", id="bytes-as-a-url"),
        pytest.param([{"metadata": {}}], "", id="of-no-kind"),
    ],
)
def test_parts_are_rendered_as_text(parts: list[Raw], said: str) -> None:
    assert render(parts) == said


def test_the_text_of_data_parts_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "DATA_BOUND", 100)
    large = {"data": [[[["x"]]]] * 1000}
    said = render([{"text": "so:"}, large, large, {"url": "http://f"}])
    assert said.startswith("so:\n\n[\n")
    assert said.endswith("…")
    assert len(said) < 110


def test_rendered_data_is_its_text_or_its_json() -> None:
    assert render_made([{"text": "so"}, DATA]) == "so"
    assert render_made([DATA, {"raw": BYTES}]) == '{\n  "n": 1\n}\n\nAttached file bytes'
