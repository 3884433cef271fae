"""How a profile's pods reach the network: the authorities they trust, and the way out."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from agentrun.api.base import Model
from agentrun.api.v1alpha1.meta import ConfigMapKey, SecretKey

ProxyURL = Annotated[str, Field(min_length=1, max_length=2048)]
_IS_PROXY = "matches('^https?://[^@/?# ]+/?$')"


class Proxy(Model):
    """A forward proxy, for agent and runner: HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

    http: ProxyURL | None = None
    """The proxy for http, as http://HOST:PORT."""
    https: ProxyURL | None = None
    """The proxy for https. A proxy is mostly spoken to with http:// for this as well."""
    url_secret: SecretKey | None = None
    """
    The Secret with the URL of a proxy that asks for a user and password,
    http://USER:PASSWORD@HOST:PORT, in the place of `http` and `https`. The agent can read it; it
    is redacted from events.
    """
    no_proxy: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^,\s\x00]+$")]],
        Field(max_length=64),
    ] = []  # noqa: RUF012
    """
    Hosts, domains (.example.com) and addresses that are reached directly. The pod's loopback, the
    gateway and the cluster's own names (.svc, .cluster.local) always are.
    """

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.urlSecret) != (has(self.http) || has(self.https))",
            "message": "name the proxy in http and https, or in urlSecret",
        },
        {
            "rule": f"(!has(self.http) || self.http.{_IS_PROXY})"
            f" && (!has(self.https) || self.https.{_IS_PROXY})",
            "message": "a proxy is http://HOST:PORT; one with a user and password belongs in a"
            " Secret that urlSecret names",
        },
    ]


class Network(Model):
    """How the pods reach the network."""

    ca_bundle: ConfigMapKey | None = None
    """
    Certificates in PEM form of authorities to trust besides those of the images: in the agent, in
    git, and on the way to the model's provider.
    """
    proxy: Proxy | None = None
    """The forward proxy through which the network is reached."""
