"""``agentrun agents``: list agents, and read and write their mailboxes."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.asking import text_message
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import with_tools
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.render.runs import status_text
from agentrun.cli.render.text import Columns, age, clock, line_of, now
from agentrun.cli.screen import OutputFormat, OutputOption, Screen

Name = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's name.")]


def list_(
    connection: ConnectionOptions,
    status: Annotated[
        str, typer.Option(help="Only agents with this status: idle, running, …")
    ] = "",
    backend: Annotated[str, typer.Option(help="Only agents of this backend.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number.")] = 50,
    cursor: Annotated[str, typer.Option(help="The next_cursor of the previous page.")] = "",
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """List agents, the most recently active first."""

    async def work(tools: Tools) -> None:
        filters = {"status": status, "backend": backend, "cursor": cursor}
        given = {name: value for name, value in filters.items() if value}
        page = await tools.list_agents(**given, limit=limit)
        screen = Screen()
        match output:
            case OutputFormat.JSON:
                screen.json(page.raw())
            case OutputFormat.JSONL:
                screen.jsonl(*(agent.raw() for agent in page.agents))
            case OutputFormat.TEXT if not page.agents and page.next_cursor:
                screen.note("None of the agents on this page match.")
            case OutputFormat.TEXT if not page.agents:
                screen.note("There are no agents: `agentrun run --name NAME PROMPT` creates one.")
            case OutputFormat.TEXT:
                made = Columns("AGENT", "STATUS", "ROLE", "ACTIVE", "LAST RUN")
                for agent in page.agents:
                    made.add(
                        line_of(agent.agent_name, 52), status_text(agent.status),
                        agent.role or "-", age(agent.updated_at, now()), agent.last_run_id or "-",
                    )  # fmt: skip
                screen.show(made)
        if page.next_cursor and output is not OutputFormat.JSON:
            screen.note(f"There are more: --limit N, or --cursor {page.next_cursor}")

    with_tools(connection, work)


def send(
    connection: ConnectionOptions,
    agent: Name,
    words: Annotated[list[str] | None, typer.Argument(metavar="TEXT")] = None,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="The text, instead of arguments.")
    ] = "",
    sender: Annotated[
        str, typer.Option("--from", help="The agent that is named as the sender.")
    ] = "",
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Send a message to an agent's mailbox."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    text = prompt or " ".join(words or [])
    if not (text.strip() or piped):
        raise typer.BadParameter("there is no text: agentrun agents send AGENT WORDS...")

    async def work(tools: Tools) -> None:
        sent = await tools.send_agent_message(
            to_agent_name=agent,
            from_agent_name=sender or None,
            message=text_message(text.strip(), piped),
        )
        screen = Screen()
        match output:
            case OutputFormat.JSON:
                screen.json(sent.raw())
            case OutputFormat.JSONL:
                screen.jsonl(sent.raw())
            case OutputFormat.TEXT:
                screen.show(f"sent to {sent.to_agent_name or agent} as its message {sent.seq}")

    with_tools(connection, work)


def inbox(
    connection: ConnectionOptions,
    agent: Name,
    after: Annotated[int, typer.Option(min=0, help="Only messages after this seq.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number.")] = 100,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Print an agent's mailbox; it is not changed."""

    async def work(tools: Tools) -> None:
        page = await tools.fetch_agent_messages(agent, after_seq=after, limit=limit)
        screen = Screen()
        match output:
            case OutputFormat.JSON:
                screen.json(page.raw())
            case OutputFormat.JSONL:
                screen.jsonl(*(message.raw() for message in page.messages))
            case OutputFormat.TEXT if not page.messages:
                screen.note(f"There are no messages for {agent}.")
            case OutputFormat.TEXT:
                for message in page.messages:
                    head = f"[{message.seq}] {clock(message.created_at)} "
                    sender = message.from_agent_name or "system"
                    body = "\n".join(_part(part) for part in message.body.parts)
                    screen.show(
                        Text.assemble(
                            (head, "dim"), (printable(sender), "cyan"), ": ", printable(body)
                        )
                    )

    with_tools(connection, work)


def _part(part: dict[str, object]) -> str:
    return str(part.get("text") or part.get("data") or part.get("uri") or part.get("name") or "")
