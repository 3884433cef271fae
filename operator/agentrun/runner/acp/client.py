"""
The agent's program on the other end of the pipes.

Tracks the start and the exit of the program, which the first process of its container reports;
retains the last lines of its error output; and communicates over ACP through the ACP library.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import acp
from acp.schema import (
    AgentCapabilities,
    AllowedOutcome,
    ClientCapabilities,
    DeniedOutcome,
    Implementation,
    McpCapabilities,
    PermissionOption,
    RequestPermissionResponse,
    SessionCapabilities,
    ToolCallUpdate,
)

from agentrun.api.pod_layout import describe_exit
from agentrun.api.v1alpha1 import Reason
from agentrun.runner.acp import mcp_servers
from agentrun.runner.acp.conformity import NEXT_STEP, describe, with_its_stop_reason
from agentrun.runner.acp.container import Container
from agentrun.runner.acp.transport import OnUpdate, PipeTransport, TransportContext
from agentrun.runner.outcome import AttemptError
from agentrun.runner.pipe_reader import LineTooLongError, PipeReader
from agentrun.runner.pipes import Pipes
from agentrun.runner.prompt import as_text

HANDSHAKE_SECONDS = 60.0
"""The timeout for the agent's answer to each request before the prompt."""
STEER_SECONDS = 30.0
"""The timeout for the agent's answer to a text that is sent into the turn in progress."""
_LAST_WORDS_SECONDS = 1.0
"""How long output is read after the program has exited: its children may write without end."""
_STDERR_LINES = 20
_STDERR_LINE = 64 * 1024
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
"""A shell's exit codes for these (POSIX, Shell Command Language, 2.8.2)."""
_ANSWERS = ("allow_always", "allow_once")

log = logging.getLogger(__name__)

T = TypeVar("T")
OnPermission = Callable[[dict[str, Any], str], None]
Ask = Callable[[dict[str, Any], list[PermissionOption]], Awaitable[str | None]]
"""Asks a person for a permission; returns the id of the chosen option."""
_CLOSE_SECONDS = 3.0


class AcpAgent:
    """The agent's program. ``listen`` must run while it is used."""

    def __init__(
        self,
        pipes: Pipes,
        on_update: OnUpdate,
        on_permission: OnPermission,
        around: TransportContext,
    ) -> None:
        self._container = Container(pipes)
        self._clean = around.redactor.text
        self._stdout = PipeReader(pipes.stdout)
        self._stderr = PipeReader(pipes.stderr, _STDERR_LINE)
        self._transport = PipeTransport(self._stdout, pipes.stdin, on_update, around)
        self._client = _Client(on_permission)
        # A Protocol of the library; methods that are not offered are left out of the class.
        self._connection = acp.connect_to_agent(self._client, self._transport)  # type: ignore[arg-type]
        self._started = asyncio.Event()
        self._last_words: deque[str] = deque(maxlen=_STDERR_LINES)
        self._is_heard_out = asyncio.Event()
        self._exit_code: int | None = None
        self.session_id = ""
        self.mcp_capabilities: McpCapabilities | None = None
        """Which MCP transports the agent supports; None until the handshake is done."""
        self.can_steer = False
        """Whether the agent advertises that it takes a text into a turn in progress."""
        self.can_load = False
        """Whether the agent can load an earlier session."""
        self._can_close = False

    async def listen(self) -> None:
        """Track the program's lifecycle, without end, and read its error output up to its end."""
        await asyncio.gather(self._follow(), self._read_stderr())

    async def begin(self) -> None:
        """Start the program, once its container is connected."""
        await self._container.begin()

    async def handshake(self, seconds: float = HANDSHAKE_SECONDS) -> acp.InitializeResponse:
        """Initialize the ACP connection. The timeout starts when the program has started."""
        await self._started.wait()
        request = self._connection.initialize(
            protocol_version=acp.PROTOCOL_VERSION,
            client_capabilities=ClientCapabilities(field_meta={"terminal_output": True}),
            client_info=Implementation(name="agentrun", title="AgentRun", version="1"),
        )
        try:
            answer = await self._ask(request, seconds)
        except acp.RequestError as error:
            message = f"The agent refused the protocol's handshake: {error}"
            raise AttemptError(Reason.PROTOCOL_ERROR, message) from error
        # In place of invalid capabilities the library has defaults that are no models.
        given = answer.agent_capabilities
        capabilities = given if isinstance(given, AgentCapabilities) else AgentCapabilities()
        offered, sessions = capabilities.mcp_capabilities, capabilities.session_capabilities
        self.mcp_capabilities = offered if isinstance(offered, McpCapabilities) else None
        self.can_steer = _supports_steering(answer.field_meta)
        self.can_load = bool(capabilities.load_session)
        self._can_close = isinstance(sessions, SessionCapabilities) and sessions.close is not None
        return answer

    def ask_with(self, ask: Ask) -> None:
        """Forward the agent's permission requests to a person from now on."""
        self._client.ask = ask

    async def open_session(
        self,
        cwd: str,
        mode: str | None,
        servers: Sequence[mcp_servers.Server] = (),
        load: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Open a session in ``cwd``: a new one, or the existing session with the id ``load``.

        ``meta`` is passed in the request for this kind of agent only.
        """
        more = dict(meta or {})
        if load:
            request = self._connection.load_session(
                cwd=cwd, session_id=load, mcp_servers=[*servers], **more
            )
            await self._ask(request, HANDSHAKE_SECONDS)
            self.session_id = load
        else:
            session = await self._ask(
                self._connection.new_session(cwd=cwd, mcp_servers=[*servers], **more),
                HANDSHAKE_SECONDS,
            )
            self.session_id = session.session_id
        if mode:
            await self._ask(
                self._connection.set_session_mode(session_id=self.session_id, mode_id=mode),
                HANDSHAKE_SECONDS,
            )

    async def prompt(self, text: str) -> acp.PromptResponse:
        """
        Send a prompt, never as a command, to the agent, and wait for the end of its turn.

        The response's stop reason may be any JSON value, or None if there is none.
        """
        block = acp.text_block(as_text(text))
        request = self._connection.prompt(session_id=self.session_id, prompt=[block])
        return await self._ask(_with_any_end(request), None)

    async def steer(self, text: str) -> bool:
        """
        Send a text into the turn in progress. False if the agent did not take it.

        Without a turn in progress it is not taken, as nothing would follow a turn that it starts.
        """
        params = {
            "sessionId": self.session_id,
            "prompt": [{"type": "text", "text": as_text(text)}],
            "_meta": {"steering": {"idleBehavior": "promptRequired"}},
        }
        request = self._connection.ext_method("session/steering", params)
        try:
            answer = await self._ask(request, STEER_SECONDS)
        except (acp.RequestError, AttemptError) as error:
            log.info("The agent accepts no text during its turn: %s", self._clean(str(error)))
            return False
        return isinstance(answer, dict) and answer.get("outcome") == "injected"

    async def cancel(self) -> None:
        """Cancel the agent's turn. Its later permission requests are answered as cancelled."""
        try:
            # The notification first: an agent that only sees a refusal continues otherwise.
            if self.session_id and not self._transport.fault:
                await self._connection.cancel(session_id=self.session_id)
        finally:
            self._client.cancelled.set()

    async def close_session(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Close the session, if the agent supports that, so that it saves its state to disk."""
        if not self.session_id or not self._can_close or self._transport.fault:
            return
        try:
            request = self._connection.close_session(session_id=self.session_id)
            await self._ask(request, seconds)
        except (acp.RequestError, AttemptError) as error:
            log.info("The agent does not close its session: %s", self._clean(str(error)))

    def end(self) -> None:
        """Stop the program's container, and with it all processes that the program started."""
        self._container.end()

    async def ended(self) -> bool:
        """Wait until no process of the agent is alive; False if that can never be known."""
        return await self._container.ended()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _ask(self, request: Awaitable[T], seconds: float | None) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await request
        except TimeoutError as error:
            message = f"The agent did not answer within {seconds:.0f} s. {self._output()}".strip()
            raise AttemptError(Reason.AGENT_UNRESPONSIVE, message) from error
        except ConnectionError as error:
            raise self._fault() from error
        except ValueError as error:  # pydantic's, of an answer that breaks the schema
            what = self._clean(describe(error))[:2000]
            message = f"The agent's response does not conform to ACP: {what}. {NEXT_STEP}"
            raise AttemptError(Reason.PROTOCOL_ERROR, message) from error

    def _fault(self) -> AttemptError:
        """Return the reason why the agent can no longer be reached."""
        code = self._exit_code
        if self._transport.fault:
            return self._transport.fault
        output = self._output()
        if code == _NOT_EXECUTABLE and "Exec format error" in output:
            message = "The agent program is built for another architecture than the node's."
            return AttemptError(Reason.AGENT_NOT_FOUND, f"{message} {output}")
        if code in (_NOT_EXECUTABLE, _NOT_FOUND):
            message = "The image has no such agent program, or it cannot be executed."
            return AttemptError(Reason.AGENT_NOT_FOUND, f"{message} {output}".strip())
        message = f"The agent program ended ({describe_exit(code)}) before its turn ended."
        return AttemptError(Reason.AGENT_EXITED, f"{message} {output}".strip())

    def _output(self) -> str:
        lines = "\n".join(self._last_words)[-2000:].strip()
        said = f"Its last output: {lines}" if lines else ""
        ignored = self._transport.ignored
        noise = f"The last line that is not a message of ACP: {ignored!r}." if ignored else ""
        return f"{noise} {said}".strip()

    async def _follow(self) -> None:
        async for line in self._container.lines():
            if line == b"started":
                self._started.set()
            elif line.isdigit():
                self._exit_code = int(line)
                self._started.set()
                # The error messages include the final output, which may still be in the pipe.
                self._stderr.end()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_WORDS_SECONDS):
                        await self._is_heard_out.wait()
                self._stdout.end()
        # The supervisor expects this to run for as long as the attempt.
        await asyncio.Event().wait()

    async def _read_stderr(self) -> None:
        while True:
            try:
                line = await self._stderr.readline()
            except LineTooLongError:
                line = await self._stderr.skip()
            if line is None:
                self._is_heard_out.set()
                return
            if line.strip():
                # Truncated after secrets are removed: otherwise half of a secret could remain.
                self._last_words.append(self._clean(line.decode(errors="replace"))[:2000])


async def _with_any_end(request: Awaitable[acp.PromptResponse]) -> acp.PromptResponse:
    try:
        return await request
    except ValueError as error:
        return with_its_stop_reason(error)


def _supports_steering(meta: dict[str, Any] | None) -> bool:
    """Read ``_meta.steering.supported`` of the handshake (codex-acp and claude-agent-acp)."""
    steering = (meta or {}).get("steering")
    return isinstance(steering, dict) and steering.get("supported") is True


class _Client:
    """The client methods that the agent may call: permission requests, and nothing else."""

    def __init__(self, on_permission: OnPermission) -> None:
        self._on_permission = on_permission
        self.cancelled = asyncio.Event()
        self.ask: Ask | None = None

    async def request_permission(
        self,
        options: list[PermissionOption],
        session_id: str,
        tool_call: ToolCallUpdate,
        **_: Any,
    ) -> RequestPermissionResponse:
        """Answer according to the profile's permission mode: allow, or ask a person."""
        if self.ask:
            return await self._ask_a_person(self.ask, options, tool_call)
        by_kind = {option.kind: option for option in reversed(options)}
        chosen = next((by_kind[kind] for kind in _ANSWERS if kind in by_kind), None)
        asked = tool_call.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.cancelled.is_set() or chosen is None:
            self._on_permission(asked, "cancelled")
            return _permission(None)
        self._on_permission(asked, chosen.name)
        return _permission(chosen.option_id)

    async def _ask_a_person(
        self, ask: Ask, options: list[PermissionOption], tool_call: ToolCallUpdate
    ) -> RequestPermissionResponse:
        """Wait for a person's answer, or until the turn is cancelled; then answer as cancelled."""
        asked = tool_call.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = asyncio.ensure_future(ask(asked, options))
        cancelled = asyncio.ensure_future(self.cancelled.wait())
        try:
            await asyncio.wait({answer, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            is_answered = answer.done() and not self.cancelled.is_set()
            return _permission(answer.result() if is_answered else None)
        finally:
            answer.cancel()
            cancelled.cancel()

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """Ignore notifications that are specific to one agent."""
        log.debug("The agent notified %s", method)


def _permission(option_id: str | None) -> RequestPermissionResponse:
    if option_id is None:
        return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
    outcome = AllowedOutcome(outcome="selected", option_id=option_id)
    return RequestPermissionResponse(outcome=outcome)
