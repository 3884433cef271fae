"""The failures of the agent's program."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "The agent program",
    (
        Failure(
            key="agent-missing",
            happened="The image does not contain the program.",
            reason=Reason.AGENT_NOT_FOUND,
            message=r"^The image has no such agent program, or it cannot be executed\. .*\S+",
            shows="The image has no such agent program, or it cannot be executed. Its last "
            "output: codex-acp: not found",
            bound="at once",
            remedy="Correct the profile's `command` or `image`.",
        ),
        Failure(
            key="agent-foreign",
            happened="The program is built for another architecture.",
            reason=Reason.AGENT_NOT_FOUND,
            message=r"^The agent program is built for another architecture than the "
            r"node's\..*Exec format error",
            shows="The agent program is built for another architecture than the node's. "
            "Its last output: /usr/bin/agent: Exec format error",
            bound="at once",
            remedy="Use an image for the nodes' architecture, or select nodes with the "
            "profile's `pod.nodeSelector`.",
        ),
        Failure(
            key="agent-exits-early",
            happened="The program exits before it answers, even with exit code 0.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code 0\) before its turn ended\.$",
            shows="The agent program ended (exit code 0) before its turn ended.",
            bound="at once",
            remedy="Correct the profile's `command`: it must speak ACP on its standard streams.",
        ),
        Failure(
            key="agent-killed",
            happened="The program is killed by a signal.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code 137, killed by SIGKILL\)",
            shows="The agent program ended (exit code 137, killed by SIGKILL) before its turn"
            " ended.",
            bound="at once",
            remedy="Read the last events: they may show what caused the signal.",
        ),
        Failure(
            key="agent-exits-in-turn",
            happened="The program exits before its turn ends.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code 3\) before .* Its last output: \S+",
            shows="The agent program ended (exit code 3) before its turn ended. Its last "
            "output: cannot read config.toml",
            bound="at once",
            remedy="Read its last output; the events show what it did before.",
        ),
        Failure(
            key="agent-exits-silently",
            happened="The program exits before its turn ends, without output.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code \d+.*\) before its turn ended\.$",
            shows="The agent program ended (exit code 139, killed by SIGSEGV) before its turn"
            " ended.",
            bound="at once",
            remedy="Read the last events: they show what it did before.",
        ),
        Failure(
            key="agent-mute",
            happened="The program does not answer the handshake.",
            reason=Reason.AGENT_UNRESPONSIVE,
            message=r"^The agent did not answer within 60 s\.",
            shows="The agent did not answer within 60 s.",
            bound="after a minute",
            remedy="Correct the profile's `command`: it may not speak ACP, or may wait for a"
            " sign-in.",
        ),
        Failure(
            key="agent-garbage",
            happened="The program writes output that is not the protocol.",
            reason=Reason.AGENT_UNRESPONSIVE,
            message=r"^The agent did not answer within 60 s\. The last line that is not a message"
            r" of ACP: 'Welcome to the agent!'\.",
            shows="The agent did not answer within 60 s. The last line that is not a message of"
            " ACP: 'Welcome to the agent!'.",
            bound="after a minute",
            remedy="Correct the profile's `command`: it must speak ACP on its standard streams.",
        ),
        Failure(
            key="agent-no-session",
            happened="The program does not open a session.",
            reason=Reason.AGENT_UNRESPONSIVE,
            message=r"^The agent did not answer within 60 s\.",
            shows="The agent did not answer within 60 s.",
            bound="after a minute",
            remedy="Read `kubectl logs POD -c runner`: the agent may wait for a server of its own.",
        ),
        Failure(
            key="agent-line-too-long",
            happened="The program writes a line that exceeds the limit.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The agent broke the protocol: a line .* has \d+ bytes .* limit of"
            r" 33554432\.$",
            shows="The agent broke the protocol: a line of its output has 33619968 bytes or more,"
            " beyond the limit of 33554432.",
            bound="at once",
            remedy="This is an error of the agent program: use another version of it.",
        ),
        Failure(
            key="agent-answers-error",
            happened="The program answers its task with an error.",
            reason=Reason.PROVIDER_ERROR,
            message=r"the agent cannot go on|context too long",
            shows="context too long",
            bound="at once",
            remedy="Follow the message: it is the agent's own.",
        ),
        Failure(
            key="agent-leaves-children",
            happened="The program starts other processes and exits, and they hang.",
            reason=Reason.AGENT_EXITED,
            message=r"^The agent program ended \(exit code 0\) before its turn ended\.",
            shows="The agent program ended (exit code 0) before its turn ended.",
            bound="at once; the processes that it started are killed with it",
            remedy="Correct the profile's `command`: the program must not exit before its"
            " children.",
        ),
        Failure(
            key="fork-bomb",
            happened="A tool of the agent starts more processes than the node allows in a pod.",
            reason=Reason.COMPLETED,
            message=r"finished",
            shows="The agent finished.",
            bound="at once: the tool fails, the agent continues, and other pods are not affected",
            remedy="Set the kubelet's `podPidsLimit`: without it, the node runs out of processes.",
            phase=Phase.COMPLETED,
        ),
    ),
)
