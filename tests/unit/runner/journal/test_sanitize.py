"""Events stay small, and nothing of them is lost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.gateway import BLOB_NAME
from agentrun.runner.journal.large_text import LargeText, preview_of
from agentrun.runner.journal.sanitize import MAX_EVENT_BYTES, sanitize

PREFIX = "artifacts/000008-command_finished-1"


def test_small_events_do_not_change() -> None:
    data = {"command": "ls", "output": "a\nb", "exit_code": 0}
    assert sanitize(data, PREFIX) == (data, [])


@pytest.mark.parametrize(
    ("field", "limit"),
    [pytest.param("output", 4000, id="output"), pytest.param("text", 2000, id="text")],
)
def test_long_text_has_a_preview_and_a_reference_to_the_full_text(field: str, limit: int) -> None:
    data, [blob] = sanitize({field: "x" * 9000}, PREFIX)
    assert data[field].startswith("x" * limit)
    assert data[field].endswith("[truncated, see artifact_refs]")
    ref = data["artifact_refs"][f"/{field}"]
    assert (ref["relpath"], ref["total_bytes"]) == (f"{PREFIX}/{field}.txt", 9000)
    assert (blob.name, blob.text) == (ref["relpath"], "x" * 9000)


def test_preview_of_multibyte_text_is_cut_between_characters() -> None:
    data, [blob] = sanitize({"text": "ü" * 1500}, PREFIX)
    assert data["text"].startswith("ü" * 1000 + "\n")
    assert blob.text == "ü" * 1500


def test_large_structure_becomes_a_summary() -> None:
    changes = [{"path": f"file-{number}", "diff": "x" * 100} for number in range(100)]
    data, [blob] = sanitize({"changes": changes}, PREFIX)
    assert data["changes"]["artifact_summary"]["item_count"] == 100
    assert json.loads(preview_of(blob.text)) == changes


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"command": "c" * 90_000}, id="command"),
        pytest.param({f"f{n}": "y" * 1100 for n in range(60)}, id="many-fields"),
        pytest.param({"input": {"deep": {"text": "z" * 60_000}}}, id="deep"),
        pytest.param({"items": [{"text": "i" * 300} for _ in range(500)]}, id="list"),
        pytest.param({"a/b~c": "k" * 50_000}, id="odd-key"),
        pytest.param({"..%": "k" * 50_000, "..&": "k" * 50_000}, id="colliding-names"),
    ],
)
def test_no_event_is_too_large_and_blob_names_are_accepted_by_the_gateway(data: Any) -> None:
    small, blobs = sanitize(data, PREFIX)
    assert len(json.dumps(small).encode()) < MAX_EVENT_BYTES
    names = [blob.name for blob in blobs]
    assert len(set(names)) == len(names) > 0
    assert all(re.fullmatch(BLOB_NAME, name) for name in names)


def test_ids_and_states_are_never_changed() -> None:
    data = {"tool_use_id": "t" * 300, "status": "completed", "text": "x" * 50_000}
    small, _ = sanitize(data, PREFIX)
    assert (small["tool_use_id"], small["status"]) == (data["tool_use_id"], "completed")


def a_large_text(folder: Path, beginning: str, size: int) -> LargeText:
    return LargeText(beginning, folder / "whole", size, size, "text/plain")


@pytest.mark.parametrize("pointer", ["/output", "/command", "/input/deep/name", "/odd"])
def test_text_in_a_file_is_always_referred_to(tmp_path: Path, pointer: str) -> None:
    text = a_large_text(tmp_path, "begins" * 200, 20_000_000)
    data: Any = text
    for key in reversed(pointer.split("/")[1:]):
        data = {key: data}
    small, [blob] = sanitize({"tool_use_id": "t1", **data}, PREFIX)
    assert small["artifact_refs"][pointer]["total_bytes"] == 20_000_000
    assert blob.text is text
    assert len(json.dumps(small).encode()) < MAX_EVENT_BYTES
    assert "[truncated, see artifact_refs]" in json.dumps(small)


def test_text_in_a_file_is_kept_even_if_all_other_fields_become_blobs(tmp_path: Path) -> None:
    text = a_large_text(tmp_path, "begins", 20_000_000)
    _, blobs = sanitize({f"f{n}": "y" * 900 for n in range(60)} | {"text": text}, PREFIX)
    assert any(blob.text is text for blob in blobs)
