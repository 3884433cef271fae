"""The implementation of the ``peer`` command: its arguments, and its output."""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, Protocol

from agentrun.api.gateway import MailboxMessage, Task
from agentrun.api.messages import AgentMessage, render_text
from agentrun.runner.gateway import Gateway, GatewayError
from agentrun.runner.mcp_relay import McpRelay, ToolCallError
from agentrun.runner.peer.server import Answer

MAX_WAIT_MS = 600_000
"""The maximum timeout of ``peer wait``."""
_POLL_MS = 20_000
_LIMIT = 100
_FETCH = "fetch_agent_messages"

Json = dict[str, Any]


class MailboxPosition(Protocol):
    """The position up to which the agent has received its mailbox."""

    @property
    def delivered(self) -> int:
        """The seq of the newest message that the agent has received."""

    def note_read(self, seq: int) -> None:
        """Record that the agent has received all messages up to ``seq``."""


class _CommandError(Exception):
    """The parser's help or error, which replaces a result."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.answer = Answer(text, code)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _CommandError(f"Error: {message}\n{self.format_usage()}", 1)

    def print_help(self, file: Any = None) -> None:
        raise _CommandError(self.format_help(), 0)


def _make_parser() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--as", dest="name", help="your own name; no other is accepted")
    common.add_argument("--cwd", help="only agents that work in this folder")
    page = _Parser(add_help=False)
    page.add_argument("--after", type=int, help="only messages after this number")
    page.add_argument("--limit", type=int, default=_LIMIT, help="the maximum number of messages")

    parser = _Parser(prog="peer", description="Find other agents, and exchange messages.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, help: str, *parents: _Parser) -> _Parser:
        made: _Parser = commands.add_parser(name, help=help, parents=[common, *parents])
        return made

    add("whoami", "show who you are")
    add("list", "list the agents")
    send = add("send", "send a message to an agent")
    send.add_argument("to", help="the agent's name")
    send.add_argument("text", nargs="+", help="the text of the message")
    send.add_argument("--kind", help="the kind of message")
    send.add_argument("--reply-to", metavar="ID", help="the id of the message that it answers")
    add("inbox", "list the messages to you", page)
    wait = add("wait", "wait for the next messages to you", page)
    wait.add_argument("--timeout", type=int, default=30_000, help="the timeout in milliseconds")
    return parser


class Peer:
    """Executes calls of ``peer`` for one run."""

    def __init__(
        self, task: Task, gateway: Gateway, tools: McpRelay, position: MailboxPosition
    ) -> None:
        self._task = task
        self._position = position
        self._gateway = gateway
        self._tools = tools
        self._parser = _make_parser()
        self._commands: dict[str, Callable[[Any], Awaitable[str]]] = {
            "whoami": self._whoami,
            "list": self._list,
            "send": self._send,
            "inbox": self._inbox,
            "wait": self._wait,
        }
        self._cwd = ""
        # One at a time: each response's memory is limited, their number is not.
        self._turn = asyncio.Lock()
        self._waiting = asyncio.Lock()

    async def respond(self, call: Sequence[str]) -> Answer:
        """Execute a call: the caller's PEER_NAME and PEER_CWD, then the arguments."""
        _, cwd, *arguments = [*call[:2], *[""] * (2 - len(call)), *call[2:]]
        if not arguments:
            return Answer(self._parser.format_usage(), 2)
        if arguments == ["help"]:
            return Answer(self._parser.format_help())
        try:
            given = self._parser.parse_args(arguments)
            given.here = given.cwd or cwd
            self._check_name(given.name)
            return Answer(await self._commands[given.command](given))
        except _CommandError as refused:
            return refused.answer
        except (ToolCallError, GatewayError) as error:
            return Answer(f"Error: {error}", 1)

    def _check_name(self, name: str | None) -> None:
        own = self._task.agent_name
        if name and name not in (own, self._task.session_id):
            raise _CommandError(f"Error: You are {own}, not {name}. Omit --as.", 1)

    async def _whoami(self, given: Any) -> str:
        task = self._task
        known = {
            "agent_name": task.agent_name,
            "session_id": task.session_id,
            "cwd": given.here,
            "role": task.spec.role,
            "status": "running",
            "last_run_id": task.run_id,
        }
        return _shown(given, known, "\t".join((task.agent_name, "running", given.here)))

    async def _list(self, given: Any) -> str:
        found = await self._call("list_agents", {"cwd": given.cwd})
        while cursor := found.pop("next_cursor", None):
            more = await self._call("list_agents", {"cwd": given.cwd, "cursor": cursor})
            found = {**more, "agents": found["agents"] + more["agents"]}
        lines = [
            "\t".join((one["agent_name"], one["role"] or "-", one["status"]))
            for one in found["agents"]
        ]
        return _shown(given, found, "\n".join(lines))

    async def _send(self, given: Any) -> str:
        text = " ".join(given.text)
        metadata = {"kind": given.kind, "reply_to": given.reply_to}
        arguments = {
            "to_agent_name": given.to,
            "message": {"role": "agent", "parts": [{"type": "text", "text": text}]},
            "metadata": {key: value for key, value in metadata.items() if value} or None,
            "cwd": given.cwd,
        }
        sent = await self._call("send_agent_message", arguments)
        line = f"sent {sent['message_id']} -> {sent['to_agent_name']} (#{sent['seq']})"
        return _shown(given, sent, line)

    async def _inbox(self, given: Any) -> str:
        arguments = {"after_seq": given.after or 0, "limit": given.limit}
        return _mail(given, await self._call(_FETCH, arguments))

    async def _wait(self, given: Any) -> str:
        if _FETCH not in self._task.profile.agent_tools.allowed:
            raise ToolCallError(f"the profile does not allow you to call {_FETCH}.")
        most = min(max(given.timeout, 0), MAX_WAIT_MS)
        clock = asyncio.get_running_loop().time
        deadline = clock() + most / 1000
        try:
            async with asyncio.timeout(most / 1000 + 1), self._waiting:
                while True:
                    left = max(0, int(1000 * (deadline - clock())))
                    if given.after is not None:
                        arguments = {
                            "after_seq": given.after, "limit": given.limit,
                            "wait_ms": min(left, _POLL_MS),
                        }  # fmt: skip
                        found = await self._call(_FETCH, arguments)
                    else:
                        found = await self._unread(given.limit, min(left, _POLL_MS))
                    if found["messages"] or not left:
                        return _mail(given, found)
        except TimeoutError:
            return _mail(given, self._page([], given.after or 0))

    async def _unread(self, limit: int, wait_ms: int) -> Json:
        """Return messages that the agent has not received, and record them as received."""
        known = self._position.delivered
        found = await self._gateway.messages(known, wait_ms)
        messages = found.messages[: max(1, limit)]
        if messages:
            self._position.note_read(messages[-1].seq)
        return self._page(messages, max(known, found.delivered_seq))

    def _page(self, messages: Sequence[MailboxMessage], after: int) -> Json:
        return {
            "agent_name": self._task.agent_name,
            "session_id": self._task.session_id,
            "messages": [one.model_dump(mode="json", by_alias=True) for one in messages],
            "next_after_seq": messages[-1].seq if messages else after,
        }

    async def _call(self, tool: str, arguments: Json) -> Json:
        given = {key: value for key, value in arguments.items() if value is not None}
        async with self._turn:
            return await self._tools.call(tool, given)


def _mail(given: Any, page: Json) -> str:
    lines = [
        f"[{one['seq']}] {one['from_agent_name'] or 'system'}:"
        f" {render_text(AgentMessage.model_validate(one['body']))}"
        for one in page["messages"]
    ]
    return _shown(given, page, "\n".join(lines) or "no messages")


def _shown(given: Any, whole: Json, text: str) -> str:
    return json.dumps(whole, ensure_ascii=False) if given.json else text
