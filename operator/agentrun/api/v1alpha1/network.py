"""The network settings of a profile's pods: the CA certificates they trust, and a forward proxy."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from agentrun.api.base import Model
from agentrun.api.v1alpha1.meta import ConfigMapKey, SecretKey

ProxyURL = Annotated[str, Field(min_length=1, max_length=2048)]
_IS_PROXY = "matches('^https?://[^@/?# ]+/?$')"


class Proxy(Model):
    """A forward proxy for agent and runner, set as HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

    http: ProxyURL | None = None
    """The proxy for http URLs, as http://HOST:PORT."""
    https: ProxyURL | None = None
    """The proxy for https URLs. Its own URL mostly begins with http:// as well."""
    url_secret: SecretKey | None = None
    """
    The Secret key with the URL of a proxy that requires a user and password, as
    http://USER:PASSWORD@HOST:PORT. It replaces `http` and `https`. The agent can read it; it is
    redacted from events.
    """
    no_proxy: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^,\s\x00]+$")]],
        Field(max_length=64),
    ] = []  # noqa: RUF012
    """
    Hosts, domains (.example.com) and addresses that are reached without the proxy. The pod's
    loopback, the gateway and the cluster's own names (.svc, .cluster.local) are always included.
    """

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.urlSecret) != (has(self.http) || has(self.https))",
            "message": "set the proxy in http and https, or in urlSecret",
        },
        {
            "rule": f"(!has(self.http) || self.http.{_IS_PROXY})"
            f" && (!has(self.https) || self.https.{_IS_PROXY})",
            "message": "http and https must have the form http://HOST:PORT; a URL with a user and"
            " password belongs in a Secret, in urlSecret",
        },
    ]


class Network(Model):
    """The network settings of the pods."""

    ca_bundle: ConfigMapKey | None = None
    """
    The ConfigMap key with CA certificates in PEM format. They are trusted in addition to those of
    the images: by the agent, by git, and in connections to the model provider.
    """
    proxy: Proxy | None = None
    """The forward proxy for outgoing connections. If omitted, pods connect directly."""
