"""
The size limit of events: large fields are moved into blobs that the event refers to.

Readers poll events often and rarely read large output. So an event holds a preview in the field,
and ``artifact_refs`` states the name under which the complete value is stored.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from agentrun.runner.journal.large_text import LargeText, Text, with_previews

MAX_EVENT_BYTES = 16_384
"""The largest size of an event as JSON, its envelope included."""

_ENVELOPE_BYTES = 320
_TEXTS = (
    ("/stdout", 4000), ("/stderr", 4000), ("/output", 4000), ("/aggregated_output", 4000),
    ("/content", 2000), ("/text", 2000), ("/final_response", 2000), ("/summary", 2000),
    ("/input/content", 2000), ("/input/old_string", 2000), ("/input/new_string", 2000),
)  # fmt: skip
_STRUCTURES = ("/raw_tool_use_result", "/arguments", "/result", "/error", "/changes")
_PROTECTED = frozenset({
    "/tool", "/tool_use_id", "/exit_code", "/status", "/is_error", "/interrupted",
    "/backend_session_id", "/thread_id", "/context_id", "/task_id", "/agent_url", "/agent_name",
    "/conversation_id", "/message_id", "/artifact_refs", "/command", "/file_path",
})  # fmt: skip
# These are kept complete while other fields can be moved, but have no size limit of their own.
_LAST_RESORT = ("/command", "/file_path", "/tool")
_STRUCTURE_STRING = 2000
_STRUCTURE_BYTES = 4096
_REST_STRING = 1000
_MOST_REFS = 40
_REST_BYTES = 1024
_PREVIEW = attrgetter("preview")
_SMALL = 1000
"""Below this size no limit applies."""
_CUT = "\n...[truncated, see artifact_refs]"


@dataclass(frozen=True)
class LargeValue:
    """The complete value of a field that an event only previews."""

    name: str
    text: Text
    media_type: str


@dataclass
class _Work:
    data: dict[str, Any]
    prefix: str
    blobs: list[LargeValue] = field(default_factory=list)
    refs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def size(self) -> int:
        refs = {"artifact_refs": self.refs} if self.refs else {}
        return _json_bytes({**self.data, **refs}) + _ENVELOPE_BYTES


def sanitize(data: dict[str, Any], prefix: str) -> tuple[dict[str, Any], list[LargeValue]]:
    """
    Return ``data`` within the size limit of an event, and the blobs that it then refers to.

    The blobs' names begin with ``prefix``. Ids, states and exit codes are never changed.
    """
    stored = [pointer for pointer, value in _walk("", data) if isinstance(value, LargeText)]
    if not stored and _json_bytes(data) <= _SMALL:
        return data, []
    work = _Work(deepcopy(data), prefix)
    texts = [*_TEXTS, *((pointer, _REST_STRING) for pointer in stored)]
    for pointer, limit in texts:
        _shrink(work, pointer, limit, None)
    for pointer in _STRUCTURES:
        _shrink(work, pointer, _STRUCTURE_STRING, _STRUCTURE_BYTES)
    _shrink_largest(work)
    for pointer in _LAST_RESORT:
        if work.size() > MAX_EVENT_BYTES:
            _shrink(work, pointer, _REST_STRING, None)
    if work.size() > MAX_EVENT_BYTES:
        work = _summarized(data, prefix)
    if work.refs:
        work.data["artifact_refs"] = {**work.data.get("artifact_refs", {}), **work.refs}
    return work.data, work.blobs


def _shrink_largest(work: _Work) -> None:
    """Move the largest values out until the event is small enough, or no value is large."""
    while work.size() > MAX_EVENT_BYTES:
        largest = max(_candidates(work), default=None)
        if largest is None:
            return
        _shrink(work, largest[1], _REST_STRING, _REST_BYTES)


def _summarized(data: dict[str, Any], prefix: str) -> _Work:
    """Move out all data of an event that has too many parts for a preview of each."""
    kept = {
        key: value
        for key, value in data.items()
        if f"/{key}" in _PROTECTED and len(_compact(value)) <= _REST_STRING
    }
    work = _Work(with_previews({**kept, "artifact_summary": _summary(data)}), prefix)
    _extract(work, "/", _compact(data), "application/json")
    for pointer, value in _walk("", data):
        if isinstance(value, LargeText) and len(work.refs) < _MOST_REFS:
            _extract(work, pointer, value, value.media_type)
    return work


def _shrink(work: _Work, pointer: str, string_limit: int, structure_limit: int | None) -> None:
    holder, key = _locate(work.data, pointer)
    if holder is None or pointer in work.refs:
        return
    value = holder[key]
    if isinstance(value, LargeText):
        holder[key] = _cut(value.preview.encode(), string_limit)
        _extract(work, pointer, value, value.media_type)
    elif isinstance(value, str):
        raw = value.encode()
        if len(raw) > string_limit:
            holder[key] = _cut(raw, string_limit)
            _extract(work, pointer, value, "text/plain")
    elif isinstance(value, (dict, list)) and structure_limit is not None:
        text = _compact(value)
        if len(text.encode()) > structure_limit:
            holder[key] = {"artifact_summary": _summary(value)}
            _extract(work, pointer, text, "application/json")


def _cut(raw: bytes, limit: int) -> str:
    return raw[:limit].decode(errors="ignore") + _CUT


def _extract(work: _Work, pointer: str, text: Text, media_type: str) -> None:
    blob = next((one for one in work.blobs if one.text is text), None)
    if blob is None:
        blob = LargeValue(_name(work, pointer, media_type), text, media_type)
        work.blobs.append(blob)
    work.refs[pointer] = {
        "field_path": pointer,
        "relpath": blob.name,
        "mime": media_type,
        "encoding": "utf-8",
        **_sizes(text, media_type),
        "chunk_count": 1,
        "truncated": True,
    }


def _sizes(text: Text, media_type: str) -> dict[str, int]:
    if isinstance(text, LargeText):
        size, length = text.size, text.length
    else:
        size, length = len(text) if text.isascii() else len(text.encode()), len(text)
    is_text = media_type == "text/plain"
    return {"total_bytes": size, **({"total_chars": length} if is_text else {})}


def _name(work: _Work, pointer: str, media_type: str) -> str:
    suffix = ".txt" if media_type == "text/plain" else ".json"
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", pointer.strip("/").replace("/", "."))[:100]
    name = f"{work.prefix}/{stem.lstrip('._-') or 'data'}{suffix}"
    if any(blob.name == name for blob in work.blobs):
        return f"{name.removesuffix(suffix)}-{len(work.blobs)}{suffix}"
    return name


def _summary(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    if isinstance(value, dict):
        keys = [str(key)[:200] for key in list(value)[:8]]
        return {"original_type": "object", "key_count": len(value), "preview_keys": keys}
    preview = [item for item in value[:3] if len(_compact(item)) <= _REST_BYTES]
    return {"original_type": "array", "item_count": len(value), "preview": preview}


def _candidates(work: _Work) -> Iterator[tuple[int, str]]:
    """Yield the size and the pointer of every value that may still be moved out."""
    for pointer, value in _walk("", work.data):
        if pointer in work.refs or any(pointer.startswith(f"{ref}/") for ref in work.refs):
            continue
        if pointer in _PROTECTED:
            continue
        size = len(value.encode()) if isinstance(value, str) else _json_bytes(value)
        if size > (_REST_STRING if isinstance(value, str) else _REST_BYTES):
            yield size, pointer


def _walk(pointer: str, value: Any) -> Iterator[tuple[str, Any]]:
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, dict):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    for key, item in items:
        child = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
        if isinstance(item, (str, LargeText, dict, list)):
            yield child, item
            yield from _walk(child, item)


def _locate(data: dict[str, Any], pointer: str) -> tuple[Any, Any]:
    """Find the container and the key of the value at ``pointer``; (None, None) if there is none."""
    *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    holder: Any = data
    for part in path:
        holder = _child(holder, part)
    key: Any = int(last) if isinstance(holder, list) and last.isdecimal() else last
    return (None, None) if _child(holder, last) is None else (holder, key)


def _child(holder: Any, part: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(part)
    if isinstance(holder, list) and part.isdecimal() and int(part) < len(holder):
        return holder[int(part)]
    return None


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_PREVIEW)


def _json_bytes(value: Any) -> int:
    return len(_compact(value).encode())
