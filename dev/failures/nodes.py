"""What becomes of runs when their node is lost, emptied or shut down."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_AT_ONCE = "as soon as the pod is gone"
_AGAIN = "Run it again; `spec.retry.limit` of a run has a lost pod replaced."

THEME = Theme(
    "The node",
    (
        Failure(
            key="node-lost",
            happened="The node stopped to answer, and came back after its pods were given up.",
            reason=Reason.NODE_LOST,
            message=r"^(Node \S+ does not confirm that pod \S+ has terminated|Taint manager: )",
            shows="Node worker-3 does not confirm that pod run-1-1 has terminated. Check whether"
            " the node is down.",
            bound="as long as the node is away: nobody knows whether the agent still works there;"
            " until then the run keeps its phase, with `PodTerminated` Unknown",
            remedy="Bring the node back, or make sure that it is off and delete the pod by force."
            " Then run it again.",
        ),
        Failure(
            key="node-lost-pod-removed-by-force",
            happened="The node is lost, and somebody deleted its pod by force.",
            reason=Reason.NODE_LOST,
            message=r"^(Node \S+ does not confirm that pod \S+ has terminated|Taint manager: )",
            shows="Node worker-3 does not confirm that pod run-1-1 has terminated. Check whether"
            " the node is down.",
            bound=_AT_ONCE,
            remedy="Make sure that the node is off: what runs there is not watched any more. "
            + _AGAIN,
        ),
        Failure(
            key="node-removed",
            happened="The node was removed from the cluster.",
            reason=Reason.EVICTED,
            message=r"^PodGC: node no longer exists",
            shows="PodGC: node no longer exists",
            bound="a minute or so: the cluster collects the pod",
            remedy=_AGAIN,
        ),
        Failure(
            key="drained",
            happened="The node was drained.",
            reason=Reason.EVICTED,
            message=r"^Eviction API: evicting",
            shows="Eviction API: evicting",
            bound=_AT_ONCE,
            remedy=_AGAIN,
        ),
        Failure(
            key="tainted",
            happened="The node got a NoExecute taint that the pod does not tolerate.",
            reason=Reason.NODE_LOST,
            message=r"^Taint manager: deleting due to NoExecute taint",
            shows="Taint manager: deleting due to NoExecute taint",
            bound=_AT_ONCE,
            remedy="Have the profile's `pod.tolerations` tolerate the taint, or run it again.",
        ),
        Failure(
            key="node-shut-down",
            happened="The node was shut down.",
            reason=Reason.EVICTED,
            message=r"imminent node shutdown",
            shows="Pod was terminated in response to imminent node shutdown.",
            bound=_AT_ONCE,
            remedy=_AGAIN,
        ),
        Failure(
            key="preempted",
            happened="A pod of a higher priority took its place.",
            reason=Reason.EVICTED,
            message=r"preempting to accommodate a higher priority pod",
            shows="default-scheduler: preempting to accommodate a higher priority pod",
            bound=_AT_ONCE,
            remedy="Give the profile a `pod.priorityClassName`, or the cluster more room. "
            + _AGAIN,
        ),
    ),
)
