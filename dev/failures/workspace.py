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
            shows="Cannot clone https://git.example/shop.git: there is no branch, tag or "
            "commit 'mian'",
            bound="at once",
            remedy="Name a ref that exists in `workspace.git.ref`.",
        ),
        Failure(
            key="clone-no-account",
            happened="The repository wants credentials, and the profile has none.",
            reason=Reason.CLONE_FAILED,
            message=r"could not read Username .*git\.credentialsSecret",
            shows="Cannot clone https://git.example/shop.git: fatal: could not read "
            "Username for 'https://git.example': terminal prompts disabled Does the "
            "Secret in the profile's git.credentialsSecret open this repository?",
            bound="at once",
            remedy="Name a Secret in the profile's `git.credentialsSecret`.",
        ),
        Failure(
            key="clone-refused",
            happened="The repository refuses the credentials.",
            reason=Reason.CLONE_FAILED,
            message=r"Authentication failed for .*git\.credentialsSecret",
            shows="Cannot clone https://git.example/shop.git: fatal: Authentication failed "
            "for 'https://git.example/shop.git/' Does the Secret in the profile's "
            "git.credentialsSecret open this repository?",
            bound="at once",
            remedy="Put a valid account into the Secret of the profile's `git.credentialsSecret`.",
        ),
        Failure(
            key="clone-missing",
            happened="There is no such repository.",
            reason=Reason.CLONE_FAILED,
            message=r"(not found|returned error: 40\d).*Is the URL right",
            shows="Cannot clone https://git.example/shop.git: fatal: repository "
            "'https://git.example/shop.git/' not found Is the URL right, and does the"
            " Secret in the profile's git.credentialsSecret open it?",
            bound="at once",
            remedy="Mend `workspace.git.url`; many servers say so of private repositories, too.",
        ),
        Failure(
            key="clone-not-git",
            happened="The URL is not that of a git server.",
            reason=Reason.CLONE_FAILED,
            message=r"(not found|not valid: is this a git repository|returned error: 40\d).*Is"
            r" the URL right",
            shows="Cannot clone https://www.example/: fatal: https://www.example/info/refs "
            "not valid: is this a git repository? Is the URL right, and does the "
            "Secret in the profile's git.credentialsSecret open it?",
            bound="at once",
            remedy="Mend `workspace.git.url`.",
        ),
        Failure(
            key="clone-unknown-host",
            happened="The host has no such name.",
            reason=Reason.CLONE_FAILED,
            message=r"Could not resolve host.*Is the name right",
            shows="Cannot clone https://git.exampel/shop.git: fatal: unable to access "
            "'https://git.exampel/shop.git/': Could not resolve host: git.exampel Is "
            "the name right? Is it up, and may runs reach it "
            "(networkPolicy.extraEgress of the chart)?",
            bound="at once",
            remedy="Mend `workspace.git.url`.",
        ),
        Failure(
            key="clone-closed-host",
            happened="The host refuses the connection.",
            reason=Reason.CLONE_FAILED,
            message=r"Failed to connect to .*(refused|Couldn't connect).*may runs reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Failed to connect to git.example port "
            "443: Connection refused Is it up, and may runs reach it "
            "(networkPolicy.extraEgress of the chart)?",
            bound="at once",
            remedy="Mend the server, or allow the way to it in `networkPolicy.extraEgress`.",
        ),
        Failure(
            key="clone-blocked-host",
            happened="Nothing answers at the host's address, or a NetworkPolicy is in the way.",
            reason=Reason.CLONE_FAILED,
            message=r"Failed to connect to .*may runs reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Failed to connect to git.example port "
            "443 after 60001 ms: Timed out Is it up, and may runs reach it "
            "(networkPolicy.extraEgress of the chart)?",
            bound="after a minute or two",
            remedy="Mend the server, or allow the way to it in `networkPolicy.extraEgress`.",
        ),
        Failure(
            key="clone-silent-host",
            happened="The host takes the connection and says nothing.",
            reason=Reason.CLONE_FAILED,
            message=r"(Operation too slow|Connection timed out).*may runs reach it",
            shows="Cannot clone https://git.example/shop.git: fatal: unable to access "
            "'https://git.example/shop.git/': Operation too slow. Less than 1 "
            "bytes/sec transferred the last 60 seconds Is it up, and may runs reach "
            "it (networkPolicy.extraEgress of the chart)?",
            bound="after a minute of silence; after 15 minutes where it is not http",
            remedy="Mend the server, or allow the way to it in `networkPolicy.extraEgress`.",
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
