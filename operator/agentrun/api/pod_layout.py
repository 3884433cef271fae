"""
What the operator that builds a run's pod and the runner that works in it agree on.

Two containers, one uid, separate process namespaces. They share the pipes folder, the workspace
and HOME. Only the runner has the gateway's token, git's and the provider's credentials, and the
spool.
"""

from collections.abc import Sequence

AGENT = "agent"
"""The container with the agent program."""
RUNNER = "runner"
"""The container that drives it."""

PIPES = "/agentrun/pipes"
"""The folder of the FIFOs and of the init; the agent may only read it."""
READY = f"{PIPES}/ready"
"""Exists once everything in the pipes folder is in place."""
INIT = f"{PIPES}/init"
"""The container's process 1 (images/init): runs the agent's command, and ends all there is."""
STDIN, STDOUT, STDERR = f"{PIPES}/in", f"{PIPES}/out", f"{PIPES}/err"
"""FIFOs of the agent's standard streams; their names are gone before the agent begins."""
CONTROL = f"{PIPES}/control"
"""The socket on which runner and init speak; its name is gone before the agent begins."""
BIN = f"{PIPES}/bin"
"""On the agent's PATH, behind what its image has there: the command ``peer``."""
CALL, CALLS = f"{PIPES}/call", "/agentrun/calls"
"""The FIFO on which ``peer`` names a call, and the folder of the calls and their answers."""
CAPABILITY = f"{PIPES}/capability"
"""What the paths on the pod's loopback begin with, and a newline; there before ``ready``."""

WORKSPACE = "/workspace"
HOME = "/home/agent"
GEMINI_SETTINGS = ".gemini/agentrun.json"
"""Below HOME: the settings of the Gemini CLI."""
OWN_SERVER = "agentrun"
"""What agents call the MCP server with AgentRun's own tools."""
SPOOL = "/var/spool/agentrun"
"""The runner's own folder: unacknowledged events."""
REPOSITORY = "/var/lib/agentrun/repository"
"""The runner's private repository: it grows with the workspace, so it has as much room."""

TOKEN_FILE = "/var/run/secrets/agentrun/token"
PROVIDER_KEY_FILE = "/var/run/secrets/agentrun-provider/key"
GIT_CREDENTIALS = "/var/run/secrets/agentrun-git"
"""The mounted git Secret: username and password, or ssh-privatekey and known_hosts."""
REDACT = "/var/run/secrets/agentrun-redact"
"""Values of Secrets the agent's environment holds, one file each: never to leave the pod."""
PROXY_URL_FILE = f"{REDACT}/proxy-url"
"""The URL of the forward proxy, where a Secret holds it."""
MCP_SECRETS = "/var/run/secrets/agentrun-mcp"
"""What MCP servers are given from Secrets, as SECRET/KEY. The agent is told, but not shown it."""
BACKEND_SECRET = "/var/run/secrets/agentrun-backend"
"""What the run was given for a remote agent: auth_token, and headers as a JSON object."""
INSTRUCTIONS = "/var/run/agentrun-instructions"
"""What instruction files are made from, as CONFIGMAP/KEY."""
TERMINATION_LOG = "/dev/termination-log"
"""Where the runner leaves its outcome as JSON (an Outcome, < 2 KiB) for the case that the
gateway cannot take it."""

CA_FILE = "/agentrun/ca/ca.crt"
"""The authorities that the profile adds; in both containers."""
AGENT_ROOTS = "/agentrun/roots/ca-bundle.crt"
"""In the agent: the roots of its image, and those authorities."""
RUNNER_ROOTS = f"{SPOOL}/ca-bundle.crt"
"""In the runner: the roots of its image, and those authorities."""
SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # their older versions
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine without the package, BSDs
)
"""Where images keep their roots; the first that is there counts."""

PROXY_PORT = 8790
"""The runner's reverse proxy to the model's provider, on the pod's loopback."""
PROXY_URL = f"http://127.0.0.1:{PROXY_PORT}"
"""What stands in the agent's environment for it; the bootstrap puts the capability behind it."""
TOOLS_PORT = 8791
"""The runner's way to AgentRun's own tools, for the agent: MCP over HTTP, on the loopback."""

_API_SERVER = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT", "PORT_443_TCP")
_API_PORT = ("PROTO", "PORT", "ADDR")
_API_VARIABLES = [f"KUBERNETES_{name}" for name in _API_SERVER] + [
    f"KUBERNETES_PORT_443_TCP_{name}" for name in _API_PORT
]

_AGENT_BEGIN = (
    # The kubelet tells every container where the API server is: nothing an agent has to know.
    f"unset {' '.join(_API_VARIABLES)}; PATH=$PATH:{BIN}; export PATH; "
    # A container's first process takes no signal that it has not asked for.
    "trap 'exit 143' TERM; "
    f"until [ -e {READY} ]; do sleep 0.1; done; "
    # In the pod's spec, whoever may read pods would see it.
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

    In each of ``variables``, the proxy's URL is completed with what only this pod's agent knows.
    """
    filled = "".join(f'complete "${name}"; export {name}="$made"; ' for name in variables)
    unset = "unset capability left made; "
    return _AGENT_BEGIN + (_COMPLETE + filled if filled else "") + unset + _AGENT_EXEC


COLLECT_SECONDS = 300
"""How long the runner may take to collect the change."""

# Most programs take one file for all roots, so one that held only the profile's would lose the
# image's. An image without any has none to lose.
AGENT_ROOTS_BOOTSTRAP = (
    f"for roots in {' '.join(SYSTEM_ROOTS)}; do [ -r $roots ] && break; done; "
    f"{{ [ ! -r $roots ] || cat $roots; echo; cat {CA_FILE}; }} >{AGENT_ROOTS}; "
)
"""What goes before that script where the profile adds authorities; needs ``cat``."""

# Who the agent is, in its environment.
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
"""How long the runner waits for a gateway that is away, when nothing else is left to do."""
ENV_GRACE = "AGENTRUN_GRACE_SECONDS"
"""The pod's termination grace period: the runner must be done within it."""
ENV_IDLE = "AGENTRUN_IDLE_SECONDS"
"""How long the runner keeps the pod of a run that waits for a person."""
ENV_PERMISSION_MODE = "AGENTRUN_PERMISSION_MODE"
"""The profile's permissionMode, which decides what is written to the agent's home."""

# Labels of a run's pod.
LABEL_RUN = "agentrun.dev/run"
LABEL_ATTEMPT = "agentrun.dev/attempt"
LABEL_SESSION = "agentrun.dev/session"
LABEL_BACKEND = "agentrun.dev/backend"

# Annotations of a run.
REQUESTED_BY = "agentrun.dev/requested-by"
"""Who called spawn_run, as the API server knows them."""
REQUEST_HASH = "agentrun.dev/request-hash"
"""A digest of spawn_run's arguments, where it was given an idempotency key."""
ANSWER_KEY = "agentrun.dev/answer-"
"""Before an input's number: a digest of the idempotency key that continue_run was given with it."""
