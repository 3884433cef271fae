"""Pods that the API server does not create."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_STUCK = "reported at once, fails after `operator.stuckTimeoutSeconds`"
_ROOM = "reported at once, fails after `operator.unschedulableTimeoutSeconds`"

THEME = Theme(
    "The API server does not create the pod",
    (
        Failure(
            key="quota",
            happened="A ResourceQuota is used up.",
            reason=Reason.QUOTA_EXCEEDED,
            message=r"exceeded quota: \S+",
            shows='pods "fix-1" is forbidden: exceeded quota: runs, requested: '
            "requests.memory=4Gi, used: requests.memory=198Gi, limited: "
            "requests.memory=200Gi",
            bound=_ROOM,
            remedy="Wait for other runs to finish, raise the quota, or lower the profile's "
            "`resources.requests`; those of the runner are the chart's"
            " `operator.runner.resources`.",
        ),
        Failure(
            key="limit-range",
            happened="A LimitRange does not allow the pod's resources.",
            reason=Reason.QUOTA_EXCEEDED,
            message=r"(maximum|minimum) \S+ usage per Container is",
            shows='pods "fix-1" is forbidden: maximum memory usage per Container is 8Gi, '
            "but limit is 16Gi",
            bound=_STUCK,
            remedy="For the container `agent`, change the profile's `resources`; for `runner`,"
            " which requests 96Mi, the chart's `operator.runner.resources`. Or change the"
            " LimitRange.",
        ),
        Failure(
            key="quota-unspecified",
            happened="A ResourceQuota counts a resource that a container does not specify.",
            reason=Reason.QUOTA_EXCEEDED,
            message=r"failed quota: \S+ must specify \S+ for: ",
            shows='pods "fix-1" is forbidden: failed quota: house: must specify limits.cpu for:'
            " runner",
            bound=_STUCK,
            remedy="For `agent`, set it in the profile's `resources`; for `runner`, in the chart's"
            " `operator.runner.resources`: `{limits: {cpu: 500m}}`. Or give the namespace a"
            " LimitRange with defaults.",
        ),
        Failure(
            key="admission-policy",
            happened="A ValidatingAdmissionPolicy, or a webhook, denies the pod, with any code.",
            reason=Reason.POD_REJECTED,
            message=r"denied request: ",
            shows="pods \"fix-1\" is forbidden: ValidatingAdmissionPolicy 'pools' with "
            "binding 'pools' denied request: this node pool is not for agents",
            bound=_STUCK,
            remedy="Change the profile as the message states, such as its `pod.labels`, or the"
            " policy. Pod Security Standards are not the cause: every pod of a run satisfies"
            " `restricted`, with any profile.",
        ),
        Failure(
            key="account-missing",
            happened="The namespace has no ServiceAccount `default`.",
            reason=Reason.POD_REJECTED,
            message=r'serviceaccount "default" not found',
            shows='pods "fix-1" is forbidden: error looking up service account agents/default:'
            ' serviceaccount "default" not found',
            bound=_STUCK,
            remedy="Find out what keeps Kubernetes from creating it: it grants runs no permissions,"
            " but every pod requires a ServiceAccount.",
        ),
        Failure(
            key="webhook-away",
            happened="An admission webhook does not answer.",
            reason=Reason.POD_REJECTED,
            message=r'failed calling webhook "[^"]+": ',
            shows='Internal error occurred: failed calling webhook "policy.example.org": '
            'failed to call webhook: Post "https://policy.example.svc:443/": connect:'
            " connection refused",
            bound=_STUCK,
            remedy="Fix the webhook that the message names; without it, no pod is created.",
        ),
        Failure(
            key="runtime-class-missing",
            happened="The RuntimeClass of the profile does not exist.",
            reason=Reason.POD_REJECTED,
            message=r'RuntimeClass "[^"]+" not found',
            shows='pods "fix-1" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
            bound=_STUCK,
            remedy="Create it, or correct the profile's `pod.runtimeClassName`.",
        ),
        Failure(
            key="priority-class-missing",
            happened="The PriorityClass of the profile does not exist.",
            reason=Reason.POD_REJECTED,
            message=r"no PriorityClass with name \S+ was found",
            shows='pods "fix-1" is forbidden: no PriorityClass with name batch was found',
            bound=_STUCK,
            remedy="Create it, or correct the profile's `pod.priorityClassName`.",
        ),
        Failure(
            key="create-fails",
            happened="The API server cannot create the pod or the session: its database, its quota"
            " or its own limits do not let it.",
            reason=Reason.FAILED_CREATE,
            message=r"^The API server could not create (Pod|AgentSession) \S+: ",
            shows="The API server could not create Pod fix-1: etcdserver: no leader",
            bound="reported after some seconds, fails after `operator.unschedulableTimeoutSeconds`",
            remedy="Find out what ails the API server; it is asked again all the while.",
        ),
    ),
)
