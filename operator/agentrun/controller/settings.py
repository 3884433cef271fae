"""The operator's settings, read from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentrun.api.pod_layout import COLLECT_SECONDS
from agentrun.api.pod_metadata import Annotations, Labels, key_refusal
from agentrun.api.resolve import RunTimeouts
from agentrun.api.v1alpha1 import Resources

PREFIX = "AGENTRUN_"
_NEVER = "never"
_MARGIN = 30
"""Extra seconds in which a runner can report its own timeout before the operator stops it."""


class SettingsError(Exception):
    """A setting is missing or invalid; the message names it."""


@dataclass(frozen=True)
class OperatorTimeouts:
    """The operator's timeouts, in seconds."""

    start: int = 300
    """How long a scheduled pod may take until its containers run."""
    stuck: int = 60
    """How long a failure that someone may fix (such as a missing image) may persist."""
    unschedulable: int = 600
    """How long a pod may wait for capacity: a node that fits, or quota."""
    gateway: int = 600
    """How long a runner retries an unavailable gateway when nothing else is left to do."""
    ttl: int | None = 604_800
    """How long a finished AgentRun is retained; None means that it is not deleted."""
    deadline: int = 4 * 3600
    """How long a run may work, without the time it waits for input."""
    input: int = 86_400
    """How long a run may wait for input."""
    idle: int = 1800
    """How long the pod of a run that waits for input is kept."""
    grace: int = 30
    """How long a run that is stopped may take to ship its final events."""
    agent_after_runner: int = 30
    """How long the agent container may outlive the runner container."""
    unreachable: int = 30
    """How long a pod's deletion may be overdue before its node counts as lost."""

    @property
    def of_runs(self) -> RunTimeouts:
        """The timeouts of runs for which neither the run nor its profile sets one."""
        return RunTimeouts(self.deadline, self.input, self.grace, self.idle)

    @property
    def delivery(self) -> int:
        """How long a runner may take after its agent exited to collect and deliver the change."""
        return self.gateway + COLLECT_SECONDS + _MARGIN

    @property
    def report(self) -> int:
        """How long a runner may take to report after its pod was scheduled."""
        return self.start + self.gateway + _MARGIN


@dataclass(frozen=True)
class PodDefaults:
    """The operator settings that apply to pods."""

    gateway_url: str
    runner_image: str
    runner_image_pull_policy: str = "IfNotPresent"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of all pods of runs."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of all pods of runs."""
    runner_resources: Resources = field(default_factory=Resources)
    """Requests and limits of the runner, in addition to the defaults or instead of them."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings."""

    namespaces: tuple[str, ...]
    """The namespaces in which it manages runs."""
    pod: PodDefaults
    timeouts: OperatorTimeouts = field(default_factory=OperatorTimeouts)
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
    timeouts = OperatorTimeouts(
        start=_seconds(env, "START_TIMEOUT_SECONDS", defaults.start),
        stuck=_seconds(env, "STUCK_TIMEOUT_SECONDS", defaults.stuck),
        unschedulable=_seconds(env, "UNSCHEDULABLE_TIMEOUT_SECONDS", defaults.unschedulable),
        gateway=_seconds(env, "GATEWAY_TIMEOUT_SECONDS", defaults.gateway),
        ttl=_ttl(env, defaults.ttl),
        deadline=_seconds(env, "DEFAULT_DEADLINE_SECONDS", defaults.deadline),
        input=_seconds(env, "DEFAULT_INPUT_TIMEOUT_SECONDS", defaults.input),
        idle=_seconds(env, "DEFAULT_IDLE_SECONDS", defaults.idle),
        grace=_seconds(env, "DEFAULT_GRACE_SECONDS", defaults.grace),
    )
    pod = PodDefaults(
        gateway_url=_text(env, "GATEWAY_URL"),
        runner_image=_text(env, "RUNNER_IMAGE"),
        runner_image_pull_policy=env.get(f"{PREFIX}RUNNER_IMAGE_PULL_POLICY") or "IfNotPresent",
        labels=_metadata(env, "POD_LABELS", Labels),
        annotations=_metadata(env, "POD_ANNOTATIONS", Annotations),
        runner_resources=_json(env, "RUNNER_RESOURCES", Resources),
    )
    return Settings(
        namespaces=namespaces,
        pod=pod,
        timeouts=timeouts,
        resync_seconds=_seconds(env, "RESYNC_SECONDS", 60),
        workers=_seconds(env, "WORKERS", 32),
        health_port=_seconds(env, "HEALTH_PORT", 8080),
    )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(PREFIX + name, "").strip()
    if not value:
        raise SettingsError(f"{PREFIX}{name} is not set: the operator cannot work without it.")
    return value


def _json(env: Mapping[str, str], name: str, kind: Any) -> Any:
    """Read a setting in JSON; what is not set is empty."""
    text = env.get(PREFIX + name, "").strip() or "{}"
    try:
        return TypeAdapter(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{PREFIX}{name} is not valid: {where + ': ' if where else ''}{first['msg']}."
        ) from error


def _metadata(env: Mapping[str, str], name: str, kind: Any) -> dict[str, str]:
    """Read labels or annotations in JSON."""
    found: dict[str, str] = _json(env, name, kind)
    if refusal := key_refusal(found):
        raise SettingsError(f"{PREFIX}{name} is not valid: {refusal}.")
    return found


def _ttl(env: Mapping[str, str], default: int | None) -> int | None:
    text = env.get(f"{PREFIX}TTL_SECONDS", "").strip()
    if text == _NEVER:
        return None
    if not text:
        return default
    return _seconds(env, "TTL_SECONDS", 0, least=0)


def _seconds(env: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = env.get(PREFIX + name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(
            f"{PREFIX}{name} is {text!r}: set it to a whole number of at least {least}."
        )
    return int(text)
