"""
A small MCP server with one tool, over stdio or HTTP.

``mcp_server.py`` serves stdio; ``mcp_server.py PORT`` serves streamable HTTP at /mcp to clients
with ``Authorization: Bearer $MCP_TOKEN`` and logs the method of every request. The tool's results
contain MCP_SIGN. Standard library only, because it also runs in images that contain nothing
else.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

TOOL = {
    "name": "stock_of",
    "description": "Say how many pieces of an article are in stock.",
    "inputSchema": {
        "type": "object",
        "properties": {"article": {"type": "string"}},
        "required": ["article"],
    },
    "annotations": {"readOnlyHint": True},
}


def answer(message: Json) -> Json | None:
    """Handle a message. Return the response, or None for a notification."""
    if "id" not in message:
        return None
    asked, given = message.get("method"), message.get("params") or {}
    result: Json
    match asked:
        case "initialize":
            result = {
                "protocolVersion": given.get("protocolVersion", "2025-06-18"),
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "stock", "version": "1"},
            }
        case "ping":
            result = {}
        case "tools/list":
            result = {"tools": [TOOL]}
        case "tools/call":
            article = (given.get("arguments") or {}).get("article", "")
            text = f"{7 * len(article)} pieces of {article}, says {os.environ.get('MCP_SIGN', '')}"
            result = {"content": [{"type": "text", "text": text}]}
        case _:
            error = {"code": -32601, "message": f"no method {asked}"}
            return {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


class Handler(BaseHTTPRequestHandler):
    """Streamable HTTP without event streams."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Handle one message."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("authorization") != f"Bearer {os.environ['MCP_TOKEN']}":
            self._reply(401)
            return
        message = json.loads(body)
        print(message.get("method"), flush=True)
        replied = answer(message)
        self._reply(200 if replied else 202, replied)

    def do_GET(self) -> None:
        """Serve /healthz. Other paths get 405, because there is no event stream."""
        self._reply(200 if self.path == "/healthz" else 405)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the request log."""

    def _reply(self, status: int, message: Json | None = None) -> None:
        body = json.dumps(message).encode() if message else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def speak() -> None:
    """Serve stdio until the end of input."""
    for line in sys.stdin:
        if replied := answer(json.loads(line)):
            print(json.dumps(replied), flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
    speak()
