"""The tools that list agents, and send and read messages."""

from typing import Annotated, Any
from uuid import NAMESPACE_OID, uuid4, uuid5

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentSession, Backend
from agentrun.store.base import NewMessage
from agentrun.store.message_text import encode_message
from agentrun.store.paging import Place, decode_cursor
from mcp_server.schemas.agent_views import Wanted, message_view, send_result
from mcp_server.schemas.agents import (
    AgentState,
    FetchResult,
    ListAgentsResult,
    SendResult,
)
from mcp_server.schemas.answer_size import PAGE_BYTES, within
from mcp_server.schemas.arguments import absolute_cwd, check_bounds, check_message
from mcp_server.tools.agent_pages import page_of_agents
from mcp_server.tools.context import ToolContext, tool_errors
from mcp_server.tools.mailboxes import read_mail
from mcp_server.tools.run_lookup import Namespace, find_agent
from mcp_server.tools.waiting import read_until

_Folder = Annotated[
    str | None, Field(description="Only an agent that works, or has worked, in this folder.")
]
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def add_list_agents(server: MCPServer, context: ToolContext) -> None:
    """Register list_agents."""

    @server.tool(title="List agents", annotations=_READS)
    async def list_agents(
        cwd: Annotated[
            str | None, Field(description="Only agents that work in this folder.")
        ] = None,
        backend: Annotated[Backend | None, Field(description="Only agents of this kind.")] = None,
        status: Annotated[
            AgentState | None,
            Field(
                description="Only agents with this status: that of the active run, else of the"
                " newest run; `idle` if they have had no run."
            ),
        ] = None,
        limit: Annotated[
            int, Field(description="The maximum number of agents.", ge=1, le=500)
        ] = 100,
        cursor: Annotated[
            str | None, Field(description="The next_cursor of the previous page.")
        ] = None,
        namespace: Namespace = None,
    ) -> ListAgentsResult:
        """
        List the agents and the status of each, most recently changed first.

        Use it to find the recipient for `send_agent_message`, or an agent without an active
        run whose conversation `spawn_run` can resume. An agent that changes between two calls moves
        to the front. A page may have fewer agents than `limit`, or none, and still a
        `next_cursor`: pass that as `cursor` to continue.
        """
        with tool_errors():
            where = await context.policy().namespace(namespace)
            before = _place_in(cursor) if cursor else None
            folder = absolute_cwd(cwd) if cwd else None
            wanted = Wanted(backend, status, folder)
            return await page_of_agents(
                context.store, context.runs.sessions, where, wanted, limit, before
            )


def add_send_agent_message(server: MCPServer, context: ToolContext) -> None:
    """Register send_agent_message."""

    @server.tool(
        title="Send a message to an agent",
        annotations=ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=False,
        ),
    )
    async def send_agent_message(
        to_agent_name: Annotated[
            str, Field(description="The recipient: its agent_name or session_id.", min_length=1)
        ],
        message: Annotated[AgentMessage, Field(description="The message; at most 256 KiB.")],
        from_agent_name: Annotated[
            str | None,
            Field(description="The sending agent; without it, the message has no sender."),
        ] = None,
        metadata: Annotated[
            dict[str, Any] | None,
            Field(
                description="Stored with the message. By convention `kind`, and `reply_to` with the"
                " message_id of the original."
            ),
        ] = None,
        idempotency_key: Annotated[
            str | None,
            Field(
                description="A unique string. A repeated call with it sends no second message.",
                max_length=256,
            ),
        ] = None,
        cwd: _Folder = None,
        namespace: Namespace = None,
    ) -> SendResult:
        """
        Put a message into an agent's mailbox, whether or not it has an active run.

        The agent reads it with `fetch_agent_messages`, or receives it between or during its
        turns if its profile enables this. An agent without an active run receives it in its
        next one: `spawn_run` with session_mode `resume` starts that.
        """
        with tool_errors():
            check_message(message, "message")
            check_bounds(metadata, "metadata")
            policy = context.policy()
            where = await policy.namespace(namespace)
            sender = None
            if name := policy.agent_name_of(from_agent_name):
                # If the caller is an agent, it is the sender, and cwd only selects the recipient.
                is_agent = policy.caller.agent_name is not None
                sender = await find_agent(context, where, name, None if is_agent else cwd)
            recipient = await find_agent(context, where, to_agent_name, cwd)
            new = NewMessage(
                message_id=_message_id(policy.caller.username, recipient, idempotency_key),
                to_session_uid=recipient.metadata.uid,
                to_agent_name=recipient.metadata.name,
                body=message,
                from_session_uid=sender.metadata.uid if sender else None,
                from_agent_name=sender.metadata.name if sender else None,
                metadata=metadata,
            )
            stored = await context.store.messages.send(new)
            if not _is_same(stored.sent, new):
                raise ToolError(
                    "idempotency_key was used before for another message to"
                    f" {recipient.metadata.name}, number {stored.seq}. Use another key."
                )
            return send_result(stored)


def add_fetch_agent_messages(server: MCPServer, context: ToolContext) -> None:
    """Register fetch_agent_messages."""

    @server.tool(title="Read an agent's messages", annotations=_READS)
    async def fetch_agent_messages(
        agent_name: Annotated[
            str | None,
            Field(
                description="The owner of the mailbox: its agent_name or session_id. An agent that"
                " calls from its pod reads its own and may omit this."
            ),
        ] = None,
        after_seq: Annotated[
            int, Field(description="0 at first, then the previous next_after_seq.", ge=0)
        ] = 0,
        limit: Annotated[
            int, Field(description="The maximum number of messages.", ge=1, le=1000)
        ] = 100,
        wait_ms: Annotated[
            int, Field(description="How long to wait for a message.", ge=0, le=30_000)
        ] = 0,
        cwd: _Folder = None,
        namespace: Namespace = None,
    ) -> FetchResult:
        """
        Return the messages in an agent's mailbox after `after_seq`.

        Reading removes no message. Call it again with `after_seq` set to `next_after_seq` for
        later messages; with `wait_ms` it waits for one. Reply with `send_agent_message`.
        """
        with tool_errors():
            policy = context.policy()
            where, name = await policy.namespace(namespace), policy.agent_name_of(agent_name)
            if name is None:
                raise ToolError(
                    f"Provide agent_name. Call list_agents to see the agents in namespace {where}."
                )
            agent = await find_agent(context, where, name, cwd)
            stored = context.store.messages
            found = await read_until(
                bool,
                lambda: read_mail(stored, agent.metadata.uid, after_seq, limit, PAGE_BYTES),
                stored.changes(agent.metadata.uid, after_seq),
                wait_ms / 1000,
                context.stopping,
            )
            messages = within([message_view(one) for one in found])
            return FetchResult(
                agent_name=agent.metadata.name,
                session_id=agent.metadata.uid,
                messages=messages,
                next_after_seq=messages[-1].seq if messages else after_seq,
            )


def _message_id(caller: str, recipient: AgentSession, key: str | None) -> str:
    """Return a message id, derived from caller, recipient and ``key``; random without a key."""
    if key is None:
        return str(uuid4())
    return str(uuid5(NAMESPACE_OID, "\0".join((caller, recipient.metadata.uid, key))))


def _is_same(one: NewMessage, other: NewMessage) -> bool:
    return (one.from_session_uid, encode_message(one)) == (
        other.from_session_uid,
        encode_message(other),
    )


def _place_in(cursor: str) -> Place:
    try:
        place = decode_cursor(cursor)
        if ":" in place[1]:
            # Cursors of the previous version have a time in place of the name.
            raise ValueError("no name of an agent")
    except ValueError as error:
        raise ToolError(
            f"Unknown cursor: {cursor}. Give the next_cursor of an earlier list_agents,"
            " or leave it out to begin with the agent that changed last."
        ) from error
    return place
