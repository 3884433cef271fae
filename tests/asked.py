"""Tasks as spawn_run takes them and as kubectl does: both follow these tables."""

from typing import Any

BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""Every white space of Unicode."""


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"parts": list(parts)}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


ACCEPTED: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "x"},
    "prompt-in-white-space": {"prompt": "\n\u3000x "},
    "prompt-of-a-zero-width-space": {"prompt": "\u200b"},
    "blank-prompt-and-message": {"prompt": " ", "input_message": message(text("x"))},
    "blank-part-and-text": {"input_message": message(text(" "), text("x"))},
    "data": {"input_message": message({"type": "data", "data": {}})},
    "file": {"input_message": message({"type": "file", "uri": "https://a.example/b"})},
}

REFUSED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "empty-prompt": {"prompt": ""},
    "line-end": {"prompt": " \n"},
    "every-white-space": {"prompt": BLANKS},
    **{f"white-space-{ord(one):x}": {"prompt": one} for one in BLANKS},
    "no-parts": {"input_message": message()},
    "blank-message": {"input_message": message(text(BLANKS))},
    "blank-parts": {"input_message": message(text(" "), text("\n"))},
    "prompt-and-blank-message": {"prompt": "x", "input_message": message(text(" "))},
    "text-without-text": {"input_message": message({"type": "text"}, text("x"))},
    "data-without-data": {"input_message": message({"type": "data"})},
    "unknown-part": {"input_message": message({"type": "sound", "text": "x"})},
    "unknown-role": {"input_message": message(text("x")) | {"role": "nobody"}},
    "token-in-the-open": {"prompt": "x", "backend_config": {"auth_token": "t"}},
    "headers-in-the-open": {"prompt": "x", "backend_config": {"headers": {"a": "b"}}},
    "repository-that-is-a-file": {"prompt": "x", "workspace": {"git": {"url": "file:///etc"}}},
    "resuming-nothing": {"prompt": "x", "session_mode": "resume"},
    "endless-deadline": {"prompt": "x", "timeouts": {"active_deadline_seconds": 0}},
    "long-model": {"prompt": "x", "model": "m" * 257},
    "long-prompt": {"prompt": "x" * 131_073},
}


def as_spec(asked: dict[str, Any]) -> dict[str, Any]:
    """Write the arguments of spawn_run as the spec of an AgentRun."""
    spec: dict[str, Any] = {"backend": "codex"}
    for name, value in asked.items():
        if name == "session_mode":
            spec["session"] = {"mode": value}
        elif name == "timeouts":
            spec["timeouts"] = {"activeDeadlineSeconds": value["active_deadline_seconds"]}
        else:
            field = {"input_message": "inputMessage", "backend_config": "backendConfig"}
            spec[field.get(name, name)] = value
    return spec
