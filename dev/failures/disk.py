"""Runs that exceed a limit of memory or disk."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "Memory and disk",
    (
        Failure(
            key="memory-tool",
            happened="A tool of the agent exceeds the memory limit (node with cgroup v1).",
            reason=Reason.COMPLETED,
            message=r"finished",
            shows="The agent finished.",
            bound="at once: the tool is killed, and the agent continues",
            remedy="Raise the profile's `resources.limits` if the agent requires the tool.",
            phase=Phase.COMPLETED,
        ),
        Failure(
            key="memory-agent",
            happened="The agent exceeds the memory limit; with cgroup v2, also one of its tools.",
            reason=Reason.OUT_OF_MEMORY,
            message=r"^Container agent of pod \S+ exceeded its memory limit\.",
            shows="Container agent of pod fix-1 exceeded its memory limit.",
            bound="at once",
            remedy="Raise the profile's `resources.limits.memory`.",
        ),
        Failure(
            key="memory-runner",
            happened="The runner exceeds its memory limit.",
            reason=Reason.OUT_OF_MEMORY,
            message=r"^Container runner of pod \S+ exceeded its memory limit\.",
            shows="Container runner of pod fix-1 exceeded its memory limit.",
            bound="at once",
            remedy="This is a bug in AgentRun: report it with what the agent did.",
        ),
        Failure(
            key="workspace-full",
            happened="The workspace, HOME or /tmp is full.",
            reason=Reason.EVICTED,
            message=r'Usage of EmptyDir volume "\w+" exceeds the limit',
            shows='Usage of EmptyDir volume "workspace" exceeds the limit "10Gi".',
            bound="when the kubelet next measures: within a minute or two",
            remedy="Raise the profile's `pod.workspaceSize`; for HOME and /tmp, write less data.",
        ),
        Failure(
            key="runner-disk-full",
            happened="The node's disk, on which the runner keeps events until the gateway has them,"
            " is full.",
            reason=Reason.COMPLETED,
            message=r"\d+ events? (is|are) missing in the journal: the runner's disk was full\.$",
            shows="2 events are missing in the journal: the runner's disk was full.",
            bound="at once: the run continues, and the journal has a notice in their place",
            remedy="Free space on the node. The answer and the change are complete.",
            phase=Phase.COMPLETED,
        ),
        Failure(
            key="disk-full",
            happened="The agent's container writes more than its limit of ephemeral storage.",
            reason=Reason.EVICTED,
            message=r"exceed.*local ephemeral.storage limit|ephemeral local storage usage "
            r"exceeds",
            shows='Container agent exceeded its local ephemeral storage limit "20Gi".',
            bound="when the kubelet next measures: within a minute or two",
            remedy="Raise the profile's `resources.limits`, or write to the workspace.",
        ),
    ),
)
