"""What the bridge makes of a message."""

from typing import Any

import pytest

from agentrun.cli.bridge.messages import JsonRpcMessage, MalformedError, headers_of, parse

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param(b"hello", -32700, id="no-json"),
        pytest.param(b"[]", -32600, id="batch"),
        pytest.param(b'{"id": 1}', -32600, id="not-jsonrpc"),
        pytest.param(b'{"jsonrpc": "2.0", "id": {}}', -32600, id="odd-id"),
    ],
)
def test_invalid_input_is_answered_with_an_error(line: bytes, code: int) -> None:
    with pytest.raises(MalformedError) as error:
        parse(line)
    assert error.value.reply["id"] is None
    assert error.value.reply["error"]["code"] == code


@pytest.mark.parametrize(
    ("message", "negotiated", "expected"),
    [
        pytest.param(
            {"method": "tools/list"}, "2025-06-18", {"mcp-protocol-version": "2025-06-18"}, id="old"
        ),
        pytest.param({"method": "initialize"}, "2025-06-18", {}, id="initialize-negotiates-anew"),
        pytest.param({"method": "tools/list"}, "", {}, id="nothing-negotiated"),
        pytest.param(
            {"method": "tools/call", "params": {"name": "spawn_run", "_meta": META}},
            "2025-06-18",
            {
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/call",
                "mcp-name": "spawn_run",
            },
            id="new-says-it-itself",
        ),
        pytest.param(
            {"method": "resources/read", "params": {"uri": "run:ä", "_meta": META}},
            "",
            {
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "resources/read",
                "mcp-name": "=?base64?cnVuOsOk?=",
            },
            id="names-that-are-no-ascii",
        ),
    ],
)
def test_headers_contain_what_the_transport_requires(
    message: dict[str, Any], negotiated: str, expected: dict[str, str]
) -> None:
    headers = headers_of(JsonRpcMessage({"jsonrpc": "2.0", "id": 1, **message}), negotiated)
    assert headers["accept"] == "application/json, text/event-stream"
    assert {key: value for key, value in headers.items() if key.startswith("mcp-")} == expected


def test_a_cancellation_names_the_cancelled_request() -> None:
    given_up = JsonRpcMessage({"method": "notifications/cancelled", "params": {"requestId": 0}})
    assert given_up.cancels == 0
    progress = JsonRpcMessage({"method": "notifications/progress", "params": {"requestId": 0}})
    assert progress.cancels is None
