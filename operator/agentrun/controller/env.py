"""What the two containers' environments say of the network: authorities to trust, and a proxy."""

from typing import Any
from urllib.parse import urlsplit

from agentrun.api import pod_layout as layout
from agentrun.api.v1alpha1 import AgentProfileSpec, SecretKey

# What is reached without a proxy in every pod. Some programs want the dot, and some no brackets.
_DIRECT = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")

# One file with all roots: OpenSSL and Go; Python's requests; curl; git; pip; cargo; AWS's tools.
_ROOTS = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
    "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE",
)  # fmt: skip

Variable = dict[str, Any]


def agent_network(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """List what the agent's environment says of the network."""
    trust: list[Variable] = []
    if profile.network.ca_bundle:
        trust = [variable(name, layout.AGENT_ROOTS) for name in _ROOTS]
        # Node.js has roots of its own, and adds what is named here.
        trust.append(variable("NODE_EXTRA_CA_CERTS", layout.CA_FILE))
    return [*trust, *_proxy(profile, gateway_url)]


def runner_network(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """List what the runner's environment, and so git's, says of the network."""
    trust = [
        variable(name, layout.RUNNER_ROOTS)
        for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
        if profile.network.ca_bundle
    ]
    return [*trust, *_proxy(profile, gateway_url)]


def variable(name: str, value: str) -> Variable:
    """Make a variable of a container's environment."""
    return {"name": name, "value": value}


def from_secret(name: str, key: SecretKey) -> Variable:
    """Make a variable whose value is in a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}


def _proxy(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """Name the proxy in both spellings: for http, curl reads the small one only."""
    proxy = profile.network.proxy
    if proxy is None:
        return []
    gateway = urlsplit(gateway_url).hostname
    direct = ",".join(filter(None, (*_DIRECT, gateway, *proxy.no_proxy)))
    variables = [variable(name, direct) for name in ("NO_PROXY", "no_proxy")]
    for name, url in (("HTTP_PROXY", proxy.http), ("HTTPS_PROXY", proxy.https)):
        for spelling in (name, name.lower()):
            if proxy.url_secret:
                variables.append(from_secret(spelling, proxy.url_secret))
            elif url:
                variables.append(variable(spelling, url))
    return variables
