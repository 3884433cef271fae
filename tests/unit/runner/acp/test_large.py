"""Messages that are too large to be held in memory: read in parts, and nothing of them is lost."""

import io
import json
import tracemalloc
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agentrun.runner.acp.large import (
    MAX_REST,
    MAX_VALUES,
    TooMuchStructureError,
    read_large,
    remove,
)
from agentrun.runner.journal.large_text import LargeText
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.untrusted_json import MAX_DEPTH, is_deep, read_json

ODD = 'a "quoted" \\ back\\\\slash\n\t\x1b[31m ü € 😀 \u2028 \x00 </x> \\u0041 '


async def read(
    raw: bytes, folder: Path, *values: str, wanted: int | None = None
) -> tuple[Any, list[Path]]:
    files = (folder / f"part-{number}" for number in count())
    message, made = await read_large(io.BytesIO(raw), Redactor(values), lambda: next(files))
    assert wanted is None or len(made) == wanted
    return message, made


def update(**fields: Any) -> dict[str, Any]:
    return {"method": "session/update", "params": {"update": fields}}


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def whole(text: Any) -> str:
    assert isinstance(text, LargeText)
    content = text.path.read_text(encoding="utf-8")
    assert (len(content), len(content.encode())) == (text.length, text.size)
    assert content.startswith(text.preview)
    return content


@pytest.mark.parametrize("is_ascii", [True, False])
async def test_long_strings_are_written_to_files_as_decoded_text(
    tmp_path: Path, is_ascii: bool
) -> None:
    long = ODD * 5000
    content = [{"text": long}, {"text": "short"}, {"more": ["x" * 100_000, long[::-1]]}]
    raw = json.dumps(update(content=content, status="completed"), ensure_ascii=is_ascii).encode()
    message, _ = await read(raw, tmp_path, wanted=3)
    found = message["params"]["update"]
    assert found["status"] == "completed"
    assert whole(found["content"][0]["text"]) == long.replace("\x00", "\ufffd")
    assert found["content"][1] == {"text": "short"}
    assert whole(found["content"][2]["more"][0]) == "x" * 100_000
    assert whole(found["content"][2]["more"][1]) == long[::-1].replace("\x00", "\ufffd")


@pytest.mark.parametrize("shift", range(0, 14))
async def test_escapes_are_decoded_wherever_a_chunk_ends(tmp_path: Path, shift: int) -> None:
    # The file is read in pieces of 64 KiB: each shift cuts the escapes somewhere else.
    text = "x" * shift + "\\\\\U0001f600\\" * 20_000
    raw = json.dumps(update(text=text)).encode()
    message, _ = await read(raw, tmp_path, wanted=1)
    assert whole(message["params"]["update"]["text"]) == text


async def test_lone_surrogates_and_invalid_utf8_are_replaced(tmp_path: Path) -> None:
    inside = b"\xff\xfe \\ud800 \\ud800\\u0041 \\udc00 \x01" * 10_000
    message, _ = await read(b'{"text":"' + inside + b'"}', tmp_path, wanted=1)
    expected = "\ufffd\ufffd \ufffd \ufffdA \ufffd \x01" * 10_000
    assert whole(message["text"]) == expected


async def test_no_secret_is_in_a_file_or_its_preview(tmp_path: Path) -> None:
    secret = 'p@ss"wörd/+ 12'
    # At the end of the beginning, at the end of a piece, and everywhere else.
    text = "".join(f"{'y' * (n % 97)}{secret}" for n in range(5000))
    raw = json.dumps(update(text=text)).encode()
    message, _ = await read(raw, tmp_path, secret)
    stored = message["params"]["update"]["text"]
    assert whole(stored) == text.replace(secret, "[redacted]")
    assert "p@ss" not in stored.preview


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([[number] for number in range(MAX_VALUES)], id="many-values"),
        pytest.param({str(n): "v" * 200 for n in range(2000)}, id="many-bytes"),
    ],
)
async def test_too_large_structure_is_written_to_a_file_as_json(tmp_path: Path, value: Any) -> None:
    raw = json.dumps(update(rawOutput=value, title="x" * 40_000, status="failed")).encode()
    message, _ = await read(raw, tmp_path, wanted=2)
    found = message["params"]["update"]
    assert json.loads(whole(found["rawOutput"])) == value
    assert found["rawOutput"].media_type == "application/json"
    assert whole(found["title"]) == "x" * 40_000
    assert found["status"] == "failed"


async def test_too_deeply_nested_structure_is_written_to_a_file_as_json(tmp_path: Path) -> None:
    deep = "[" * 100_000 + '"]"' + "]" * 100_000
    raw = f'{{"params":{{"update":{{"rawInput":{deep},"kind":"{"k" * 50_000}"}}}}}}'.encode()
    message, _ = await read(raw, tmp_path, wanted=2)
    assert whole(message["params"]["update"]["rawInput"]) == deep
    assert whole(message["params"]["update"]["kind"]) == "k" * 50_000


async def test_secret_in_a_structure_is_found_however_it_is_escaped(tmp_path: Path) -> None:
    secret = "pass<word>/&é12"
    escaped = "pass\\u003cword\\u003e\\/\\u0026é12"
    raw = update(rawOutput="@")
    text = json.dumps(raw).replace('"@"', "[" + f'"{escaped} \\\\u003c \\" ",' * 20_000 + "0]")
    message, _ = await read(text.encode(), tmp_path, secret, wanted=1)
    value = json.loads(whole(message["params"]["update"]["rawOutput"]))
    assert value[0] == '[redacted] \\u003c " '


async def test_message_consisting_of_structure_only_is_refused(tmp_path: Path) -> None:
    raw = json.dumps({str(n): n for n in range(MAX_REST // 8)}).encode()
    with pytest.raises(TooMuchStructureError):
        await read(raw, tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"a":"' + b"x" * 300_000, id="no-end"),
        pytest.param(b'{"a":"' + b"\\u12" * 100_000 + b'"}', id="no-escape"),
        pytest.param(b'{"a":"' + b"x" * 300_000 + b'",}', id="comma"),
    ],
)
async def test_invalid_json_is_an_error_and_leaves_no_files(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        await read(raw, tmp_path)
    assert left_in(tmp_path) == []


async def test_placeholders_cannot_be_forged(tmp_path: Path) -> None:
    raw = json.dumps({"a": "x" * 40_000, "b": "0" * 32 + ":0"}).encode()
    message, files = await read(raw, tmp_path, wanted=1)
    assert message["b"] == "0" * 32 + ":0"
    remove([*files, *files])
    assert left_in(tmp_path) == []


@pytest.mark.slow
async def test_sixteen_megabytes_use_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "line"
    line = json.dumps(update(text="ünï\n" * 3_000_000, more=[[]] * 10_000)).encode()
    path.write_bytes(line)
    del line
    files = (tmp_path / f"part-{number}" for number in count())
    tracemalloc.start()
    with path.open("rb") as file:
        await read_large(file, Redactor(["s3cr3t-value"] * 10), lambda: next(files))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b'"\xff\\ud800\\u0000\x00\x1b"', "\ufffd\ufffd\ufffd\ufffd\x1b", id="no-text"),
        pytest.param(b'"\\ud83d\\ude00 \xe2\x80\xa8"', "\U0001f600 \u2028", id="text"),
        pytest.param(b"[NaN,-Infinity,1e999]", ["NaN", "-Infinity", "1e999"], id="no-numbers"),
        pytest.param(b"[1.5,-3,1e3]", [1.5, -3, 1000.0], id="numbers"),
        pytest.param(b"9" * 5000, "9" * 5000, id="huge-number"),
    ],
)
def test_read_messages_can_be_written_again(raw: bytes, value: Any) -> None:
    assert read_json(raw) == value
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"[" * 101, True, id="open"),
        pytest.param(b"[]" * 500, False, id="wide"),
        pytest.param(b'["' + b"[" * 500 + b'\\"["]', False, id="text"),
        pytest.param(b'{"a":' * MAX_DEPTH + b"1", False, id="just-right"),
    ],
)
def test_depth_is_checked_before_parsing(raw: bytes, expected: bool) -> None:
    assert is_deep(raw) is expected
