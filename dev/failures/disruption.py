"""What others do to a run's pod."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "The pod is taken away",
    (
        Failure(
            key="evicted",
            happened="The pod is evicted, as `kubectl drain` does.",
            reason=Reason.EVICTED,
            message=r"[Ee]vict",
            shows="Eviction API: evicting",
            bound="when the pod is gone; before the agent had its task, the pod is replaced once",
            remedy="Run it again, or allow attempts with `retry.limit`.",
        ),
        Failure(
            key="pod-deleted",
            happened="Somebody deletes the pod.",
            reason=Reason.POD_DELETED,
            message=r"pod of attempt 1 was deleted|Pod \S+ was deleted",
            shows="The pod of attempt 1 was deleted.",
            bound="when the pod is gone; before the agent had its task, the pod is replaced once",
            remedy="Run it again. To stop a run, cancel it.",
        ),
        Failure(
            key="runner-killed",
            happened="The runner is killed.",
            reason=Reason.RUNNER_FAILED,
            message=r"^The runner of pod \S+ ended \(exit code 137, killed by SIGKILL\) and "
            r"left no outcome\.",
            shows="The runner of pod fix-1 ended (exit code 137, killed by SIGKILL) and "
            "left no outcome.",
            bound="at once; the agent is ended with it",
            remedy="Look at the node: who kills processes there?",
        ),
        Failure(
            key="gateway-away",
            happened="The MCP server stays away when its answer is needed.",
            reason=Reason.STORE_UNAVAILABLE,
            message=r"^(The events could not be delivered|The gateway was unavailable): \S+",
            shows="The events could not be delivered: POST /v1/events: Cannot connect to "
            "host agentrun-mcp.agentrun-system.svc:8081",
            bound="after `operator.gatewayTimeoutSeconds`; while the agent works it may be "
            "away for ever",
            remedy="Look at the MCP server: `kubectl get pods -n agentrun-system`.",
        ),
    ),
)
