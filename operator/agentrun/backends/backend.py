"""
The description of a backend: everything in which one kind of agent differs from the others.

Standard library only: the runner reads it before it loads anything else, and so does the
subprocess that packs snapshots. Named tuples, because Python creates their classes in a fifth of
the time of dataclasses.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, NamedTuple, Protocol

from agentrun.backends.extensions import Extensions

PLACEHOLDER_KEY = "held-by-the-runner"
"""
The placeholder for agents that require an API key. The agent never has the provider's: it connects
to the runner's proxy on the pod's loopback interface, which adds the key.
"""

Schema = Mapping[str, Any]


class ProviderApi(Enum):
    """An API of model providers. It determines the requests of an agent, and their key header."""

    RESPONSES = "OpenAI's Responses"
    CHAT_COMPLETIONS = "Chat Completions"
    MESSAGES = "Anthropic's Messages"
    GENERATE_CONTENT = "Gemini's"


class HomeContext(NamedTuple):
    """What the files in an agent's home depend on."""

    provider_url: str
    """The runner's proxy to the model's provider."""
    tools_url: str
    """AgentRun's own tools."""
    workspace: str
    model: str | None
    asks: bool
    """Whether the agent asks for permission."""


class Home(Protocol):
    """The agent's home, in which the agent may have put anything."""

    def folder(self, path: str) -> "AbstractContextManager[Home]":
        """Open a folder. Raises OSError if it is missing or behind a link."""

    def names(self) -> Sequence[str]:
        """List the names in the folder."""

    def status(self, path: str) -> os.stat_result:
        """Return the status of a file, without following links."""

    def rename(self, old: str, new: str) -> None:
        """Rename a file in the folder."""

    def remove(self, path: str) -> None:
        """Remove a file."""


def _no_files(context: HomeContext) -> Mapping[str, str]:
    return {}


def _no_meta(asks: bool, schema: Schema | None) -> dict[str, Any]:
    return {}


def _no_change(home: Home, session_id: str) -> None:
    return None


class Backend(NamedTuple):
    """One kind of agent. The defaults are those of an unknown program that implements ACP."""

    name: str
    is_remote: bool = False
    """Whether the agent runs elsewhere: the pod has no agent container."""

    # The agent's container. A profile overrides the command and the environment.
    command: Sequence[str] = ()
    """The ACP command; empty if the profile has to set it."""
    bypass: Sequence[str] = ()
    """Arguments to work without permission requests, where a session mode does not set that."""
    env: Mapping[str, str] = {}
    ask_env: Mapping[str, str] = {}
    """Overrides of ``env`` for an agent that asks for permission."""
    model_variable: str | None = None
    """The environment variable that names the agent's model."""
    aside_variables: Sequence[str] = ()
    """The variables that name the model for auxiliary requests, such as generating a title."""
    config_variable: str | None = None
    """The variable with the agent's complete configuration, which has to name a model."""
    config: Callable[[str, bool], Mapping[str, Any]] | None = None
    """Builds that configuration from the model and from whether the agent asks."""

    # The model's provider.
    provider_url: str | None = None
    """The default base URL of the provider's API."""
    provider_api: ProviderApi | None = None
    """The API that the agent requests; None for any."""
    retry_seconds: float | None = None
    """How long a failing provider is retried, for agents that have no setting for that."""
    answers_with_errors: bool = False
    """Whether the agent reports errors of the provider, in its own words, as its answer."""

    # The agent's home. Paths are relative to it.
    home_files: Callable[[HomeContext], Mapping[str, str]] = _no_files
    """Returns the texts of the files that must exist before the agent starts, by path."""
    instructions_path: str | None = None
    """The user-level instructions, which apply to all projects; None if there is no such path."""
    conversation_files: Sequence[str] | None = None
    """
    The files and folders that contain conversations. Their last part may be a pattern. None for
    everything except caches.
    """
    after_restore: Callable[[Home, str], None] = _no_change
    """Prepares a restored home, so that the agent finds the session of the given id again."""

    # The ACP session.
    bypass_mode: str | None = None
    """The mode in which an agent requests no permissions; None for the agent's default."""
    ask_mode: str | None = None
    """The mode in which an agent requests permission before it changes anything."""
    session_meta: Callable[[bool, Schema | None], dict[str, Any]] = _no_meta
    """
    Returns the ``_meta`` for opening a session, from whether the agent asks and from the schema of
    its answer. It differs with and without a schema if the agent has its own tool for the answer.
    """
    has_threads: bool = False
    """Whether the agent calls its sessions threads: ``run_started`` has a ``thread_id``."""
    extensions: Extensions = Extensions()

    def agent_command(self, asks: bool) -> list[str]:
        """Return the ACP command; ``asks`` means that the agent asks for permission."""
        return [*self.command, *(() if asks else self.bypass)]

    def agent_env(
        self, model: str | None, asks: bool, only_that_model: bool = False
    ) -> dict[str, str]:
        """
        Return the agent's environment; ``asks`` means that the agent asks for permission.

        With ``only_that_model``, auxiliary requests use ``model`` as well: the agent's own choice
        may not be allowed.
        """
        env = {**self.env, **(self.ask_env if asks else {})}
        if model and self.model_variable:
            env[self.model_variable] = model
        if model and only_that_model:
            env |= dict.fromkeys(self.aside_variables, model)
        if model and self.config_variable and self.config:
            env[self.config_variable] = json.dumps(self.config(model, asks))
        return env

    def session_mode(self, asks: bool) -> str | None:
        """Return the mode of the agent's session; None for the agent's default."""
        return self.ask_mode if asks else self.bypass_mode
