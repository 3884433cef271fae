"""``agentrun ask``, ``run`` and ``review``: start a run, and stay with it or not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from agentrun.api.bounded_json import read
from agentrun.backends import DEFAULT
from agentrun.backends.remote_a2a import REMOTE_A2A
from agentrun.cli import exits
from agentrun.cli.asking import text_message
from agentrun.cli.client import Tools
from agentrun.cli.commands.common import parse_duration, with_tools
from agentrun.cli.commands.profiles import read_profiles
from agentrun.cli.following import Cursor
from agentrun.cli.foreground import Foreground
from agentrun.cli.options import ConnectionOptions
from agentrun.cli.problems import CliError
from agentrun.cli.render.runs import live_steps
from agentrun.cli.screen import OutputFormat, OutputOption, Screen


def starter(name: str, role: str, doc: str) -> Callable[..., None]:
    """Build the command that starts runs of a role."""

    def start(
        connection: ConnectionOptions,
        words: Annotated[
            list[str] | None, typer.Argument(metavar="PROMPT", help="The task.")
        ] = None,
        prompt: Annotated[
            str,
            typer.Option("--prompt", "-p", help="The task, instead of arguments."),
        ] = "",
        backend: Annotated[
            str,
            typer.Option(
                envvar="AGENTRUN_BACKEND",
                help="codex, claude_code, opencode, gemini, acp or remote_a2a. Default: that of"
                " --profile or --resume, else codex.",
                show_default=False,
            ),
        ] = "",
        profile: Annotated[
            str,
            typer.Option(
                envvar="AGENTRUN_PROFILE",
                help="The AgentProfile: see `agentrun profiles list`.",
                show_default=False,
            ),
        ] = "",
        model: Annotated[str, typer.Option(help="The model, if the profile allows several.")] = "",
        repo: Annotated[
            str, typer.Option(metavar="URL", help="The git repository to work on.")
        ] = "",
        ref: Annotated[str, typer.Option(help="The branch, tag or commit to start from.")] = "",
        branch: Annotated[str, typer.Option(help="The branch for the change.")] = "",
        cwd: Annotated[str, typer.Option(help="The folder in the workspace to work in.")] = "",
        agent: Annotated[str, typer.Option("--name", help="A name for the new agent.")] = "",
        resume: Annotated[
            str,
            typer.Option(
                metavar="AGENT", help="Continue the conversation of this agent or session."
            ),
        ] = "",
        schema: Annotated[
            Path | None, typer.Option(metavar="FILE", help="A JSON Schema for the final answer.")
        ] = None,
        agent_url: Annotated[
            str, typer.Option(help="The URL of the remote agent, for remote_a2a.")
        ] = "",
        metadata: Annotated[
            list[str] | None,
            typer.Option(metavar="KEY=VALUE", help="Metadata of the run. May be repeated."),
        ] = None,
        deadline: Annotated[
            str, typer.Option(metavar="DURATION", help="The deadline of the run: 90s, 15m, 1h30m.")
        ] = "",
        idempotency_key: Annotated[
            str,
            typer.Option(
                metavar="WORD", help="A repeated command with the same key starts no second run."
            ),
        ] = "",
        detach: Annotated[
            bool, typer.Option("--detach", help="Start the run, print its id, and exit.")
        ] = False,
        output: OutputOption = OutputFormat.TEXT,
    ) -> None:
        if prompt and words:
            raise typer.BadParameter("give the task once: as words, or with --prompt")
        piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
        task = prompt or " ".join(words or [])
        if not task.strip() and not piped:
            raise typer.BadParameter(
                f"there is no task: agentrun {name} WORDS..., or --prompt, or text on stdin"
            )
        git = {"url": repo, "ref": ref, "branch": branch}
        if (ref or branch) and not repo:
            raise typer.BadParameter("--ref and --branch need --repo")
        arguments: dict[str, Any] = {
            "role": role,
            "prompt": task if task.strip() else piped,
            "input_message": text_message(piped) if task.strip() and piped else None,
            "profile": profile,
            "model": model,
            "workspace": {"git": {k: v for k, v in git.items() if v}} if repo else None,
            "cwd": cwd,
            "nickname": agent,
            "session_mode": "resume" if resume else "new",
            "session_id": resume,
            "output_schema": _schema(schema),
            "backend_config": {"agent_url": agent_url} if agent_url else None,
            "metadata": _metadata(metadata or []),
            "timeouts": {"active_deadline_seconds": parse_duration(deadline)} if deadline else None,
            "idempotency_key": idempotency_key,
        }
        arguments = {key: value for key, value in arguments.items() if value}

        async def work(tools: Tools) -> int:
            chosen = backend or (REMOTE_A2A.name if agent_url else "")
            chosen = chosen or await _backend(tools, connection, profile, resume)
            return await _start(tools, {"backend": chosen, **arguments}, detach, output)

        with_tools(connection, work)

    start.__name__, start.__doc__ = name, doc
    return start


async def _start(
    tools: Tools, arguments: dict[str, Any], detach: bool, output: OutputFormat
) -> int:
    screen = Screen()
    spawned = await tools.spawn_run(**arguments)
    if detach:
        match output:
            case OutputFormat.JSON:
                screen.json(spawned.raw())
            case OutputFormat.JSONL:
                screen.jsonl({"type": "spawn", "payload": spawned.raw()})
            case OutputFormat.TEXT:
                screen.show(spawned.run_id)
                screen.steps(live_steps(spawned.run_id))
        return exits.OK
    if output is OutputFormat.TEXT:
        name = spawned.agent_name if spawned.agent_name != spawned.run_id else ""
        screen.note(f"{spawned.run_id}{f' ({name})' if name else ''} is {spawned.status}")
    cursor = Cursor(spawned.run_id, status=spawned.status)
    foreground = Foreground(tools, screen, output, None, cursor)
    code = await foreground.watch()
    if output is OutputFormat.JSON and code != exits.INTERRUPTED:
        run = await tools.get_run(spawned.run_id)
        result = run.result.raw() if run.result else None
        screen.json({"spawn": spawned.raw(), "run": run.raw(), "result": result})
    return code


async def _backend(tools: Tools, connection: ConnectionOptions, profile: str, resume: str) -> str:
    """Return the backend of the resumed agent or of the profile, else the default."""
    try:
        if resume:
            return (await tools.find_run(resume)).backend or DEFAULT.name
        if profile:
            named = [p for p in await read_profiles(tools, connection) if p.name == profile]
            return named[0].backend if named else DEFAULT.name
    except CliError:
        # The MCP server reports what is wrong with the arguments.
        return DEFAULT.name
    return DEFAULT.name


def _schema(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        content = read(file.read_bytes(), "it")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--schema {file} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"--schema {file} must hold a JSON object, a JSON Schema")
    return content


def _metadata(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for key, sign, _ in split:
        if not key or not sign:
            raise typer.BadParameter(f"--metadata takes KEY=VALUE, not {key!r}")
    return {key: value for key, _, value in split}


ask = starter(
    "ask", "planner",
    """
    Ask an agent something, or have it make a plan, and watch it.

    Text on stdin is appended to the task. Exits with 0 when the run is completed, 5 when it failed
    or was rejected, 6 when it was cancelled, 7 when it waits for an answer and the session is not
    interactive. Ctrl-C asks what to do with the run; a second Ctrl-C leaves it running.
    """,
)  # fmt: skip
run = starter(
    "run", "worker",
    """
    Have an agent do some work, and watch it.

    Text on stdin is appended to the task. Exits with 0 when the run is completed, 5 when it failed
    or was rejected, 6 when it was cancelled, 7 when it waits for an answer and the session is not
    interactive. Ctrl-C asks what to do with the run; a second Ctrl-C leaves it running.

    \b
    agentrun run --repo https://git.example.com/app.git Fix the flaky test
    git diff | agentrun run Make a changelog of this
    """,
)  # fmt: skip
review = starter(
    "review", "reviewer",
    """
    Have an agent review something, and watch it.

    Text on stdin is appended to the task. Exits with 0 when the run is completed, 5 when it failed
    or was rejected, 6 when it was cancelled, 7 when it waits for an answer and the session is not
    interactive. Ctrl-C asks what to do with the run; a second Ctrl-C leaves it running.
    """,
)  # fmt: skip
