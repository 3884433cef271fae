"""What a run says of its remote agent (`spec.backendConfig`), and where the agent's card may be."""

from typing import Annotated, Any
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.outcome import Failure

_WELL_KNOWN = ".well-known/agent-card.json"


class RemoteConfig(BaseModel):
    """Settings of the backend `remote_a2a`."""

    model_config = ConfigDict(extra="ignore")

    agent_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+", max_length=2048)]
    agent_card_path: Annotated[str, Field(max_length=1024)] | None = None
    history_length: Annotated[int, Field(ge=0, le=1000)] | None = None
    blocking: bool = False
    accepted_output_modes: Annotated[list[str], Field(max_length=32)] = []


def read_config(given: dict[str, Any] | None, default_url: str | None) -> RemoteConfig:
    """Read the run's settings; the profile may name the agent's URL in its place."""
    values = {**({"agent_url": default_url} if default_url else {}), **(given or {})}
    try:
        return RemoteConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = (
            f"spec.backendConfig.{where}: {first['msg']}. Create the run again with the URL of an"
            " A2A agent as backendConfig.agent_url."
        )
        raise Failure(Reason.PROFILE_INVALID, message) from error


def card_urls(config: RemoteConfig) -> list[str]:
    """List where the card may be; the first that is there counts."""
    base = config.agent_url.rstrip("/") + "/"
    if config.agent_card_path:
        return [urljoin(base, config.agent_card_path)]
    if urlsplit(config.agent_url).path.endswith(".json"):
        return [config.agent_url]
    return list(dict.fromkeys([urljoin(base, _WELL_KNOWN), urljoin(base, f"/{_WELL_KNOWN}")]))


def origin(url: str) -> tuple[str, str, int | None]:
    """Return what says to whom a URL belongs."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port
