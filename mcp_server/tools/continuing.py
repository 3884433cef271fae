"""The tool that continues a run: with an answer, with another task, or from the start."""

from contextlib import nullcontext
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from agentrun.api.messages import AgentMessage
from agentrun.api.names import new_run_id, run_id_for_key
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import Phase, Reason
from agentrun.store.base import RunRow
from mcp_server.runs.continuing import check_answer, digest_of_key, with_answer
from mcp_server.schemas.run_views import continue_result, status_of
from mcp_server.schemas.runs import ContinueResult
from mcp_server.tools.context import ToolContext, tool_errors
from mcp_server.tools.run_lookup import AgentName, Cwd, Namespace, RunId, resolve

_SETTLE_SECONDS = 10.0
_RESUMABLE = (Phase.COMPLETED, Phase.FAILED)


def add_continue_run(server: MCPServer, context: ToolContext) -> None:
    """Register continue_run."""

    @server.tool(
        title="Answer or continue a run",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=True,
        ),
    )
    async def continue_run(
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        input_message: Annotated[
            AgentMessage | None,
            Field(
                description="The message for the agent. To choose an option of a question: a text"
                ' part with its id, or a data part {"option_id": ...}. Required unless from_start'
                " is true."
            ),
        ] = None,
        from_start: Annotated[
            bool,
            Field(description="Repeat the task of a run that has ended, in a new conversation."),
        ] = False,
        wait_ms: Annotated[
            int,
            Field(
                description="How long to wait until the agent receives the answer.", ge=0, le=30_000
            ),
        ] = 15_000,
        idempotency_key: Annotated[
            str | None,
            Field(
                description="A unique string. A repeated call with it creates no second run and"
                " no second answer.",
                max_length=256,
            ),
        ] = None,
        namespace: Namespace = None,
    ) -> ContinueResult:
        """
        Answer a waiting run, or continue the conversation of one that has ended.

        Use it when a run's status is input_required or auth_required: `get_run` shows its question
        and the options. Status `running` means that the agent has received the answer. With any
        other status, the answer is stored: do not send it again, follow with `poll_events`.
        A completed or failed run is continued by a new run in the same conversation, whose run_id
        is returned immediately: call `poll_events` with it. With from_start true, the new run
        repeats the task in a new conversation.
        """
        with tool_errors():
            row = await resolve(context, run_id, agent_name, cwd, namespace)
            if input_message is not None:
                check_answer(input_message)
            elif not from_start:
                raise ToolError("input_message is required unless from_start is true")
            key, seconds = idempotency_key, wait_ms / 1000
            if input_message is not None and not from_start:
                given = with_answer(row.run, input_message, _digest(context, key))
                if given is not None:
                    return await _follow(context, row, given, seconds)
                row = await _settled(context, row)
                if not row.run.is_finished:
                    return await _answer(context, row, input_message, seconds, key)
            elif _is_ending(row):
                row = await context.follow(row, lambda row: not _is_ending(row), _SETTLE_SECONDS)
            return await _begin_another(context, row, input_message, from_start, key)


async def _begin_another(
    context: ToolContext,
    row: RunRow,
    message: AgentMessage | None,
    from_start: bool,
    key: str | None,
) -> ContinueResult:
    run, policy = row.run, context.policy()
    caller = policy.caller.username
    if from_start and not run.is_finished:
        raise ToolError(
            f"run has not ended yet: {status_of(row)}. Call cancel_run first, or wait for its end."
        )
    if not from_start and run.phase not in _RESUMABLE:
        raise ToolError(
            f"run is already terminal: {status_of(row)}. Call continue_run with from_start true to"
            " repeat its task, or spawn_run with session_mode resume to continue with its agent."
        )
    namespace = run.metadata.namespace
    run_id = run_id_for_key(namespace, caller, key) if key else new_run_id(context.now())
    parent = policy.parent()
    policy.check_may_repeat(run)
    is_afresh = from_start or message is None
    # A repeated request creates no run and needs no reservation.
    is_known = key is not None and await context.runs.find(namespace, run_id) is not None
    async with (
        nullcontext() if is_known else policy.reserve_child("" if is_afresh else run.session_name)
    ):
        if from_start or message is None:
            made = await context.runs.repeat(row, run_id, message, caller, parent)
        else:
            made = await context.runs.resume(row, run_id, message, caller, parent)
        if not is_known:
            made = await policy.confirm_child(made)
    return continue_result(made, "from_start" if is_afresh else "resume", run.metadata.name)


async def _answer(
    context: ToolContext, row: RunRow, message: AgentMessage, seconds: float, key: str | None
) -> ContinueResult:
    policy = context.policy()

    def may_be_answered(row: RunRow) -> bool:
        waits = _may_be_answered(row)
        if waits:
            policy.check_may_answer(row)
        return waits

    row, seq = await context.runs.answer(
        row, message, policy.caller.username, may_be_answered, _digest(context, key)
    )
    if seq is None:
        # The run ended in the meantime.
        return await _begin_another(context, row, message, False, key)
    return await _follow(context, row, seq, seconds)


async def _settled(context: ToolContext, row: RunRow) -> RunRow:
    """
    Wait while a run's journal and its phase tell different things, for a limited time.

    They change one after the other: a client that reads the event of an end or of a question may
    call before the phase has changed, and one that reads the phase before the event.
    """
    if _is_settled(row):
        return row
    return await context.follow(row, _is_settled, _SETTLE_SECONDS)


def _is_settled(row: RunRow) -> bool:
    if row.run.is_finished:
        return True
    is_waiting = row.run.phase.status.is_waiting
    return not _is_ending(row) and is_waiting == status_of(row).is_waiting


def _is_ending(row: RunRow) -> bool:
    """Whether the agent has finished, by the journal or the operator, but the run has not."""
    run, reported = row.run, Status.parse(row.journal_status)
    if run.is_finished:
        return False
    is_over = reported is not None and reported.is_terminal
    return (is_over and row.journal_attempt == run.attempts) or (
        run.phase is Phase.RUNNING and run.status.reason == Reason.FINISHING
    )


async def _follow(context: ToolContext, row: RunRow, seq: int, seconds: float) -> ContinueResult:
    """Wait until the agent has acknowledged an answer, up to ``seconds``."""
    row = await context.follow(
        row, lambda row: _is_acknowledged(row, seq) or row.run.is_finished, seconds
    )
    return continue_result(row, "live", None, _status_after(row, seq))


def _digest(context: ToolContext, key: str | None) -> str | None:
    return digest_of_key(context.policy().caller.username, key) if key else None


def _may_be_answered(row: RunRow) -> bool:
    """Whether a run waits for input; False if it has ended. Raises ToolError if it is active."""
    if row.run.is_finished:
        return False
    status = status_of(row)
    if not status.is_waiting:
        raise ToolError(
            f"run is not awaiting additional input: {status}. Call poll_events to follow it;"
            " once it has ended, continue_run continues its conversation."
        )
    return True


def _is_acknowledged(row: RunRow, seq: int) -> bool:
    agent = row.run.status.agent
    return bool(agent and (agent.acknowledged_input or 0) >= seq)


def _status_after(row: RunRow, seq: int) -> Status:
    """Return the status of an answered run: `running` only once its agent has the answer."""
    status = status_of(row)
    if not _is_acknowledged(row, seq):
        waits_for = row.run.phase.status
        still_waits = waits_for if waits_for.is_waiting else Status.INPUT_REQUIRED
        return still_waits if status is Status.RUNNING else status
    agent = row.run.status.agent
    asks_again = agent is not None and agent.question is not None
    has_begun = status.is_waiting or status is Status.QUEUED
    return Status.RUNNING if has_begun and not asks_again else status
