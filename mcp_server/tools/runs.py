"""The tools that start, show, stop and list runs."""

import asyncio
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Annotated, Any, TypeVar, get_type_hints

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from agentrun.api.names import new_run_id, parse_run_id, run_id_for_key
from agentrun.api.status import Status
from agentrun.api.v1alpha1 import Backend, Phase
from agentrun.store.base import MOST_LOOKED_AT, RunFilter, RunPage, RunRow
from agentrun.store.paging import encode_cursor, place_of
from mcp_server.access.policy import may_read
from mcp_server.runs.credentials import Credentials, separate_credentials
from mcp_server.runs.manifests import check_arguments
from mcp_server.runs.schema_checks import SchemaChecks
from mcp_server.schemas.answer_size import PAGE_BYTES, shown_bytes
from mcp_server.schemas.run_views import (
    LISTED_PROMPT,
    cancel_result,
    run_view,
    spawn_result,
    status_of,
    unreadable_view,
)
from mcp_server.schemas.runs import (
    CancelResult,
    ListRunsResult,
    RunView,
    SpawnArguments,
    SpawnResult,
    UnreadableView,
)
from mcp_server.schemas.strict import problems
from mcp_server.tools.context import (
    PROGRESS_SECONDS,
    SEAL_SECONDS,
    ToolContext,
    report_wait,
    tool_errors,
)
from mcp_server.tools.run_lookup import (
    AgentName,
    Cwd,
    Namespace,
    RunId,
    is_in,
    is_reused,
    resolve,
    session_called,
)

_Tool = TypeVar("_Tool", bound=Callable[..., Any])

_ROWS_AT_ONCE = 50
_MOST_ROWS = 2000
"""The maximum number of rows that a call reads; its next_cursor leads to the rest."""
_QUESTION_SECONDS = 10.0
"""How long get_run waits for the question of a run that is known to have one."""


def _with_spawn_arguments(tool: _Tool) -> _Tool:
    """Publish the fields of SpawnArguments as a tool's first parameters, instead of ``**given``."""
    hints = get_type_hints(SpawnArguments, include_extras=True)
    fields = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.is_required() else field.default,
            annotation=hints[name],
        )
        for name, field in SpawnArguments.model_fields.items()
    ]
    own = signature(tool)
    others = [
        one.replace(kind=Parameter.KEYWORD_ONLY)
        for one in own.parameters.values()
        if one.kind is not Parameter.VAR_KEYWORD
    ]
    setattr(tool, "__signature__", own.replace(parameters=[*fields, *others]))  # noqa: B010
    return tool


def add_spawn_run(server: MCPServer, context: ToolContext) -> None:
    """Register spawn_run."""
    schemas = SchemaChecks()

    @server.tool(
        title="Start a run",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=True,
        ),
    )
    @_with_spawn_arguments
    async def spawn_run(
        idempotency_key: Annotated[
            str | None,
            Field(
                description="A unique string. A repeated call with it creates no second run.",
                max_length=256,
            ),
        ] = None,
        namespace: Namespace = None,
        **given: Any,
    ) -> SpawnResult:
        """
        Start a coding agent on a task, in its own pod; returns immediately.

        Use it to delegate work to Codex, Claude Code or another agent. Describe the whole task in
        `prompt` and give the repository as `workspace.git.url`. Then call `poll_events` with
        the run_id and after_seq 0 to follow the run, and `get_run` for the result once its
        status is completed. `cancel_run` stops it.
        """
        arguments = SpawnArguments(**given)
        with tool_errors():
            check_arguments(arguments)
            if arguments.output_schema is not None:
                await schemas.check(arguments.output_schema)
            public, credentials = separate_credentials(arguments)
            row = await _spawn(
                context,
                public,
                credentials,
                idempotency_key,
                await context.policy().namespace(namespace),
            )
            return spawn_result(row)


def add_get_run(server: MCPServer, context: ToolContext) -> None:
    """Register get_run."""

    @server.tool(
        title="Show a run",
        annotations=ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def get_run(
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        namespace: Namespace = None,
    ) -> RunView:
        """
        Show a run's status and, once it has ended, its result.

        Use it for a run's result, error, usage or open question. To follow an active run, call
        `poll_events` instead of repeating this call. Runs are also found after their AgentRun
        has been deleted.
        """
        with tool_errors():
            row = await resolve(context, run_id, agent_name, cwd, namespace)
            if not _has_question(row):
                # The journal shows that the run asks before status.agent has the question.
                row = await context.follow(row, _has_question, _QUESTION_SECONDS)
            row = await context.with_last_event(row)
            return run_view(row, is_reused=await is_reused(context, row))


def _has_question(row: RunRow) -> bool:
    agent = row.run.status.agent
    return not status_of(row).is_waiting or bool(agent and agent.question)


def add_cancel_run(server: MCPServer, context: ToolContext) -> None:
    """Register cancel_run."""

    @server.tool(
        title="Cancel a run",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=True,
            idempotent_hint=True,
            open_world_hint=False,
        ),
    )
    async def cancel_run(
        ctx: Context[Any, Any],
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        wait_ms: Annotated[
            int, Field(description="How long to wait for the run to end.", ge=0, le=30_000)
        ] = 15_000,
        reason: Annotated[
            str | None,
            Field(description="The reason; it is stored with the run.", max_length=1024),
        ] = None,
        namespace: Namespace = None,
    ) -> CancelResult:
        """
        Cancel a run, and wait up to `wait_ms` until no process of it is left.

        Status `cancelled` means that nothing of it is left. Status `cancelling` means that it
        is still being stopped: call `cancel_run` again to keep waiting, or `get_run` to check.
        Cancelling twice is harmless; a run that ended otherwise cannot be cancelled.
        """
        with tool_errors():
            row = await resolve(context, run_id, agent_name, cwd, namespace)
            if not row.run.is_finished:
                caller = context.policy().caller.username
                row = await context.runs.request_cancellation(row, caller, reason)
                row = await _wait_for_end(context, ctx, row, wait_ms / 1000)
            row = await context.with_last_event(row)
            if row.run.is_finished and row.run.phase is not Phase.CANCELLED:
                raise ToolError(
                    f"run is already terminal: {status_of(row)}. Call get_run for its result."
                )
            return cancel_result(row)


def add_list_runs(server: MCPServer, context: ToolContext) -> None:
    """Register list_runs."""

    @server.tool(
        title="List runs",
        annotations=ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def list_runs(
        status: Annotated[Status | None, Field(description="Only runs with this status.")] = None,
        backend: Annotated[Backend | None, Field(description="Only runs of this kind.")] = None,
        cwd: Annotated[str | None, Field(description="Only runs in this folder.")] = None,
        agent_name: Annotated[
            str | None, Field(description="Only runs of this agent: its name, or its session_id.")
        ] = None,
        parent_run_id: Annotated[
            str | None, Field(description="Only runs that this run's agent started.")
        ] = None,
        limit: Annotated[int, Field(description="The maximum number of runs.", ge=1, le=500)] = 100,
        cursor: Annotated[
            str | None, Field(description="The next_cursor of the previous page.")
        ] = None,
        namespace: Namespace = None,
    ) -> ListRunsResult:
        """
        List runs, newest first, including those that have ended or were deleted.

        Use it to find a run whose run_id is not known, or to see which runs are active. Call
        `get_run` for all of a run's fields. A page may be short, even empty, although there are
        more runs: continue with its next_cursor.
        """
        with tool_errors():
            where = await context.policy().namespace(namespace)
            agent = (agent_name or "").strip()
            which = RunFilter(
                namespaces=[where],
                phases=_phases(status),
                backend=backend,
                session_name=await session_called(context, where, agent) if agent else None,
            )
            above, above_uid = parse_run_id((parent_run_id or "").strip())

            def is_shown(row: RunRow) -> bool:
                parent = row.run.spec.parent
                is_below = not above or (
                    parent is not None and parent.name == above and above_uid in ("", parent.uid)
                )
                return is_in(row, cwd) and is_below and status in (None, status_of(row))

            return await _list(context, which, is_shown, limit, cursor or None)


async def _spawn(
    context: ToolContext,
    arguments: SpawnArguments,
    credentials: Credentials | None,
    key: str | None,
    namespace: str,
) -> RunRow:
    policy = context.policy()
    caller = policy.caller.username
    run_id = run_id_for_key(namespace, caller, key) if key else new_run_id(context.now())
    arguments, parent = policy.restrict(arguments), policy.parent()
    if key and (
        earlier := await context.runs.find_repeated(arguments, credentials, namespace, run_id)
    ):
        return earlier
    resumed = (arguments.session_id or "") if arguments.session_mode == "resume" else ""
    async with policy.reserve_child(resumed):
        made = await context.runs.spawn(arguments, credentials, namespace, run_id, caller, parent)
        return await policy.confirm_child(made)


async def _wait_for_end(
    context: ToolContext, ctx: Context[Any, Any], row: RunRow, seconds: float
) -> RunRow:
    """Wait for a run's end, up to ``seconds``, with progress notifications."""
    waited = 0.0
    while True:
        more = min(PROGRESS_SECONDS, seconds - waited)
        row = await context.follow(row, _is_over, more)
        waited += more
        if _is_over(row) or waited >= seconds or context.stopping.is_set():
            return row
        await report_wait(ctx, row, waited, seconds)


def _is_over(row: RunRow) -> bool:
    return row.run.is_finished


def _phases(status: Status | None) -> list[Phase] | None:
    """Return the phases in which a run may have ``status``."""
    if status is None:
        return None
    if status.is_terminal:
        return [phase for phase in Phase if phase.status is status]
    # The journal may be ahead of the phase, but not of a terminal phase.
    return [phase for phase in Phase if not phase.is_terminal]


async def _list(
    context: ToolContext,
    which: RunFilter,
    is_shown: Callable[[RunRow], bool],
    limit: int,
    cursor: str | None,
) -> ListRunsResult:
    shown, size, read, looked_at = list[RunView](), 0, 0, 0
    sealed_by = asyncio.get_running_loop().time() + SEAL_SECONDS
    policy = context.policy()
    namespaces = which.namespaces or () if cursor is None else ()
    unreadable = [unreadable_view(one) for where in namespaces for one in policy.unreadable(where)]
    while True:
        page = await _page(context, which, cursor)
        reused = await _reused(context, page)
        rows = await _with_last_events(context, page, is_shown, sealed_by)
        for index, row in enumerate(rows):
            if not (is_shown(row) and await may_read(policy, row)):
                continue
            try:
                is_one = row.run.metadata.name in reused
                view = run_view(row, prompt_limit=LISTED_PROMPT, is_reused=is_one)
            except ValidationError as error:
                unreadable.append(_not_shown(row, error))
                continue
            size += shown_bytes(view)
            if shown and (size > PAGE_BYTES or len(shown) == limit):
                before = encode_cursor(place_of(page.rows[index - 1].run)) if index else cursor
                return ListRunsResult(runs=shown, next_cursor=before, unreadable=unreadable)
            shown.append(view)
        cursor, read, looked_at = page.cursor, read + len(page.rows), looked_at + page.looked_at
        is_enough = (shown and read >= limit) or read >= _MOST_ROWS or looked_at >= MOST_LOOKED_AT
        if cursor is None or is_enough:
            return ListRunsResult(runs=shown, next_cursor=cursor, unreadable=unreadable)


async def _with_last_events(
    context: ToolContext, page: RunPage, is_shown: Callable[[RunRow], bool], by: float
) -> list[RunRow]:
    """Return the page's rows; those that are shown and have ended, with their last events."""
    left = max(0.0, by - asyncio.get_running_loop().time())
    meant = [row for row in page.rows if is_shown(row)]
    found = await asyncio.gather(*(context.with_last_event(row, left) for row in meant))
    by_uid = {row.run.metadata.uid: row for row in found}
    return [by_uid.get(row.run.metadata.uid, row) for row in page.rows]


async def _reused(context: ToolContext, page: RunPage) -> set[str]:
    """Return the names of the page's runs, all of one namespace, that other runs had, too."""
    metas = [row.run.metadata for row in page.rows]
    names = sorted({meta.name for meta in metas})
    return await context.store.reused_names(metas[0].namespace, names) if metas else set()


def _not_shown(row: RunRow, error: ValidationError) -> UnreadableView:
    meta = row.run.metadata
    return UnreadableView(
        run_id=meta.name, namespace=meta.namespace, uid=meta.uid, reason=problems(error)
    )


async def _page(context: ToolContext, which: RunFilter, cursor: str | None) -> RunPage:
    """Read a batch of rows: each may take a megabyte. Raises ToolError for an unknown cursor."""
    try:
        return await context.store.list_runs(which, _ROWS_AT_ONCE, cursor)
    except ValueError as error:
        raise ToolError(
            f"Unknown cursor: {cursor}. Give the next_cursor of an earlier list_runs,"
            " or leave it out to begin with the newest run."
        ) from error
