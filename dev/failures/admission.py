"""What the API server says no to."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_PASSING = "named at once, ends after `operator.unschedulableTimeoutSeconds`; tried again meanwhile"

THEME = Theme(
    "The cluster does not take the pod",
    (
        Failure(
            key="quota",
            happened="A ResourceQuota is used up.",
            reason=Reason.QUOTA_EXCEEDED,
            message=r"exceeded quota: \S+",
            shows='pods "fix-1" is forbidden: exceeded quota: runs, requested:'
            " requests.memory=4Gi, used: requests.memory=198Gi, limited: requests.memory=200Gi",
            bound=_PASSING,
            remedy="Wait for other runs to end, raise the quota, or lower the profile's"
            " `resources.requests`.",
        ),
    ),
)
