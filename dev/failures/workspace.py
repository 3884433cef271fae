"""The failures of the preparation of the workspace."""

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
            shows="Cannot clone https://git.example/shop.git: there is no branch, tag or "
            "commit 'mian'. The branches are: main",
            bound="at once",
            remedy="Name a ref that exists in `workspace.git.ref`.",
        ),
        Failure(
            key="clone-head",
            happened="The repository's HEAD names a branch that does not exist, and the run names"
            " no ref.",
            reason=Reason.CLONE_FAILED,
            message=r"^Cannot clone \S+: its HEAD names a branch that does not exist",
            shows="Cannot clone https://git.example/shop.git: its HEAD names a branch that does "
            "not exist: set workspace.git.ref to a branch, tag or commit. The branches are: trunk",
            bound="at once",
            remedy="Name a ref in `workspace.git.ref`, or correct the repository's default branch.",
        ),
        Failure(
            key="clone-branch-taken",
            happened="The repository has a branch in whose place git would need a folder for the"
            " branch of the change.",
            reason=Reason.CLONE_FAILED,
            message=r"^Cannot (clone|work on) \S+: the change could not be pushed to '[^']+'",
            shows="Cannot clone https://git.example/shop.git: the change could not be pushed to "
            "'agentrun/run-1', since there is a branch 'agentrun': git allows only one of the "
            "two. Set another workspace.git.branch, or remove that one",
            bound="at once; only if changes are pushed",
            remedy="Name another `workspace.git.branch`, or remove the branch that is in the way.",
        ),
        Failure(
            key="clone-sha256",
            happened="The repository's object names are SHA-256.",
            reason=Reason.CLONE_FAILED,
            message=r"mismatched algorithms.*SHA-256",
            shows="Cannot clone https://git.example/shop.git: fatal: mismatched algorithms: "
            "client sha1; server sha256 Hint: the repository uses SHA-256 object names, which "
            "AgentRun does not support: use one with SHA-1.",
            bound="at once",
            remedy="Use a repository with SHA-1 object names.",
        ),
        Failure(
            key="clone-no-account",
            happened="The repository requires credentials, and the profile has none.",
            reason=Reason.CLONE_FAILED,
            message=r"could not read Username .*git\.credentialsSecret",
            shows="Cannot clone https://git.example/shop.git: fatal: could not read "
            "Username for 'https://git.example': terminal prompts disabled Hint: check "
            "that the Secret in the profile's git.credentialsSecret gives access to it.",
            bound="at once",
            remedy="Name a Secret in the profile's `git.credentialsSecret`.",
        ),
        Failure(
            key="clone-refused",
            happened="The repository refuses the credentials.",
            reason=Reason.CLONE_FAILED,
            message=r"Authentication failed for .*git\.credentialsSecret",
            shows="Cannot clone https://git.example/shop.git: fatal: Authentication failed "
            "for 'https://git.example/shop.git/' Hint: check that the Secret in the "
            "profile's git.credentialsSecret gives access to it.",
            bound="at once",
            remedy="Put valid credentials into the Secret of the profile's"
            " `git.credentialsSecret`.",
        ),
        Failure(
            key="clone-missing",
            happened="There is no such repository.",
            reason=Reason.CLONE_FAILED,
            message=r"(not found|returned error: 40\d).*check the URL",
            shows="Cannot clone https://git.example/shop.git: fatal: repository "
            "'https://git.example/shop.git/' not found Hint: check the URL, and that the"
            " Secret in the profile's git.credentialsSecret gives access to it.",
            bound="at once",
            remedy="Correct `workspace.git.url`; many servers also answer so for private"
            " repositories.",
        ),
        Failure(
            key="clone-not-git",
            happened="The URL is not that of a git server.",
            reason=Reason.CLONE_FAILED,
            message=r"(not found|not valid: is this a git repository|returned error: 40\d).*"
            r"check the URL",
            shows="Cannot clone https://www.example/: fatal: https://www.example/info/refs "
            "not valid: is this a git repository? Hint: check the URL, and that the "
            "Secret in the profile's git.credentialsSecret gives access to it.",
            bound="at once",
            remedy="Correct `workspace.git.url`.",
        ),
        Failure(
            key="clone-unknown-host",
            happened="The host name does not exist.",
            reason=Reason.CLONE_FAILED,
            message=r"Could not resolve host.*check the host name",
            shows="Cannot clone https://git.exampel/shop.git: fatal: unable to access "
            "'https://git.exampel/shop.git/': Could not resolve host: git.exampel Hint: "
            "check the host name, that it is up, and that runs may reach it "
            "(networkPolicy.extraEgress of the chart).",
            bound="at once",
            remedy="Correct `workspace.git.url`.",
        ),
        Failure(
            key="clone-closed-host",
            happened="The host refuses the connection.",
            reason=Reason.CLONE_FAILED,
            message=r"Failed to connect to .*(refused|Couldn't connect).*runs may reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Failed to connect to git.example port "
            "443: Connection refused Hint: check that it is up, and that runs may "
            "reach it (networkPolicy.extraEgress of the chart).",
            bound="at once",
            remedy="Repair the server, or allow access to it in `networkPolicy.extraEgress`.",
        ),
        Failure(
            key="clone-blocked-host",
            happened="Nothing answers at the host's address, or a NetworkPolicy blocks the"
            " connection.",
            reason=Reason.CLONE_FAILED,
            message=r"Failed to connect to .*runs may reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Failed to connect to git.example port "
            "443 after 60001 ms: Timed out Hint: check that it is up, and that runs "
            "may reach it (networkPolicy.extraEgress of the chart).",
            bound="after a minute or two",
            remedy="Repair the server, or allow access to it in `networkPolicy.extraEgress`.",
        ),
        Failure(
            key="clone-silent-host",
            happened="The host accepts the connection, but does not answer.",
            reason=Reason.CLONE_FAILED,
            message=r"(Operation too slow|Connection timed out).*runs may reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Operation too slow. Less than 1 "
            "bytes/sec transferred the last 60 seconds Hint: check that it is up, and "
            "that runs may reach it (networkPolicy.extraEgress of the chart).",
            bound="after a minute of silence; after 15 minutes where it is not http",
            remedy="Repair the server, or allow access to it in `networkPolicy.extraEgress`.",
        ),
        Failure(
            key="folder-outside",
            happened="The folder to work in is outside of the workspace.",
            reason=Reason.CLONE_FAILED,
            message=r"^workspace\.cwd '[^']+' is outside the workspace",
            shows="workspace.cwd '../etc' is outside the workspace: name a folder in /workspace.",
            bound="at once",
            remedy="Name a folder in `/workspace`.",
        ),
    ),
)
