"""Pods that exist and do not start."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_STUCK = "reported at once, fails after `operator.stuckTimeoutSeconds`"
_ROOM = "reported at once, fails after `operator.unschedulableTimeoutSeconds`"

THEME = Theme(
    "The pod does not start",
    (
        Failure(
            key="unschedulable",
            happened="The pod does not fit on any node.",
            reason=Reason.UNSCHEDULABLE,
            message=r"The pod cannot be scheduled: 0/\d+ nodes are available",
            shows="The pod cannot be scheduled: 0/3 nodes are available: 3 node(s) didn't match "
            "Pod's node affinity/selector.",
            bound=_ROOM,
            remedy="Add a node, lower the profile's `resources.requests`, or correct its "
            "`pod.nodeSelector` and `pod.tolerations`.",
        ),
        Failure(
            key="scheduling-gated",
            happened="The pod has scheduling gates that nobody removes: it waits in a queue, such"
            " as that of Kueue.",
            reason=Reason.SCHEDULING_GATED,
            message=r"^The pod was not scheduled within \d+ s\. Pod \S+ waits for its scheduling"
            r" gates to be removed",
            shows="The pod was not scheduled within 14400 s. Pod fix-1 waits for its scheduling"
            " gates to be removed: kueue.x-k8s.io/admission. Scheduling is blocked due to non-empty"
            " scheduling gates",
            bound="reported at once, fails after the run's `activeDeadlineSeconds`, by default"
            " `operator.defaultDeadlineSeconds`",
            remedy="Find out what the queue waits for, or allow more time; see docs/profiles.md.",
        ),
        Failure(
            key="scheduler-fails",
            happened="The scheduler reports an error, or another component keeps the pod from being"
            " scheduled.",
            reason=Reason.UNSCHEDULABLE,
            message=r"^The pod cannot be scheduled: \w+: ",
            shows="The pod cannot be scheduled: SchedulerError: plugin VolumeBinding failed",
            bound=_ROOM,
            remedy="Fix what the message names.",
        ),
        Failure(
            key="claim-missing",
            happened="The PersistentVolumeClaim does not exist.",
            reason=Reason.VOLUME_UNAVAILABLE,
            message=r'persistentvolumeclaim "[^"]+" not found',
            shows='0/3 nodes are available: persistentvolumeclaim "shop" not found.',
            bound=_STUCK,
            remedy="Create it, or name another in `workspace.volume`.",
        ),
        Failure(
            key="claim-unbound",
            happened="The PersistentVolumeClaim is not bound to a volume.",
            reason=Reason.VOLUME_UNAVAILABLE,
            message=r"unbound immediate PersistentVolumeClaims",
            shows="0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            bound=_ROOM,
            remedy="Check `kubectl describe pvc`: its StorageClass may not exist, or its "
            "provisioner may be unavailable.",
        ),
        Failure(
            key="mount-fails",
            happened="A volume cannot be mounted.",
            reason=Reason.VOLUME_UNAVAILABLE,
            message=r"MountVolume\.\w+ failed for volume",
            shows='MountVolume.SetUp failed for volume "shop" : hostPath type check failed:'
            " /srv/shop is not a directory",
            bound="reported at once, fails after `operator.startTimeoutSeconds`",
            remedy="Fix the volume that the message names.",
        ),
        Failure(
            key="start-slow",
            happened="The containers do not start, and no cause is reported: a volume that is not"
            " attached, or an image whose pull does not complete.",
            reason=Reason.START_TIMEOUT,
            message=r"^Container \w+ of pod \S+ did not start within \d+ s\.",
            shows="Container runner of pod fix-1 did not start within 300 s. Pulling image"
            ' "registry.example/agent:1"',
            bound="after `operator.startTimeoutSeconds`",
            remedy="Check `kubectl describe pod`; allow more time if the image is large.",
        ),
        Failure(
            key="image-missing",
            happened="The image does not exist.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: [Ff]ailed to pull and unpack image",
            shows="Container agent: failed to pull and unpack image "
            '"registry.example/agent:1": failed to resolve reference '
            '"registry.example/agent:1": not found',
            bound=_STUCK,
            remedy="Correct the profile's `image`, or push the image.",
        ),
        Failure(
            key="registry-unknown",
            happened="The registry does not answer, or its host name does not exist.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: .*(no such host|dial tcp)",
            shows="Container agent: failed to pull and unpack image "
            '"registry.example/agent:1": failed to do request: dial tcp: lookup '
            "registry.example: no such host",
            bound=_STUCK,
            remedy="Correct the profile's `image`, or the nodes' access to the registry.",
        ),
        Failure(
            key="image-never",
            happened="The image is not on the node, and `imagePullPolicy` is Never.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r'^Container agent: Container image "[^"]+" is not present with pull '
            r"policy of Never",
            shows='Container agent: Container image "agent:1" is not present with pull '
            "policy of Never",
            bound=_STUCK,
            remedy="Load the image onto the nodes, or change `imagePullPolicy`.",
        ),
        Failure(
            key="image-misnamed",
            happened="The profile's `image` is not a valid image name.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: .*(invalid reference format|couldn.t parse image)",
            shows='Container agent: Failed to apply default image tag "No Name": couldn\'t '
            'parse image name "No Name": invalid reference format',
            bound=_STUCK,
            remedy="Correct the profile's `image`.",
        ),
        Failure(
            key="init-image-missing",
            happened="The image of a container that admission has added, such as that of a service"
            " mesh, cannot be pulled.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^(Init container|Container) \S+: [Ff]ailed to pull",
            shows="Init container mesh-init: failed to pull and unpack image"
            ' "registry.example/mesh:1": not found',
            bound=_STUCK,
            remedy="Correct what adds the container, or keep it away from the pods of runs with the"
            " profile's `pod.labels` or `pod.annotations`.",
        ),
        Failure(
            key="init-fails",
            happened="An init container that admission has added, such as that of a service mesh,"
            " fails.",
            reason=Reason.CONTAINER_START_FAILED,
            message=r"^Init container \S+ of pod \S+ terminated \(exit code \d+",
            shows="Init container mesh-init of pod fix-1 terminated (exit code 2). iptables: no"
            " such table",
            bound="at once",
            remedy="Fix what the message names, or keep the container away from the pods of runs"
            " with the profile's `pod.labels` or `pod.annotations`.",
        ),
        Failure(
            key="init-restarts",
            happened="A sidecar that must run before the agent, an init container with"
            " `restartPolicy: Always`, fails again and again.",
            reason=Reason.CONTAINER_START_FAILED,
            message=r"^Init container \S+ terminated \(exit code \d+",
            shows="Init container mesh-proxy terminated (exit code 1). no control plane",
            bound=_STUCK,
            remedy="Fix what the message names, or keep the container away from the pods of runs"
            " with the profile's `pod.labels` or `pod.annotations`.",
        ),
        Failure(
            key="secret-missing",
            happened="A Secret that the profile names does not exist.",
            reason=Reason.SECRET_MISSING,
            message=r'secret "[^"]+" not found',
            shows='MountVolume.SetUp failed for volume "redact" : secret "model-key" not found',
            bound=_STUCK,
            remedy="Create the Secret in the run's namespace, or correct the profile.",
        ),
        Failure(
            key="key-missing",
            happened="A Secret that the profile names does not contain the key.",
            reason=Reason.SECRET_MISSING,
            message=r"non-existent secret key: \S+",
            shows='MountVolume.SetUp failed for volume "redact" : references non-existent '
            "secret key: token",
            bound=_STUCK,
            remedy="Add the key to the Secret, or correct the profile.",
        ),
        Failure(
            key="sandbox",
            happened="The node cannot create the pod: no network, or no RuntimeClass handler.",
            reason=Reason.CONTAINER_START_FAILED,
            message=r"Failed to create pod sandbox: ",
            shows="Failed to create pod sandbox: failed to get sandbox runtime: no runtime "
            'for "gvisor" is configured',
            bound=_STUCK,
            remedy="Fix the node as the message states, or select other nodes in the profile.",
        ),
        Failure(
            key="no-shell",
            happened="The agent's image has no `/bin/sh`.",
            reason=Reason.CONTAINER_START_FAILED,
            message=r'^Container agent: .*exec: "/bin/sh"',
            shows='Container agent: failed to create containerd task: exec: "/bin/sh": stat'
            " /bin/sh: no such file or directory",
            bound="at once",
            remedy="Use an image that meets `docs/agent-image.md`.",
        ),
    ),
)
