"""Resources that a profile names and that do not work."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_ONCE = "at once"
_PASSING = "reported at once, fails after `operator.stuckTimeoutSeconds`"
_CLONE = r"^Cannot clone \S+: "

THEME = Theme(
    "What the profile names does not work",
    (
        Failure(
            key="git-password-missing",
            happened="The repository requires credentials, and the profile names none.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The server asks for credentials: name a Secret",
            shows="Cannot clone https://git.example/shop.git: The server asks for credentials: name"
            " a Secret with them in the profile's git.credentialsSecret. git reports: …",
            bound=_ONCE,
            remedy="Create a Secret with a token and name it in the profile (docs/git.md).",
        ),
        Failure(
            key="git-password-refused",
            happened="The git server rejects the user and password.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The server refuses the user and password",
            shows="Cannot clone https://git.example/shop.git: The server refuses the user and"
            " password in the profile's git.credentialsSecret. git reports: …",
            bound=_ONCE,
            remedy="Put a valid token into the Secret; docs/git.md names the scopes.",
        ),
        Failure(
            key="git-host-not-named",
            happened="The profile's credentials are not for the run's repository.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE
            + r"The server asks for a user and password, and those in .* are not for",
            shows="Cannot clone https://evil.example/x.git: The server asks for a user and"
            " password, and those in the profile's git.credentialsSecret are not for"
            " https://evil.example/x.git: the profile's git.repositories lists what they are for,"
            " and they are never sent over http. git reports: …",
            bound=_ONCE,
            remedy="If runs may use it, add its URL to the profile's `git.repositories`.",
        ),
        Failure(
            key="git-authority-unknown",
            happened="A private authority signed the git server's certificate.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE
            + "The server's certificate is signed by an authority that is not trusted",
            shows="Cannot clone https://git.example/shop.git: The server's certificate is signed"
            " by an authority that is not trusted: add the authority to the profile's"
            " network.caBundle. git reports: …",
            bound=_ONCE,
            remedy="Put the authority into a ConfigMap and name it in `network.caBundle`.",
        ),
        Failure(
            key="git-key-refused",
            happened="The git server does not accept the ssh key.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The server does not accept the ssh key",
            shows="Cannot clone git@git.example:shop.git: The server does not accept the ssh key"
            " in the profile's git.credentialsSecret, or not for this repository. git reports: …",
            bound=_ONCE,
            remedy="Register the key's public half as a deploy key with write access.",
        ),
        Failure(
            key="git-key-locked",
            happened="The ssh key has a passphrase.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The ssh key in .* is protected by a passphrase",
            shows="Cannot clone git@git.example:shop.git: The ssh key in the profile's"
            " git.credentialsSecret is protected by a passphrase, which cannot be entered here:"
            " use a key without one. git reports: …",
            bound=_ONCE,
            remedy="Use a separate key for AgentRun, without a passphrase.",
        ),
        Failure(
            key="git-host-unknown",
            happened="The ssh server's key is not in the Secret's known_hosts.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The server's host key is not in the Secret's known_hosts",
            shows="Cannot clone git@git.example:shop.git: The server's host key is not in the"
            " Secret's known_hosts, so the server cannot be verified. Add the key that the server's"
            " owner publishes. git reports: …",
            bound=_ONCE,
            remedy="Add the server's published keys to the Secret as `known_hosts`.",
        ),
        Failure(
            key="git-host-changed",
            happened="The ssh server's key differs from the one in the Secret.",
            reason=Reason.CLONE_FAILED,
            message=_CLONE + "The server's host key differs from the one",
            shows="Cannot clone git@git.example:shop.git: The server's host key differs from the"
            " one in the Secret's known_hosts. Either the server has a new key, or another machine"
            " answers in its place: ask the server's owner. git reports: …",
            bound=_ONCE,
            remedy="Ask the server's owner; if the key is new, replace it in the Secret.",
        ),
        Failure(
            key="ca-bundle-empty",
            happened="The profile's CA bundle contains no certificate.",
            reason=Reason.PROFILE_INVALID,
            message=r"^The profile's network\.caBundle, ConfigMap \S+, key \S+, holds no cert",
            shows="The profile's network.caBundle, ConfigMap authorities, key ca.pem, holds no"
            " certificates in PEM form.",
            bound=_ONCE,
            remedy="Put the authority's certificate into the ConfigMap in PEM form.",
        ),
        Failure(
            key="ca-bundle-missing",
            happened="A ConfigMap that the profile names does not exist.",
            reason=Reason.SECRET_MISSING,
            message=r'configmap "[^"]+" not found',
            shows='MountVolume.SetUp failed for volume "ca": configmap "authorities" not found',
            bound=_PASSING,
            remedy="Create the ConfigMap in the run's namespace, or correct the profile.",
        ),
        Failure(
            key="mcp-transport",
            happened="The agent does not support the transport of an MCP server in the profile.",
            reason=Reason.PROFILE_INVALID,
            message=r"^The agent cannot reach MCP server \S+ of its profile: it does not support",
            shows="The agent cannot reach MCP server tickets of its profile: it does not support"
            " sse. Configure the server as a command, or use another agent.",
            bound=_ONCE,
            remedy="Configure the MCP server with `http`, or as a `command`.",
        ),
        Failure(
            key="image-refused",
            happened="The registry requires credentials for the image.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: .*(no basic auth|authorization failed|401|denied)",
            shows='Container agent: Back-off pulling image "registry.example/agent:1":'
            " ErrImagePull: … authorization failed: no basic auth credentials",
            bound=_PASSING,
            remedy="Create a Secret of type kubernetes.io/dockerconfigjson and name it in the"
            " profile's `imagePullSecrets`.",
        ),
        Failure(
            key="pull-secret-missing",
            happened="A Secret of the profile's `imagePullSecrets` does not exist.",
            reason=Reason.IMAGE_PULL_FAILED,
            message=r"^Container agent: Unable to retrieve some image pull secrets \(\S+\)\. .*"
            r"(no basic auth|authorization failed|401|denied)",
            shows="Container agent: Unable to retrieve some image pull secrets (team-pull). failed"
            ' to pull and unpack image "registry.example/agent:1": … 401 Unauthorized',
            bound=_PASSING,
            remedy="Create the Secret in the run's namespace, or correct the profile.",
        ),
    ),
)
