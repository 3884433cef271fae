"""``agentrun runs diff``: a run's change as a patch."""

from rich.text import Text

from agentrun.api.printable import printable
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import Ref, with_tools
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.reading import find_patch, read_field
from agentrun.cli.screen import Screen

_STYLES = (
    ("+++", "bold"), ("---", "bold"), ("diff ", "bold"), ("index ", "dim"),
    ("@@", "cyan"), ("+", "green"), ("-", "red"),
)  # fmt: skip


def diff(connection: ConnectionOptions, run: Ref) -> None:
    """
    Print the change a run made, as a git patch.

    In colours on a terminal; piped, it is the patch itself, byte by byte:
    `agentrun runs diff RUN | git apply`.
    """

    async def work(tools: Tools) -> None:
        found = await tools.find_run(run)
        event = await find_patch(tools, found)
        screen = Screen()
        patch = b""
        async for part in read_field(tools, found.run_id, event.seq, "/patch"):
            if not screen.out.is_terminal:
                screen.pass_on(part)
                continue
            # Only complete lines are coloured.
            *lines, patch = (patch + part).split(b"\n")
            for line in lines:
                screen.line(_coloured(line))
        if patch:
            screen.line(_coloured(patch))

    with_tools(connection, work)


def _coloured(line: bytes) -> Text:
    text = printable(line.decode(errors="replace"))
    style = next((style for start, style in _STYLES if text.startswith(start)), "")
    return Text(text, style=style)
