"""
The contract between the operator, which builds a run's pod, and the runner in it.

The pod has two containers with one uid and separate process namespaces. They share the pipes
folder, the workspace and HOME. Only the runner has the gateway token, the credentials of git and
the provider, and the spool.
"""

import signal
from collections.abc import Sequence

AGENT = "agent"
"""The container of the agent."""
RUNNER = "runner"
"""The container of the runner, which drives the agent."""
CONTAINERS = (AGENT, RUNNER)
"""The containers of a run itself. Admission may add others to its pod."""

PIPES = "/agentrun/pipes"
"""The folder of the FIFOs and of the init; read-only for the agent."""
READY = f"{PIPES}/ready"
"""Exists once everything in the pipes folder is in place."""
INIT = f"{PIPES}/init"
"""Process 1 of the container (images/init): runs the agent's command, and ends all processes."""
BIN = f"{PIPES}/bin"
"""The folder of the command ``peer``, appended to the agent's PATH."""
CALLS = "/agentrun/calls"
"""The folder of the calls of ``peer`` and of their responses."""
CAPABILITY = f"{PIPES}/capability"
"""The secret path prefix of the loopback endpoints, and a newline; exists before ``ready``."""

WORKSPACE = "/workspace"
HOME = "/home/agent"
OWN_SERVER = "agentrun"
"""The name under which agents know the MCP server with AgentRun's own tools."""
SPOOL = "/var/spool/agentrun"
"""The runner's own folder: unacknowledged events."""
REPOSITORY = "/var/lib/agentrun/repository"
"""The runner's private repository: it grows with the workspace, so its volume is as large."""

TOKEN_FILE = "/var/run/secrets/agentrun/token"
PROVIDER_KEY_FILE = "/var/run/secrets/agentrun-provider/key"
GIT_CREDENTIALS = "/var/run/secrets/agentrun-git"
"""The mounted git Secret: username and password, or ssh-privatekey and known_hosts."""
REDACT = "/var/run/secrets/agentrun-redact"
"""Values from Secrets in the agent's environment, one file each; they must not leave the pod."""
PROXY_URL_FILE = f"{REDACT}/proxy-url"
"""The URL of the forward proxy, if it is in a Secret."""
MCP_SECRETS = "/var/run/secrets/agentrun-mcp"
"""Secret values for MCP servers, as SECRET/KEY; passed to the agent, but not mounted there."""
BACKEND_SECRET = "/var/run/secrets/agentrun-backend"
"""The credentials of a remote agent: auth_token, and headers as a JSON object."""
INSTRUCTIONS = "/var/run/agentrun-instructions"
"""The sources of instruction files, as CONFIGMAP/KEY."""
TERMINATION_LOG = "/dev/termination-log"
"""Where the runner writes its outcome as JSON (an Outcome, < 2 KiB) in case the gateway is
unavailable."""

CA_FILE = "/agentrun/ca/ca.crt"
"""The CA bundle of the profile; in both containers."""
AGENT_ROOTS = "/agentrun/roots/ca-bundle.crt"
"""In the agent container: the CAs of its image, and the profile's CA bundle."""
RUNNER_ROOTS = f"{SPOOL}/ca-bundle.crt"
"""In the runner container: the CAs of its image, and the profile's CA bundle."""
SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # their older versions
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine without the package, BSDs
)
"""Where images have their CA bundle; the first that exists is used."""

PROXY_PORT = 8790
"""The port of the runner's reverse proxy to the model provider, on the pod's loopback."""
PROXY_URL = f"http://127.0.0.1:{PROXY_PORT}"
"""Its URL in the agent's environment; the bootstrap script appends the capability."""
TOOLS_PORT = 8791
"""The port at which the agent reaches AgentRun's own tools: MCP over HTTP, on the loopback."""

_API_SERVER = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT", "PORT_443_TCP")
_API_PORT = ("PROTO", "PORT", "ADDR")
_API_VARIABLES = [f"KUBERNETES_{name}" for name in _API_SERVER] + [
    f"KUBERNETES_PORT_443_TCP_{name}" for name in _API_PORT
]

_AGENT_BEGIN = (
    # The kubelet sets the API server's address in every container; an agent does not need it.
    f"unset {' '.join(_API_VARIABLES)}; PATH=$PATH:{BIN}; export PATH; "
    # The first process of a container ignores signals for which it has no handler.
    "trap 'exit 143' TERM; "
    f"until [ -e {READY} ]; do sleep 0.1; done; "
    # In the pod's spec, it would be visible to everyone who can read pods.
    f"read -r capability <{CAPABILITY}; "
)
_AGENT_EXEC = f'exec {INIT} {PIPES} {WORKSPACE} "$@"'
_COMPLETE = (
    f"complete() {{ left=$1; made=; while :; do case $left in *{PROXY_URL}*) "
    f"made=$made${{left%%{PROXY_URL}*}}{PROXY_URL}/$capability; left=${{left#*{PROXY_URL}}};; "
    "*) break;; esac; done; made=$made$left; }; "
)


def agent_bootstrap(variables: Sequence[str] = ()) -> str:
    """
    Build the agent container's ``sh -c`` script; its arguments are the agent's ACP command.

    In each of ``variables``, the capability, known only in this pod, is appended to the proxy URL.
    """
    filled = "".join(f'complete "${name}"; export {name}="$made"; ' for name in variables)
    unset = "unset capability left made; "
    return _AGENT_BEGIN + (_COMPLETE + filled if filled else "") + unset + _AGENT_EXEC


COLLECT_SECONDS = 300
"""How long the runner may take to collect the change, in seconds."""

# Most programs read one file with all CAs, so a file with only the profile's would lose those of
# the image. An image without any has none to lose.
AGENT_ROOTS_BOOTSTRAP = (
    f"for roots in {' '.join(SYSTEM_ROOTS)}; do [ -r $roots ] && break; done; "
    f"{{ [ ! -r $roots ] || cat $roots; echo; cat {CA_FILE}; }} >{AGENT_ROOTS}; "
)
"""The prefix of the bootstrap script if the profile has a CA bundle; requires ``cat``."""

# The identity of the agent, in its environment.
ENV_PEER_NAME = "PEER_NAME"
ENV_PEER_SESSION = "PEER_SESSION_ID"
ENV_PEER_CWD = "PEER_CWD"

# The runner's environment.
ENV_GATEWAY = "AGENTRUN_GATEWAY_URL"
ENV_RUN = "AGENTRUN_RUN_ID"
ENV_ATTEMPT = "AGENTRUN_ATTEMPT"
ENV_BACKEND = "AGENTRUN_BACKEND"
ENV_MODEL = "AGENTRUN_MODEL"
ENV_PROVIDER = "AGENTRUN_PROVIDER_URL"
ENV_PATIENCE = "AGENTRUN_PATIENCE_SECONDS"
"""How long the runner retries an unavailable gateway when nothing else is left to do."""
ENV_GRACE = "AGENTRUN_GRACE_SECONDS"
"""The pod's termination grace period, within which the runner must exit."""
ENV_IDLE = "AGENTRUN_IDLE_SECONDS"
"""How long the runner keeps the pod of a run that waits for input."""
ENV_PERMISSION_MODE = "AGENTRUN_PERMISSION_MODE"
"""The profile's permissionMode, which decides what is written to the agent's home."""

# Labels of a run's pod.
LABEL_RUN = "agentrun.dev/run"
LABEL_RUN_UID = "agentrun.dev/run-uid"
LABEL_ATTEMPT = "agentrun.dev/attempt"
LABEL_SESSION = "agentrun.dev/session"
LABEL_BACKEND = "agentrun.dev/backend"

# Annotations of a run.
REQUESTED_BY = "agentrun.dev/requested-by"
"""The user who called spawn_run, as authenticated by the API server."""
REQUESTED_AT = "agentrun.dev/requested-at"
"""When it was called: ``metadata.creationTimestamp`` has whole seconds, rounded down."""
REQUEST_HASH = "agentrun.dev/request-hash"
"""A digest of spawn_run's arguments, if it was called with an idempotency key."""
ANSWER_KEY = "agentrun.dev/answer-"
"""The prefix of an input's number: a digest of the idempotency key of its continue_run call."""


def describe_exit(code: int | None) -> str:
    """Describe an exit code; a code above 128 means that a signal killed the program."""
    if code is None:
        return "no exit code"
    if code <= 128:
        return f"exit code {code}"
    try:
        return f"exit code {code}, killed by {signal.Signals(code - 128).name}"
    except ValueError:
        return f"exit code {code}"
