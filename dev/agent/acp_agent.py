"""
A trivial ACP agent for the end-to-end tests, controlled by its prompt.

It implements the protocol directly, line by line, and needs nothing but Python, so that it starts
in milliseconds and can misbehave in every way a real agent might. The last line of the prompt that
contains two opening brackets has a JSON list of steps, each a list of a verb and its arguments.

    ["say", TEXT]             an agent message
    ["servers"]               a message with the MCP servers of the session
    ["talk", N, PAUSE]        N messages, PAUSE seconds apart, each "message I"
    ["run", COMMAND]          a tool call that runs a shell command and waits for it
    ["ask", TEXT, OPTIONS]    a permission request; OPTIONS, if given, are [ID, NAME, KIND] each
    ["recall"]                a message with the prompts of the conversation so far, as JSON
    ["detach", COMMAND]       start COMMAND in its own session; it inherits stdout
    ["sleep", SECONDS]        a pause
    ["line", BYTES]           one line of that many bytes that is not a message
    ["exit", CODE]            exit the process
    ["hang"]                  stop responding, even to a cancel
    ["fail", MESSAGE, CODE]   answer the prompt with an error
    ["stop", REASON]          end the prompt turn with that stop reason, such as refusal
    ["pace", N, RATE]         N messages, RATE a second, each "message I" and its digest
    ["large", WHERE, BYTES]   one update with a text of that size: a message or a tool's output
    ["raw", BASE64, N]        these bytes on stdout, N times
    ["err", BASE64, N]        the same on stderr
    ["deep", LEVELS]          a tool call whose input is nested that deep
    ["tools", N, BYTES]       N tool calls with BYTES of output each, in every possible disorder
    ["requests", N]           N unsupported requests, without reading the responses
    ["hear", SECONDS]         a message with a text that was steered into the prompt turn, if any

If ACP_AGENT_MEMORY names a folder below HOME, conversations are stored there and can be loaded
again. A prompt without steps executes the remaining steps of a cancelled prompt turn; if there are
none, the answer is "heard: PROMPT".

The environment variable ACP_AGENT_HANDSHAKE=hang makes the agent unresponsive from the start;
with ACP_AGENT_MCP=http it declares support for MCP servers over HTTP; with
ACP_AGENT_STEERING=yes it accepts texts during a prompt turn.
"""

import base64
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Agent:
    """The agent and its only session."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Json | None] = queue.Queue()
        self.cancelled = threading.Event()
        self.calls = 0
        self.servers: list[Json] = []
        self.hung = False
        self.is_working = False
        self.steered: queue.Queue[str] = queue.Queue()
        self.writing = threading.Lock()
        self.end: Json = {}
        folder = os.environ.get("ACP_AGENT_MEMORY")
        self.memory = Path.home() / folder / "trivial.json" if folder else None
        self.prompts: list[str] = []
        self.left: list[list[Any]] = []

    def keep(self) -> None:
        """Store the conversation for a later agent process."""
        if self.memory is not None:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            kept = {"prompts": self.prompts, "left": self.left, "calls": self.calls}
            self.memory.write_text(json.dumps(kept), encoding="utf-8")

    def load(self, params: Json) -> Json:
        """Load a stored conversation and replay it as updates, as ACP agents do."""
        if self.memory is None or not self.memory.exists():
            return {"error": {"code": -32002, "message": f"no session {params['sessionId']}"}}
        self.servers = params["mcpServers"]
        kept = json.loads(self.memory.read_text(encoding="utf-8"))
        self.prompts, self.left, self.calls = kept["prompts"], kept["left"], kept["calls"]
        for text in self.prompts:
            content = {"type": "text", "text": text}
            self.update({"sessionUpdate": "user_message_chunk", "content": content})
            self.do_say(f"said before, to {text}")
        return {"result": {}}

    def send(self, message: Json) -> None:
        with self.writing:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def update(self, update: Json) -> None:
        self.send(
            {"method": "session/update", "params": {"sessionId": "trivial", "update": update}}
        )

    def read(self) -> None:
        """Read messages during a prompt turn too, so that a cancel is received."""
        for line in sys.stdin:
            message = json.loads(line)
            if message.get("method") == "session/cancel":
                self.cancelled.set()
            elif message.get("method") == "_session/steering" and not self.hung:
                self.send({"id": message["id"], "result": self.steer(message["params"])})
            elif not self.hung:
                self.inbox.put(message)
        self.inbox.put(None)

    def steer(self, params: Json) -> Json:
        if not self.is_working:
            return {"outcome": "promptRequired", "reason": "noRunningTurn"}
        self.steered.put("\n".join(block["text"] for block in params["prompt"]))
        return {"outcome": "injected"}

    def serve(self) -> None:
        while (message := self.inbox.get()) is not None:
            if "method" in message and "id" in message:
                self.send({"id": message["id"], **self.answer(message)})

    def answer(self, message: Json) -> Json:
        match message["method"]:
            case "initialize":
                info = {"name": "trivial", "version": "1"}
                able = {
                    "mcpCapabilities": {"http": os.environ.get("ACP_AGENT_MCP") == "http"},
                    "loadSession": self.memory is not None,
                }
                result = {"protocolVersion": 1, "agentInfo": info, "agentCapabilities": able}
                if os.environ.get("ACP_AGENT_STEERING") == "yes":
                    result["_meta"] = {"steering": {"supported": True}}
                return {"result": result}
            case "session/new":
                self.servers = message["params"]["mcpServers"]
                return {"result": {"sessionId": "trivial"}}
            case "session/load":
                return self.load(message["params"])
            case "session/prompt":
                self.cancelled.clear()
                self.is_working = True
                try:
                    return self.turn(message["params"]["prompt"])
                finally:
                    self.is_working = False
            case method:
                return {"error": {"code": -32601, "message": f"no method {method}"}}

    def turn(self, prompt: list[Json]) -> Json:
        text = "\n".join(block.get("text", "") for block in prompt).strip()
        self.prompts.append(text)
        self.left = steps_of(text) or self.left or [["say", f"heard: {text}"]]
        self.end = {"result": {"stopReason": "end_turn"}}
        while self.left:
            self.keep()
            verb, *arguments = self.left[0]
            getattr(self, f"do_{verb}")(*arguments)
            if self.cancelled.is_set():
                return {"result": {"stopReason": "cancelled"}}
            self.left.pop(0)
            if "error" in self.end:
                return self.end
        self.keep()
        usage = {"inputTokens": 2, "outputTokens": 3, "totalTokens": 5}
        return {"result": {**self.end["result"], "usage": usage}}

    def do_say(self, text: str) -> None:
        content = {"type": "text", "text": text}
        self.update({"sessionUpdate": "agent_message_chunk", "content": content})

    def do_servers(self) -> None:
        self.do_say(json.dumps(self.servers))

    def do_hear(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.cancelled.is_set() and time.monotonic() < end:
            try:
                text = self.steered.get(timeout=0.05)
            except queue.Empty:
                continue
            self.do_say(f"heard: {text}")
            return

    def do_talk(self, count: int, pause: float) -> None:
        for number in range(1, count + 1):
            content = {"type": "text", "text": f"message {number}"}
            self.update(
                {
                    "sessionUpdate": "agent_message_chunk",
                    "messageId": f"m{number}",
                    "content": content,
                }
            )
            if self.cancelled.wait(pause):
                return

    def do_run(self, command: str) -> None:
        self.calls += 1
        call = f"call-{self.calls}"
        self.update(
            {
                "sessionUpdate": "tool_call",
                "toolCallId": call,
                "title": command,
                "kind": "execute",
                "status": "in_progress",
                "rawInput": {"command": command},
            }
        )
        done = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        while done.poll() is None and not self.cancelled.wait(0.02):
            pass
        if done.poll() is None:
            done.kill()
        output = done.communicate()[0]
        self.update(
            {
                "sessionUpdate": "tool_call_update",
                "toolCallId": call,
                "status": "completed" if done.returncode == 0 else "failed",
                "rawOutput": {"exit_code": done.returncode, "output": output},
            }
        )

    def do_ask(self, text: str, options: list[list[str]] | None = None) -> None:
        chosen = options or [["yes", "Yes", "allow_once"], ["no", "No", "reject_once"]]
        self.calls += 1
        name = f"ask-{self.calls}"
        params = {
            "sessionId": "trivial",
            "toolCall": {"toolCallId": name, "title": text},
            "options": [{"optionId": i, "name": n, "kind": k} for i, n, k in chosen],
        }
        self.send({"id": name, "method": "session/request_permission", "params": params})
        answer = self.inbox.get()
        self.do_say(f"permission: {json.dumps(answer and answer.get('result'))}")

    def do_recall(self) -> None:
        self.message(json.dumps(self.prompts), "recalled")

    def do_detach(self, command: str) -> None:
        # The child inherits stdout, as the child of a careless tool does.
        subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)

    def do_sleep(self, seconds: float) -> None:
        self.cancelled.wait(seconds)

    def do_line(self, size: int) -> None:
        chunk = "x" * 65_536
        for _ in range(size // len(chunk)):
            sys.stdout.write(chunk)
        sys.stdout.write("\n")
        sys.stdout.flush()

    def do_exit(self, code: int) -> None:
        sys.stderr.write("the agent gives up\n")
        sys.stderr.flush()
        os._exit(code)

    def do_hang(self) -> None:
        self.hung = True
        time.sleep(86_400)

    def do_pace(self, count: int, rate: float) -> None:
        begin = time.monotonic()
        for number in range(1, count + 1):
            digest = hashlib.sha256(f"message {number}".encode()).hexdigest()
            self.message(f"message {number} {digest}", f"m{number}")
            early = begin + number / rate - time.monotonic()
            if early > 0 and self.cancelled.wait(early):
                return

    def message(self, text: str, name: str) -> None:
        content = {"type": "text", "text": text}
        update = {"sessionUpdate": "agent_message_chunk", "messageId": name, "content": content}
        self.update(update)

    def do_large(self, where: str, size: int) -> None:
        text = large_text(size)
        if where == "message":
            self.message(text, "large")
        else:
            self.tool("large", kind="execute", title="cat", rawInput={"command": "cat"})
            self.tool("large", status="completed", rawOutput={"output": text, "exit_code": 0})

    def tool(self, call: str, *, is_update: bool = False, **fields: Any) -> None:
        kind = "tool_call_update" if is_update or "status" in fields else "tool_call"
        self.update({"sessionUpdate": kind, "toolCallId": call, **fields})

    def do_raw(self, encoded: str, count: int) -> None:
        sys.stdout.flush()
        for _ in range(count):
            sys.stdout.buffer.write(base64.b64decode(encoded))
        sys.stdout.buffer.flush()

    def do_err(self, encoded: str, count: int) -> None:
        for _ in range(count):
            sys.stderr.buffer.write(base64.b64decode(encoded))
        sys.stderr.buffer.flush()

    def do_deep(self, levels: int) -> None:
        message = {"sessionUpdate": "tool_call", "toolCallId": "deep", "title": "deep"}
        line = json.dumps(
            {"method": "session/update", "params": {"update": {**message, "rawInput": "@"}}}
        )
        sys.stdout.write(line.replace('"@"', "[" * levels + "]" * levels) + "\n")
        sys.stdout.flush()

    def do_tools(self, count: int, size: int) -> None:
        """Every tenth call never ends, ids are reused, and some calls appear only at their end."""
        show = {"terminal_output": {"data": "o" * size}}
        for number in range(count):
            call = f"call-{number % (count // 2 or 1)}" if number % 7 else f"silent-{number}"
            if number % 7:
                self.tool(
                    call, kind="execute", title="make", rawInput={"command": f"make {number}"}
                )
            self.tool(call, is_update=True, kind="execute", _meta=show)
            if number % 10:
                self.tool(call, status="completed", rawOutput={"exit_code": 0})
            if number % 3 == 0:
                self.tool(call, status="in_progress")

    def do_requests(self, count: int) -> None:
        for number in range(count):
            params = {"sessionId": "trivial", "path": f"/workspace/{number}"}
            self.send({"id": f"ask-{number}", "method": "fs/read_text_file", "params": params})

    def do_fail(self, message: str, code: int = -32603) -> None:
        self.end = {"error": {"code": code, "message": message}}

    def do_stop(self, reason: str) -> None:
        self.end = {"result": {"stopReason": reason}}


def steps_of(text: str) -> list[list[Any]]:
    """
    Parse the steps of a prompt; an empty list if there are none.

    The steps are on the last line that has any: what the runner adds to a prompt, such as a schema,
    is not a step.
    """
    for line in reversed(text.splitlines()):
        begin = line.find("[[")
        if begin >= 0:
            found: list[list[Any]] = json.JSONDecoder().raw_decode(line[begin:])[0]
            return found
    return []


def large_text(size: int) -> str:
    """Build a text of ``size`` bytes in which no two lines are equal."""
    lines = (f"line {number:012d} of the output" for number in range(size // 32 + 1))
    return "\n".join(lines)[:size]


def main() -> None:
    """Serve until the end of standard input."""
    if os.environ.get("ACP_AGENT_HANDSHAKE") == "hang":
        time.sleep(86_400)
    agent = Agent()
    threading.Thread(target=agent.read, daemon=True).start()
    agent.serve()


if __name__ == "__main__":
    main()
