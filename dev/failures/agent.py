"""What the agent's program can do wrong."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "The agent program",
    (
        Failure(
            key="agent-missing",
            happened="The image has no such program.",
            reason=Reason.AGENT_NOT_FOUND,
            message=r"^The image has no such agent program, or it cannot be executed\. .*\S+",
            shows="The image has no such agent program, or it cannot be executed. Its last words:"
            " codex-acp: not found",
            bound="at once",
            remedy="Mend the profile's `command` or `image`.",
        ),
        Failure(
            key="agent-exits-in-turn",
            happened="The program ends before its turn does.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code 3\) before .* Its last words: \S+",
            shows="The agent program ended (exit code 3) before its turn did. Its last words:"
            " cannot read config.toml",
            bound="at once",
            remedy="Read its last words; the events tell what it did before.",
        ),
        Failure(
            key="agent-line-too-long",
            happened="The program writes a line beyond any bound.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The agent broke the protocol: .*line",
            shows="The agent broke the protocol: a line of its output has 33619968 bytes or more,"
            " beyond the limit of 33554432.",
            bound="at once",
            remedy="This is an error of the agent program: use another version of it.",
        ),
        Failure(
            key="deadline",
            happened="The agent hangs, or works too long.",
            reason=Reason.DEADLINE_EXCEEDED,
            message=r"^The run worked longer than \d+ s\.",
            shows="The run worked longer than 3600 s.",
            bound="after `timeouts.activeDeadlineSeconds` of run and profile, else"
            " `operator.defaultDeadlineSeconds`",
            remedy="Look at the last events; ask for more time, or for less work.",
        ),
    ),
)
