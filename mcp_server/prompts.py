"""MCP prompts for common workflows: which tools to call, and in which order."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from pydantic import Field

Task = Annotated[str, Field(description="What is to be done, in words.")]
Repository = Annotated[str, Field(description="The git repository to work on, as a URL.")]
Ref = Annotated[str, Field(description="The branch, tag or commit to begin at.")]
BackendName = Annotated[str, Field(description="Which kind of agent: codex, claude_code, …")]

_FOLLOW = """\
Then follow it: call poll_events with its run_id and after_seq 0, and again with next_after_seq,
until the status is completed, failed, cancelled or rejected. If it is input_required or
auth_required, call get_run, show me its question and its options, and wait for my answer.
When it is over, call get_run. If it failed, tell me its error and what it suggests to do."""


def add_prompts(server: MCPServer) -> None:
    """Register the prompts."""

    @server.prompt(title="Plan a change", description="Have an agent plan, and change nothing.")
    def plan(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = "codex"
    ) -> str:
        return _text(
            "Have an agent plan this, without changing anything:",
            task,
            _spawn("planner", repository, ref, backend),
            "In the prompt, ask for a plan only: the files to change, in which order and why, how"
            " to test it, and what could go wrong. Say that it must not edit anything.",
            "Show me the plan from result.summary, and ask whether to go on with it.",
        )

    @server.prompt(title="Make a change", description="Have an agent do the work on a branch.")
    def implement(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = "codex"
    ) -> str:
        return _text(
            "Have an agent do this:",
            task,
            _spawn("worker", repository, ref, backend),
            "In the prompt, describe the whole task, with what you know of the code and how the"
            " result is to be tested: the agent sees nothing else of our conversation.",
            "Tell me result.summary, the branch and the commit, and how many files changed.",
        )

    @server.prompt(title="Review a change", description="Have an agent review, and report.")
    def review(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = "codex"
    ) -> str:
        return _text(
            "Have an agent review this, without changing anything:",
            task,
            _spawn("reviewer", repository, ref, backend),
            "In the prompt, say what is to be reviewed (the newest commit, if nothing else is"
            " said), and ask for findings in order of weight, each with file, line and reason.",
            "Show me the findings from result.summary, the gravest first.",
        )


def _spawn(role: str, repository: str, ref: str, backend: str) -> str:
    workspace = "the workspace that its profile has"
    if repository:
        at = f', "ref": "{ref}"' if ref else ""
        workspace = f'workspace {{"git": {{"url": "{repository}"{at}}}}}'
    return f"Call spawn_run with backend {backend}, role {role}, and {workspace}."


def _text(first: str, task: str, spawn: str, prompt: str, last: str) -> str:
    return f"{first}\n\n{task}\n\n{spawn} {prompt}\n\n{_FOLLOW}\n{last}"
