"""Disruptions of a run's pod, and of the MCP server."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "The pod is disrupted",
    (
        Failure(
            key="evicted",
            happened="The pod is evicted, for example by `kubectl drain`.",
            reason=Reason.EVICTED,
            message=r"[Ee]vict",
            shows="Eviction API: evicting",
            bound="when the pod is gone; before the prompt is sent, the pod is replaced once",
            remedy="Run it again, or allow attempts with `retry.limit`.",
        ),
        Failure(
            key="pod-deleted",
            happened="A user or a controller deletes the pod.",
            reason=Reason.POD_DELETED,
            message=r"pod of attempt 1 was deleted|Pod \S+ was deleted",
            shows="The pod of attempt 1 was deleted.",
            bound="when the pod is gone; before the prompt is sent, the pod is replaced once",
            remedy="Run it again. To stop a run, cancel it.",
        ),
        Failure(
            key="runner-killed",
            happened="The runner is killed.",
            reason=Reason.RUNNER_FAILED,
            message=r"^The runner of pod \S+ terminated \(exit code 137, killed by SIGKILL\) "
            r"without an outcome\.",
            shows="The runner of pod fix-1 terminated (exit code 137, killed by SIGKILL) "
            "without an outcome.",
            bound="at once; the agent is terminated with it",
            remedy="Check what kills processes on the node.",
        ),
        Failure(
            key="gateway-away",
            happened="The MCP server is unavailable when its response is required.",
            reason=Reason.STORE_UNAVAILABLE,
            message=r"^(The events could not be delivered|The gateway was unavailable): \S+",
            shows="The events could not be delivered: POST /v1/events: Cannot connect to "
            "host agentrun-mcp.agentrun-system.svc:8081",
            bound="after `operator.gatewayTimeoutSeconds`; while the agent works, without a limit",
            remedy="Check the MCP server: `kubectl get pods -n agentrun-system`.",
        ),
    ),
)
