"""What keeps the workspace from being made ready."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

THEME = Theme(
    "The workspace cannot be prepared",
    (
        Failure(
            key="clone-ref",
            happened="The repository has no such branch, tag or commit.",
            reason=Reason.CLONE_FAILED,
            message=r"^Cannot clone \S+: there is no branch, tag or commit '[^']+'",
            shows="Cannot clone https://git.example/shop.git: there is no branch, tag or commit"
            " 'mian'",
            bound="at once",
            remedy="Name a ref that exists in `workspace.git.ref`.",
        ),
    ),
)
