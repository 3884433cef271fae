"""Validation of runs, before anything is created for them."""

import re

from agentrun.api.git_access import repository_refusal
from agentrun.api.names import MAX_RUN_NAME
from agentrun.api.quarantine import UNREADABLE
from agentrun.api.resolve import Refusal, profile_refusal, workspace_of
from agentrun.api.v1alpha1 import AgentProfile, AgentRun, Reason
from agentrun.backends import backend_of
from agentrun.controller.observed import Failure, Observed, WaitClass

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def validation_failure(run: AgentRun, observed: Observed) -> Failure | None:
    """Return why ``run`` cannot have a pod; None if it can."""
    return (
        _unreadable(run)
        or _misnamed(run)
        or _check_profile(run, observed.profile)
        or _check_session(run, observed)
    )


def _unreadable(run: AgentRun) -> Failure | None:
    why = run.metadata.annotations.get(UNREADABLE)
    if not why:
        return None
    message = f"The AgentRun cannot be read as it is. {why}"
    return Failure(Reason.UNREADABLE, message, WaitClass.NONE)


def _misnamed(run: AgentRun) -> Failure | None:
    name = run.metadata.name
    if len(name) <= MAX_RUN_NAME and _NAME.fullmatch(name):
        return None
    message = (
        f"The name {name} is not valid for a run: it may have at most {MAX_RUN_NAME} characters,"
        " of a-z, 0-9 and -."
    )
    return Failure(Reason.POD_REJECTED, message, WaitClass.NONE)


def _check_profile(run: AgentRun, profile: AgentProfile | None) -> Failure | None:
    name, spec = run.spec.profile_name, run.spec
    if profile is None:
        message = f"There is no AgentProfile {name} in namespace {run.metadata.namespace}."
        return Failure(Reason.PROFILE_NOT_FOUND, message)
    offered = profile.spec
    volume = spec.workspace.volume if spec.workspace else None
    if refusal := profile_refusal(offered, spec.backend, spec.model, volume):
        return _refused(_describe(refusal, name))
    source = workspace_of(spec, offered).git
    if source and (why := repository_refusal(offered, name, source.url)):
        return _refused(why)
    backend = backend_of(spec.backend)
    if not backend.is_remote and not offered.command and not backend.command:
        return _refused(f"AgentProfile {name} sets no command, and {spec.backend} has no default.")
    return _without_model(run, profile)


def _describe(refusal: Refusal, profile: str) -> str:
    allowed = ", ".join(refusal.allowed)
    if refusal.field == "backend":
        return f"AgentProfile {profile} is for {allowed}, not for {refusal.asked}."
    message = f"AgentProfile {profile} does not allow {refusal.field} {refusal.asked}."
    return f"{message} It allows: {allowed}." if refusal.field == "model" else message


def _without_model(run: AgentRun, profile: AgentProfile) -> Failure | None:
    """Refuse a run without a model whose agent could choose one of another provider."""
    variable = backend_of(run.spec.backend).config_variable
    if variable is None or run.spec.model or profile.spec.models.default:
        return None
    if variable in {one.name for one in profile.spec.env}:
        return None
    return _refused(
        f"{run.spec.backend} has no default model: set the run's model, or models.default of"
        f" AgentProfile {profile.metadata.name}."
    )


def _check_session(run: AgentRun, observed: Observed) -> Failure | None:
    session, spec = observed.session, run.spec
    resumes = spec.session is not None and spec.session.mode == "resume"
    if not session.exists:
        if not resumes:
            return None
        message = f"There is no AgentSession {session.name} to resume."
        return Failure(Reason.SESSION_NOT_FOUND, message, WaitClass.NONE)
    if session.backend != spec.backend:
        message = f"AgentSession {session.name} is for {session.backend}, not for {spec.backend}."
        return Failure(Reason.SESSION_NOT_RESUMABLE, message, WaitClass.NONE)
    # The current holder may still leave a snapshot, so this is checked once the run holds it.
    if resumes and not session.has_snapshot and session.is_held_by(run.metadata.uid):
        message = f"AgentSession {session.name} holds no conversation that could be resumed."
        message += f" {session.snapshot_error}" if session.snapshot_error else ""
        return Failure(Reason.SESSION_NOT_RESUMABLE, message, WaitClass.NONE)
    return None


def _refused(message: str) -> Failure:
    return Failure(Reason.PROFILE_REFUSED, message, WaitClass.NONE)
