"""A run's settings for its remote agent (`spec.backendConfig`), for MCP server and runner."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class RemoteConfig(BaseModel):
    """Settings of the backend `remote_a2a`. The description of a field states its valid values."""

    model_config = ConfigDict(extra="ignore")

    agent_url: Annotated[
        str,
        Field(
            pattern=r"^https?://[^\s/\x00]+",
            max_length=2048,
            description="an http or https URL of at most 2048 characters",
        ),
    ]
    agent_card_path: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="a path or URL of at most 1024 characters"
    )
    history_length: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None, description="a whole number from 0 to 1000"
    )
    blocking: bool = Field(False, description="true or false")
    accepted_output_modes: Annotated[list[str], Field(max_length=32)] = Field(
        [], description="a list of at most 32 media types"
    )


def read_remote_config(values: Mapping[str, Any]) -> RemoteConfig:
    """Read the settings. Raises ValueError, which names the first invalid field and its form."""
    try:
        return RemoteConfig.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        expected = RemoteConfig.model_fields[name].description
        raise ValueError(f"{name} must be {expected}") from error
