"""
The conversation with a remote agent: the same life as with one in the pod, without the pod's pipes.

A stream that breaks off is taken up again, and an agent that does not stream is asked from time
to time: either way what counts is the task as the remote has it.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agentrun.api.events import EventType
from agentrun.api.gateway import Task
from agentrun.api.messages import AgentMessage, MessagePart
from agentrun.api.v1alpha1 import (
    AgentState,
    Input,
    OutcomeState,
    Question,
    Reason,
    RemoteRef,
    Usage,
)
from agentrun.runner.a2a.client import Remote, RemoteError, connect
from agentrun.runner.a2a.config import RemoteConfig, origin, read_config
from agentrun.runner.a2a.mapping import FINAL, WAITING, Mapper
from agentrun.runner.gateway import Gateway, Unavailable
from agentrun.runner.journal import Journal
from agentrun.runner.outcome import End, Failure
from agentrun.runner.prompt import build_prompt, build_repair, check_answer
from agentrun.runner.reporter import Reporter

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_PATIENCE_SECONDS = 60.0
"""How long the remote agent may be away while its task goes on."""
_PROMPT_SENT_SECONDS = 10.0
_ID_SECONDS = 2.0
_CANCEL_SECONDS = 2.5
_PAUSE = 1.0

log = logging.getLogger(__name__)


class RemoteConversation:
    """One task after the other of a remote agent."""

    def __init__(
        self,
        journal: Journal,
        reporter: Reporter,
        default_url: str | None,
        credentials: Mapping[str, str],
        credentials_url: str,
        key: str,
    ) -> None:
        self._journal = journal
        self._reporter = reporter
        self._default_url = default_url
        self._credentials = credentials
        self._credentials_url = credentials_url
        self._key = key
        self._stack = AsyncExitStack()
        self._remote: Remote | None = None
        self._mapper = Mapper("", "")
        self._named = asyncio.Event()
        self.usage: Usage | None = None
        self.cost: str | None = None
        self.delivered = 0
        self.session_id = ""
        self.mcp_capabilities = None
        self.prompt_sent = False
        self.stop_words = "The runner was told to stop."

    @property
    def agent(self) -> "RemoteConversation":
        """The other side; it has no process that would have to be handled apart."""
        return self

    def hears(self, seq: int) -> None:
        """Do nothing: there is no agent in the pod that could ask."""

    async def acknowledge(self) -> None:
        """Do nothing: messages of other agents are not put into the conversation."""

    async def listen(self) -> None:
        """Do nothing, for ever: a remote agent only speaks when it is asked."""
        await asyncio.Event().wait()

    async def handshake(self) -> None:
        """Do nothing: the card is read once the task is known."""

    async def close_session(self, seconds: float) -> None:
        """Do nothing: the conversation is kept where the agent is."""

    def end(self) -> None:
        """Do nothing: there is no process to end."""

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def open(
        self, task: Task, cwd: str, servers: Sequence[Any] = (), origin: object = None
    ) -> None:
        """Read the agent's card, and say that the run has started."""
        config = read_config(task.spec.backend_config, self._default_url)
        headers = self._headers(config, task)
        self._remote = remote = await self._stack.enter_async_context(connect(config, headers))
        self._mapper = Mapper(config.agent_url, remote.name)
        self._mapper.context_id = task.resume_session_id
        ref = self._mapper.remote_ref
        started = {"remote_ref": ref, "agent_name": remote.name, "agent_url": config.agent_url}
        self._journal.add(EventType.RUN_STARTED, {**started, "attempt": task.attempt})

    def _headers(self, config: RemoteConfig, task: Task) -> dict[str, str]:
        """Give the run's own credentials, else the profile's key to the profile's agent only."""
        if self._credentials and origin(self._credentials_url) != origin(config.agent_url):
            message = (
                "The credentials in the Secret of spec.backendConfig were given for"
                f" {self._credentials_url or 'no agent_url'}, not for {config.agent_url}."
                " Create the run again with credentials of its own."
            )
            raise Failure(Reason.PROFILE_INVALID, message)
        if self._credentials:
            return dict(self._credentials)
        if not self._key:
            return {}
        if self._default_url is None or origin(self._default_url) != origin(config.agent_url):
            message = (
                "The profile's provider.keySecret is for provider.baseURL"
                f" ({self._default_url or 'which is not set'}), not for {config.agent_url}."
                " Set provider.baseURL to the agent's URL, or give the run its own credentials."
            )
            raise Failure(Reason.PROFILE_INVALID, message)
        return {"authorization": f"Bearer {self._key}"}

    async def work(self, task: Task, proxy: object, gateway: Gateway, origin: object = None) -> End:
        """Give the agent its task, and stay with it until it is done."""
        prompt = build_prompt(task.spec, task.profile.instructions)
        acknowledged = task.acknowledged_input
        message = self._message(_text_parts(prompt), task)
        await self._announce_prompt()
        while True:
            await self._turn(message)
            if self._mapper.state not in WAITING:
                return await self._structured(self._end(), task)
            answer = await self._ask(gateway, acknowledged)
            acknowledged = answer.seq
            message = self._message(_parts_of(answer.message), task)
            self._mapper.begin_turn(new_task=False)
            running = {"status": "running", "reason": "continue_run"}
            self._journal.add(EventType.STATUS_CHANGED, running)
            await self._report(AgentState.WORKING, acknowledged_input=acknowledged, question=None)

    def end_turn(self) -> None:
        """Tell of what the agent still had under way."""
        self._add(self._mapper.flush())

    async def cancel(self) -> None:
        """Cancel the remote task, also one whose id is not known yet; say how that went."""
        is_waiting = self._mapper.state in WAITING
        is_over = self._mapper.is_settled and not is_waiting
        if not self.prompt_sent or self._remote is None or is_over:
            return
        if self._mapper.task_id is None:
            self.stop_words = (
                "The remote agent had been given the task, but had not named it yet: it may still"
                " be working."
            )
            async with asyncio.timeout(_ID_SECONDS):
                await self._named.wait()
        name = f"Remote task {self._mapper.task_id} of {self._mapper.remote_ref['agent_url']}"
        self.stop_words = f"{name} did not confirm its end in time: it may still be working."
        assert self._remote is not None
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                self._add(self._mapper.feed(await self._remote.cancel(self._mapper.task_id or "")))
        except (RemoteError, TimeoutError) as error:
            why = str(error) or f"no answer within {_CANCEL_SECONDS} s"
            self.stop_words = f"{name} could not be cancelled: {why}. It may still be working."
            self._journal.add(EventType.REASONING, {"text": self.stop_words})
            return
        if self._mapper.state in FINAL:
            self.stop_words = f"{name} is {self._mapper.state}."

    async def _turn(self, message: dict[str, Any]) -> None:
        assert self._remote is not None
        try:
            await self._follow(self._remote.send(message))
        except RemoteError as error:
            if self._mapper.task_id is None or error.status is not None:
                raise error.as_failure("The remote agent did not take the task") from error
            log.warning("the stream broke off: %s", error)
        await self._watch(self._remote)

    async def _watch(self, remote: Remote) -> None:
        """Follow the task until it rests, however often the connection is lost."""
        pause, away_since, clock = _FIRST_PAUSE, None, asyncio.get_running_loop().time
        while not self._mapper.is_settled:
            task = self._mapper.task_id
            if task is None:
                message = "The remote agent ended its answer without a message or a task."
                raise Failure(Reason.PROTOCOL_ERROR, message)
            try:
                await self._hear(await remote.get(task))
                away_since = None
                if remote.is_streaming and not self._mapper.is_settled:
                    await self._follow(remote.subscribe(task))
            except RemoteError as error:
                if away_since is None:
                    away_since = clock()
                elif clock() - away_since > _PATIENCE_SECONDS:
                    raise error.as_failure(f"Remote task {task} cannot be followed") from error
            if not self._mapper.is_settled:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def _follow(self, events: AsyncIterator[dict[str, Any]]) -> None:
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                await self._hear(event)
                if self._mapper.is_settled:
                    return

    async def _hear(self, event: dict[str, Any]) -> None:
        before = (self._mapper.task_id, self._mapper.context_id)
        self._add(self._mapper.feed(event))
        await self._journal.room()
        if self._mapper.task_id:
            self._named.set()
        if before != (self._mapper.task_id, self._mapper.context_id):
            await self._report(AgentState.WORKING)

    def _end(self) -> End:
        """Say what the task's end means for the run."""
        said, state = self._mapper.final_response, self._mapper.state
        words = self._mapper.status_text
        match state:
            case "failed":
                message = words or "The remote agent's task failed; it gave no reason."
                return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, said)
            case "rejected":
                message = words or "The remote agent declined the task; it gave no reason."
                return End(OutcomeState.REJECTED, Reason.REFUSED, message, said)
            case "canceled":
                message = words or "The remote agent's task was cancelled there, by somebody else."
                return End(OutcomeState.FAILED, Reason.PROVIDER_ERROR, message, said)
        return End(OutcomeState.COMPLETED, Reason.COMPLETED, "", said)

    async def _structured(self, end: End, task: Task) -> End:
        """Check the answer against the schema; the agent may mend it once."""
        schema = task.spec.output_schema
        if schema is None or end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return replace(end, structured=self._check(schema))
        except ValueError as problem:
            repair = build_repair(str(problem), schema)
        # A task that has ended takes no more messages: its context goes on.
        self._mapper.begin_turn(new_task=True)
        await self._turn(self._message(_text_parts(repair), task))
        end = self._end()
        if self._mapper.state in WAITING or end.state is not OutcomeState.COMPLETED:
            return end
        try:
            return replace(end, structured=self._check(schema))
        except ValueError as problem:
            message = f"The final answer does not satisfy outputSchema: {problem}"
            raise Failure(Reason.OUTPUT_INVALID, message) from problem

    def _check(self, schema: dict[str, Any]) -> Any:
        data = self._mapper.structured
        text = json.dumps(data) if data is not None else self._mapper.final_response
        return check_answer(text or "", schema)

    async def _ask(self, gateway: Gateway, after: int) -> Input:
        """Ask a person what the remote agent asks, and wait for the answer."""
        kind = WAITING[self._mapper.state]
        is_auth = kind is EventType.AUTH_REQUIRED
        text = self._mapper.status_text
        question = Question(
            id=f"remote-{after + 1}", kind="auth" if is_auth else "input", text=text[:32_000],
            asked_at=datetime.now(UTC),
        )  # fmt: skip
        ids = {"task_id": self._mapper.task_id, "context_id": self._mapper.context_id}
        self._journal.add(kind, {"text": text or None, "question_id": question.id, **ids})
        state = AgentState.AUTH_REQUIRED if is_auth else AgentState.INPUT_REQUIRED
        await self._report(state, question=question)
        while True:
            try:
                inputs = (await gateway.inputs(after)).inputs
            except Unavailable:
                await asyncio.sleep(_PAUSE)
                continue
            if inputs:
                return min(inputs, key=lambda one: one.seq)

    async def _announce_prompt(self) -> None:
        """Say that the prompt goes out, before it does: an attempt after that is another one."""
        self.prompt_sent = True
        await self._report(AgentState.WORKING, prompt_sent=True, question=None)
        try:
            async with asyncio.timeout(_PROMPT_SENT_SECONDS):
                await self._reporter.settled()
        except TimeoutError:
            return  # the gateway is away; the reporter goes on trying

    async def _report(self, state: AgentState, **more: Any) -> None:
        context = (self._mapper.context_id or "")[:256] or None
        ref = self._mapper.remote_ref
        if ref["agent_url"]:
            more["remote_ref"] = RemoteRef.model_validate(ref)
        await self._reporter.update(state=state, session_id=context, **more)

    def _message(self, parts: list[dict[str, Any]], task: Task) -> dict[str, Any]:
        given = (task.spec.input_message.metadata if task.spec.input_message else None) or {}
        own = {"run_id": task.run_id, "session_id": task.session_id, "agent_name": task.agent_name}
        message = {
            "messageId": uuid.uuid4().hex, "role": "ROLE_USER", "parts": parts,
            "metadata": {**given, "agentrun": own},
            "contextId": self._mapper.context_id, "taskId": self._mapper.task_id,
        }  # fmt: skip
        return {key: value for key, value in message.items() if value}

    def _add(self, drafts: list[tuple[EventType, dict[str, Any]]]) -> None:
        for kind, data in drafts:
            self._journal.add(kind, data)


def _text_parts(text: str) -> list[dict[str, Any]]:
    return [{"text": text}]


def _parts_of(message: AgentMessage) -> list[dict[str, Any]]:
    return [_part(part) for part in message.parts]


def _part(part: MessagePart) -> dict[str, Any]:
    if part.type == "text":
        return {"text": part.text or ""}
    if part.type == "data":
        return {"data": part.data or {}}
    content = {"raw": part.bytes_base64} if part.bytes_base64 else {"url": part.uri or ""}
    more = {"mediaType": part.mime_type, "filename": part.name}
    return {**content, **{key: value for key, value in more.items() if value}}
