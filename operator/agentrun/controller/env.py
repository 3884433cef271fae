"""The network part of the two containers' environments: trusted CAs and the forward proxy."""

from typing import Any
from urllib.parse import urlsplit

from agentrun.api import pod_layout as layout
from agentrun.api.v1alpha1 import AgentProfileSpec, SecretKey

# Hosts that every pod reaches without a proxy. Some programs require the dot; some, no brackets.
_DIRECT = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")

# Each names one file with all CAs: OpenSSL and Go; requests; curl; git; pip; cargo; AWS tools.
_ROOTS = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
    "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE",
)  # fmt: skip

Variable = dict[str, Any]


def agent_network(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """Return the network variables of the agent's environment."""
    trust: list[Variable] = []
    if profile.network.ca_bundle:
        trust = [variable(name, layout.AGENT_ROOTS) for name in _ROOTS]
        # Node.js has built-in CAs and adds those in this file.
        trust.append(variable("NODE_EXTRA_CA_CERTS", layout.CA_FILE))
    return [*trust, *_proxy(profile, gateway_url)]


def runner_network(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """Return the network variables of the runner's environment, which git inherits."""
    trust = [
        variable(name, layout.RUNNER_ROOTS)
        for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
        if profile.network.ca_bundle
    ]
    return [*trust, *_proxy(profile, gateway_url)]


def variable(name: str, value: str) -> Variable:
    """Build an environment variable of a container."""
    return {"name": name, "value": value}


def from_secret(name: str, key: SecretKey) -> Variable:
    """Build an environment variable with its value from a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}


def _proxy(profile: AgentProfileSpec, gateway_url: str) -> list[Variable]:
    """Set the proxy variables in upper and lower case: for http, curl reads only lower case."""
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
