"""The operator's settings, read from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentrun.controller.containers import PodSettings
from agentrun.controller.timeouts import OperatorTimeouts

PREFIX = "AGENTRUN_"


class SettingsError(Exception):
    """A setting is missing or invalid; the message names it."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings."""

    namespaces: tuple[str, ...]
    """The namespaces in which it manages runs."""
    pod: PodSettings
    """The settings of pods, and the timeouts."""
    resync_seconds: int = 60
    """The interval between relists, in seconds."""
    workers: int = 32
    """How many runs it reconciles concurrently."""
    health_port: int = 8080
    """The port of /healthz and /readyz."""
    identity: str = field(default="agentrun-operator")
    """The source of its Kubernetes Events."""


def settings_from(env: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError, which states what is wrong and what to set."""
    namespaces = tuple(name for name in _text(env, "NAMESPACES").replace(",", " ").split() if name)
    if not namespaces:
        raise SettingsError(f"{PREFIX}NAMESPACES contains no namespace: set it to at least one.")
    defaults = OperatorTimeouts()
    limits = OperatorTimeouts(
        start=_seconds(env, "START_TIMEOUT_SECONDS", defaults.start),
        stuck=_seconds(env, "STUCK_TIMEOUT_SECONDS", defaults.stuck),
        unschedulable=_seconds(env, "UNSCHEDULABLE_TIMEOUT_SECONDS", defaults.unschedulable),
        gateway=_seconds(env, "GATEWAY_TIMEOUT_SECONDS", defaults.gateway),
        ttl=_seconds(env, "TTL_SECONDS", defaults.ttl, least=0),
        deadline=_seconds(env, "DEFAULT_DEADLINE_SECONDS", defaults.deadline),
        input=_seconds(env, "DEFAULT_INPUT_TIMEOUT_SECONDS", defaults.input),
        idle=_seconds(env, "DEFAULT_IDLE_SECONDS", defaults.idle),
        grace=_seconds(env, "DEFAULT_GRACE_SECONDS", defaults.grace),
    )
    pod = PodSettings(
        gateway_url=_text(env, "GATEWAY_URL"),
        runner_image=_text(env, "RUNNER_IMAGE"),
        runner_image_pull_policy=env.get(f"{PREFIX}RUNNER_IMAGE_PULL_POLICY") or "IfNotPresent",
        limits=limits,
    )
    return Settings(
        namespaces=namespaces,
        pod=pod,
        resync_seconds=_seconds(env, "RESYNC_SECONDS", 60),
        workers=_seconds(env, "WORKERS", 32),
        health_port=_seconds(env, "HEALTH_PORT", 8080),
    )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(PREFIX + name, "").strip()
    if not value:
        raise SettingsError(f"{PREFIX}{name} is not set: the operator cannot work without it.")
    return value


def _seconds(env: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = env.get(PREFIX + name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(
            f"{PREFIX}{name} is {text!r}: set it to a whole number of at least {least}."
        )
    return int(text)
