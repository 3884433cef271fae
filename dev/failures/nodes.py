"""Runs whose node is lost, drained or shut down."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_AT_ONCE = "as soon as the pod is gone"
_AGAIN = "Run it again; with `spec.retry.limit`, a lost pod is replaced."

THEME = Theme(
    "The node",
    (
        Failure(
            key="node-lost",
            happened="The node became unreachable, and returned after the deletion of its pods had"
            " been requested.",
            reason=Reason.NODE_LOST,
            message=r"^(Node \S+ does not confirm that pod \S+ has terminated|Taint manager: )",
            shows="Node worker-3 does not confirm that pod run-1-1 has terminated. Check whether"
            " the node is down.",
            bound="when the node returns: until then it is unknown whether the agent still works,"
            " and the run keeps its phase, with `PodTerminated` Unknown",
            remedy="Bring the node back, or make sure that it is off and force-delete the pod."
            " Then run it again.",
        ),
        Failure(
            key="node-lost-pod-removed-by-force",
            happened="The node is lost, and its pod was force-deleted.",
            reason=Reason.NODE_LOST,
            message=r"^(Node \S+ does not confirm that pod \S+ has terminated|Taint manager: )",
            shows="Node worker-3 does not confirm that pod run-1-1 has terminated. Check whether"
            " the node is down.",
            bound=_AT_ONCE,
            remedy="Make sure that the node is off: its processes are no longer monitored. "
            + _AGAIN,
        ),
        Failure(
            key="node-removed",
            happened="The node was removed from the cluster.",
            reason=Reason.EVICTED,
            message=r"^PodGC: node no longer exists",
            shows="PodGC: node no longer exists",
            bound="after about a minute, when Kubernetes' pod garbage collector deletes the pod",
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
            remedy="Tolerate the taint in the profile's `pod.tolerations`, or run it again.",
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
            happened="A pod of a higher priority preempted the run's pod.",
            reason=Reason.EVICTED,
            message=r"preempting to accommodate a higher priority pod",
            shows="default-scheduler: preempting to accommodate a higher priority pod",
            bound=_AT_ONCE,
            remedy="Give the profile a `pod.priorityClassName`, or the cluster more capacity. "
            + _AGAIN,
        ),
    ),
)
