"""What keeps a pod that exists from coming to work."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_PASSING = "named at once, ends after `operator.stuckTimeoutSeconds`"

THEME = Theme(
    "The pod does not start",
    (
        Failure(
            key="unschedulable",
            happened="No node can take the pod.",
            reason=Reason.UNSCHEDULABLE,
            message=r"No node takes it: 0/\d+ nodes are available",
            shows="No node takes it: 0/3 nodes are available: 3 node(s) didn't match Pod's node"
            " affinity/selector.",
            bound="named at once, ends after `operator.unschedulableTimeoutSeconds`",
            remedy="Add a node, lower the profile's `resources.requests`, or mend its"
            " `pod.nodeSelector` and `pod.tolerations`.",
        ),
        Failure(
            key="image-missing",
            happened="There is no such image.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: (Back-off pulling|[Ff]ailed to pull).* image",
            shows='Container agent: Back-off pulling image "registry.example/agent:1":'
            " ErrImagePull: not found",
            bound=_PASSING,
            remedy="Mend the profile's `image`, or push the image.",
        ),
        Failure(
            key="secret-missing",
            happened="A Secret that the profile names does not exist.",
            reason=Reason.SECRET_MISSING,
            message=r'secret "[^"]+" not found',
            shows='MountVolume.SetUp failed for volume "redact": secret "model-key" not found',
            bound=_PASSING,
            remedy="Create the Secret in the run's namespace, or mend the profile.",
        ),
    ),
)
