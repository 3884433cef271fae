"""The failures of remote agents (docs/a2a.md)."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

_ONCE = "at once"
_CARD = r"^The agent's card cannot be read from http\S+/\.well-known/agent-card\.json: "
_URL = "https://agent.example/.well-known/agent-card.json"
_SHOWN = f"The agent's card cannot be read from {_URL}: "
_CHECK = ". Check backend_config.agent_url and agent_card_path, and that pods can reach it."

THEME = Theme(
    "A remote agent",
    (
        Failure(
            key="remote-unreachable",
            happened="Nothing answers at `agent_url`.",
            reason=Reason.PROVIDER_ERROR,
            message=_CARD + r".*and that pods can reach it\.$",
            shows=_SHOWN + f"{_URL} cannot be reached: All connection attempts failed" + _CHECK,
            bound="10 s",
            remedy="Correct `agent_url`, or allow pods to reach it (`networkPolicy.extraEgress`).",
        ),
        Failure(
            key="remote-card-missing",
            happened="The server has no agent card there.",
            reason=Reason.PROVIDER_ERROR,
            message=_CARD + r"http\S+ answered 404",
            shows=f"{_SHOWN}{_URL} answered 404{_CHECK}",
            bound=_ONCE,
            remedy="Set `agent_card_path` to the path of the card.",
        ),
        Failure(
            key="remote-card-moved",
            happened="The card's URL redirects.",
            reason=Reason.PROVIDER_ERROR,
            message=_CARD + r"http\S+ answered 30\d, a redirect to \S+, which is not followed",
            shows=f"{_SHOWN}{_URL} answered 307, a redirect"
            " to http://agent.example/, which is not followed" + _CHECK,
            bound=_ONCE,
            remedy="Set the URL of the redirect, if you trust its host.",
        ),
        Failure(
            key="remote-card-hangs",
            happened="The server accepts the request for the card, but does not answer.",
            reason=Reason.PROVIDER_ERROR,
            message=_CARD + r"no answer within 30 s",
            shows=_SHOWN + "no answer within 30 s" + _CHECK,
            bound="30 s",
            remedy="Run it again when the agent has recovered.",
        ),
        Failure(
            key="remote-card-wrong",
            happened="The response is not an agent card.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The response of http\S+ is not an A2A agent card: ",
            shows="The response of https://agent.example/.well-known/agent-card.json is not an A2A"
            " agent card: The card is not valid JSON: Expecting value: line 1 column 1 (char 0)"
            " (text/html, 420 bytes). Check backend_config.agent_url and agent_card_path.",
            bound=_ONCE,
            remedy="Correct `agent_url`.",
        ),
        Failure(
            key="remote-interface-unknown",
            happened="The card lists only interfaces that AgentRun does not support.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"offers no interface that AgentRun supports .* its card lists: GRPC of A2A",
            shows="The agent of https://agent.example offers no interface that AgentRun supports"
            " (JSONRPC or HTTP+JSON of A2A 1.0 or 0.3); its card lists: GRPC of A2A 1.0. Have the"
            " agent offer one of them, or name another agent as backend_config.agent_url.",
            bound=_ONCE,
            remedy="Have the agent offer JSON-RPC or HTTP+JSON.",
        ),
        Failure(
            key="remote-url-invalid",
            happened="The card names no URL, or one to which nothing can be sent.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The card of the agent of http\S+ names .*backend_config\.agent_card_path\.$",
            shows="The card of the agent of https://agent.example names '/rpc', which is not an"
            " http or https URL. Correct the card, or name the card of another agent as"
            " backend_config.agent_card_path.",
            bound=_ONCE,
            remedy="Follow the message.",
        ),
        Failure(
            key="remote-url-unreachable",
            happened="Nothing answers at the URL in the card, for example because it is the address"
            " at which the agent listens (0.0.0.0, localhost).",
            reason=Reason.PROVIDER_ERROR,
            message=r"^The remote agent does not accept the message: http\S+ cannot be reached: .*"
            r"the one in the agent's card; backend_config\.agent_url is http",
            shows="The remote agent does not accept the message: http://0.0.0.0:8080/ cannot be"
            " reached: All connection attempts failed. This URL is the one in the agent's card;"
            " backend_config.agent_url is https://agent.example. Have the agent's card name a URL"
            " that pods can reach",
            bound="60 s",
            remedy="Follow the message: many servers have a setting for their public URL.",
        ),
        Failure(
            key="remote-leads-elsewhere",
            happened="The run has credentials, and the card points to another host.",
            reason=Reason.PROVIDER_ERROR,
            message=r"^The agent's card points to http\S+, but the credentials were given for http",
            shows="The agent's card points to http://other.example/rpc, but the credentials were"
            " given for https://agent.example. If you trust this host, set"
            " backend_config.agent_url to its URL and agent_card_path to the URL of the card.",
            bound=_ONCE,
            remedy="Follow the message. Nothing was sent to the other host.",
        ),
        Failure(
            key="remote-refuses",
            happened="The agent refuses the credentials, or requires some (401, 403).",
            reason=Reason.AUTH_REQUIRED,
            message=r"answered 40[13]\. Set the required credentials as backend_config\.auth",
            shows=f"{_SHOWN}{_URL} answered 401. Set the"
            " required credentials as backend_config.auth_token or headers, or in the Secret that"
            " the profile's provider.keySecret names.",
            bound=_ONCE,
            remedy="Follow the message.",
        ),
        Failure(
            key="remote-key-of-another",
            happened="The profile's key is for another agent than the run's.",
            reason=Reason.PROFILE_INVALID,
            message=r"^The profile's provider\.keySecret is for provider\.baseURL \(.*\), not for ",
            shows="The profile's provider.keySecret is for provider.baseURL (https://one.example),"
            " not for https://other.example. Set provider.baseURL to the agent's URL, or give the"
            " run its own credentials.",
            bound=_ONCE,
            remedy="Follow the message.",
        ),
        Failure(
            key="remote-secret-of-another",
            happened="The run names the Secret of a run with another agent.",
            reason=Reason.PROFILE_INVALID,
            message=r"^The credentials in the Secret of spec\.backendConfig were given for http\S+,"
            r" not for http",
            shows="The credentials in the Secret of spec.backendConfig were given for"
            " https://one.example, not for https://other.example. Create the run again with"
            " credentials of its own.",
            bound=_ONCE,
            remedy="Spawn the run with its own `auth_token` or `headers`.",
        ),
        Failure(
            key="remote-secret-missing",
            happened="The Secret that the run names does not exist.",
            reason=Reason.SECRET_MISSING,
            message=r'secret "[^"]+-agentrun-backend" not found',
            shows='MountVolume.SetUp failed for volume "backend" : secret'
            ' "run-06h0gp4gqbn9v1s0q4v4e8tk2c-agentrun-backend" not found',
            bound="operator.stuckTimeoutSeconds",
            remedy="Spawn the run again. The Secret is deleted with its run and its session.",
        ),
        Failure(
            key="remote-url-missing",
            happened="Neither the run nor its profile names an agent.",
            reason=Reason.PROFILE_INVALID,
            message=r"^spec\.backendConfig\.agent_url must be ",
            shows="spec.backendConfig.agent_url must be an http or https URL of at most 2048"
            " characters. Create the run again with the URL of an A2A agent as"
            " backendConfig.agent_url.",
            bound=_ONCE,
            remedy="Follow the message, or set the URL in the profile as `provider.baseURL`.",
        ),
        Failure(
            key="remote-broken",
            happened="The agent answers the task with an error.",
            reason=Reason.PROVIDER_ERROR,
            message=r"^The remote agent did not accept the task: http\S+ answered 500",
            shows="The remote agent did not accept the task: https://agent.example/rpc answered"
            " 500",
            bound=_ONCE,
            remedy="Run it again when the agent has recovered.",
        ),
        Failure(
            key="remote-mute",
            happened="The agent accepts the task, but returns nothing.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The remote agent ended its answer without a message or a task\.$",
            shows="The remote agent ended its answer without a message or a task.",
            bound=_ONCE,
            remedy="Correct the agent.",
        ),
        Failure(
            key="remote-forgets",
            happened="The stream breaks off, and the agent no longer knows its task.",
            reason=Reason.PROVIDER_ERROR,
            message=r"^Remote task \S+ cannot be followed: ",
            shows="Remote task 7d0c cannot be followed: Task not found",
            bound="at once; 60 s if the agent is unavailable",
            remedy="Run it again from the start.",
        ),
        Failure(
            key="remote-failed",
            happened="The remote task failed: the message is the agent's.",
            reason=Reason.PROVIDER_ERROR,
            message=r"^I cannot$",
            shows="I cannot",
            bound=_ONCE,
            remedy="Follow the agent's message.",
        ),
        Failure(
            key="remote-rejected",
            happened="The agent rejected the task: the message is the agent's.",
            reason=Reason.REFUSED,
            phase=Phase.REJECTED,
            message=r"^I will not$",
            shows="I will not",
            bound=_ONCE,
            remedy="Request something else.",
        ),
    ),
)  # fmt: skip
