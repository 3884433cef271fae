"""MCP prompts for common workflows: which tools to call, and in which order."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from pydantic import Field

from agentrun.backends import DEFAULT

Task = Annotated[str, Field(description="The task, as text.")]
Repository = Annotated[str, Field(description="The URL of the git repository to work on.")]
Ref = Annotated[str, Field(description="The branch, tag or commit to start from.")]
BackendName = Annotated[str, Field(description="The kind of agent: codex, claude_code, …")]

_FOLLOW = """\
Then follow it: call poll_events with its run_id and after_seq 0, and again with next_after_seq,
until the status is completed, failed, cancelled or rejected. If it is input_required or
auth_required, call get_run, show me its question and its options, and wait for my answer.
When it has ended, call get_run. If it failed, show me its error and the next step."""


def add_prompts(server: MCPServer) -> None:
    """Register the prompts."""

    @server.prompt(
        title="Plan a change", description="Have an agent plan a change without making it."
    )
    def plan(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = DEFAULT.name
    ) -> str:
        return _text(
            "Have an agent plan this, without changing anything:",
            task,
            _spawn("planner", repository, ref, backend),
            "In the prompt, ask for a plan only: the files to change, in which order and why, how"
            " to test it, and what could go wrong. State that it must not edit anything.",
            "Show me the plan from result.summary, and ask whether to implement it.",
        )

    @server.prompt(title="Make a change", description="Have an agent make a change on a branch.")
    def implement(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = DEFAULT.name
    ) -> str:
        return _text(
            "Have an agent do this:",
            task,
            _spawn("worker", repository, ref, backend),
            "In the prompt, describe the whole task, what you know about the code and how to test"
            " the result: the agent does not see our conversation.",
            "Tell me result.summary, the branch and the commit, and how many files changed.",
        )

    @server.prompt(title="Review a change", description="Have an agent review a change and report.")
    def review(
        task: Task, repository: Repository = "", ref: Ref = "", backend: BackendName = DEFAULT.name
    ) -> str:
        return _text(
            "Have an agent review this, without changing anything:",
            task,
            _spawn("reviewer", repository, ref, backend),
            "In the prompt, state what to review (by default the newest commit), and ask for"
            " findings in order of severity, each with file, line and reason.",
            "Show me the findings from result.summary, the most severe first.",
        )


def _spawn(role: str, repository: str, ref: str, backend: str) -> str:
    workspace = "the workspace of its profile"
    if repository:
        at = f', "ref": "{ref}"' if ref else ""
        workspace = f'workspace {{"git": {{"url": "{repository}"{at}}}}}'
    return f"Call spawn_run with backend {backend}, role {role}, and {workspace}."


def _text(first: str, task: str, spawn: str, prompt: str, last: str) -> str:
    return f"{first}\n\n{task}\n\n{spawn} {prompt}\n\n{_FOLLOW}\n{last}"
