"""Failures of runs that request something unavailable."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_ONCE = "at once"
_STUCK = "named at once, ends after `operator.stuckTimeoutSeconds`"
_SPAWNED = " `spawn_run` rejects such a run and lists what is available."

THEME = Theme(
    "What the run requests is not available",
    (
        Failure(
            key="profile-missing",
            happened="The AgentProfile does not exist.",
            reason=Reason.PROFILE_NOT_FOUND,
            message=r"^There is no AgentProfile \S+ in namespace \S+\.$",
            shows="There is no AgentProfile tset in namespace agents.",
            bound=_STUCK,
            remedy="Name one that `kubectl get agentprofiles` lists, or create it." + _SPAWNED,
        ),
        Failure(
            key="profile-other-backend",
            happened="The profile is for another backend.",
            reason=Reason.PROFILE_REFUSED,
            message=r"^AgentProfile \S+ is for \S+, not for \S+\.$",
            shows="AgentProfile tests is for codex, not for claude_code.",
            bound=_ONCE,
            remedy="Name the profile's backend, or another profile." + _SPAWNED,
        ),
        Failure(
            key="profile-model",
            happened="The profile does not allow the model.",
            reason=Reason.PROFILE_REFUSED,
            message=r"^AgentProfile \S+ does not allow model \S+\. It allows: \S+",
            shows="AgentProfile codex does not allow model o9. It allows: o4, o5.",
            bound=_ONCE,
            remedy="Name a model that is allowed, or add it to the profile's `models.allowed`."
            + _SPAWNED,
        ),
        Failure(
            key="profile-volume",
            happened="The profile does not allow the volume.",
            reason=Reason.PROFILE_REFUSED,
            message=r"^AgentProfile \S+ does not allow volume \S+\.$",
            shows="AgentProfile codex does not allow volume shop.",
            bound=_ONCE,
            remedy="Add the claim to the profile's `volumes`." + _SPAWNED,
        ),
        Failure(
            key="output-schema",
            happened="No answer can be checked against `outputSchema`: it is not a JSON Schema, it"
            " refers to a schema that it does not contain, or no answer can satisfy it.",
            reason=Reason.OUTPUT_SCHEMA_INVALID,
            message=r"^No answer can be checked against outputSchema: \S+",
            shows="No answer can be checked against outputSchema: /properties/item has $ref"
            " #/$defs/Item, which does not resolve: refer to a schema in it, such as #/$defs/X",
            bound="before the agent starts",
            remedy="Correct the schema. `spawn_run` rejects such a run with the same message.",
        ),
        Failure(
            key="profile-repository",
            happened="The profile does not allow the repository.",
            reason=Reason.PROFILE_REFUSED,
            message=r"^AgentProfile \S+ does not allow repository \S+\. It allows ",
            shows="AgentProfile codex does not allow repository https://git.example/shop.git. It"
            " allows (git.repositories): https://git.example/team.",
            bound=_ONCE,
            remedy="Add the repository to the profile's `git.repositories`." + _SPAWNED,
        ),
        Failure(
            key="profile-no-command",
            happened="Neither the profile nor its backend names the agent's program.",
            reason=Reason.PROFILE_REFUSED,
            message=r"^AgentProfile \S+ sets no command, and acp has no default\.$",
            shows="AgentProfile tests sets no command, and acp has no default.",
            bound=_ONCE,
            remedy="Add `command` to the profile.",
        ),
        Failure(
            key="run-unreadable",
            happened="The AgentRun cannot be read: it has more than 96 levels, or a NUL.",
            reason=Reason.UNREADABLE,
            message=r"^The AgentRun cannot be read as it is\. The object: \S+ .+\.$",
            shows="The AgentRun cannot be read as it is. The object: spec.metadata.a.a.a.a… is"
            " nested deeper than 96 levels.",
            bound=_ONCE,
            remedy="Delete it, and create it again without what the message names. The MCP tools"
            " reject such a run.",
        ),
        Failure(
            key="run-misnamed",
            happened="The AgentRun's name, with the attempt's number, is not a valid pod name. The"
            " API server refuses to create such a run; one may exist since an earlier version.",
            reason=Reason.POD_REJECTED,
            message=r"^The name \S+ is not valid for a run: it may have at most \d+ characters",
            shows="The name fix.1 is not valid for a run: it may have at most 52 characters, of"
            " a-z, 0-9 and -.",
            bound=_ONCE,
            remedy="Use a shorter name, without dots.",
        ),
        Failure(
            key="pod-name-taken",
            happened="A pod that does not belong to the run has the name of its pod.",
            reason=Reason.POD_NAME_TAKEN,
            message=r"^Pod \S+ exists and does not belong to this run\.$",
            shows="Pod fix-1 exists and does not belong to this run.",
            bound=_ONCE,
            remedy="Delete that pod, or give the run another name.",
        ),
        Failure(
            key="session-missing",
            happened="The session to resume does not exist.",
            reason=Reason.SESSION_NOT_FOUND,
            message=r"^There is no AgentSession \S+ to resume\.$",
            shows="There is no AgentSession monday to resume.",
            bound=_ONCE,
            remedy="Name one that `kubectl get agentsessions` lists." + _SPAWNED,
        ),
        Failure(
            key="session-other-backend",
            happened="The session is of another backend.",
            reason=Reason.SESSION_NOT_RESUMABLE,
            message=r"^AgentSession \S+ is for \S+, not for \S+\.$",
            shows="AgentSession monday is for codex, not for claude_code.",
            bound=_ONCE,
            remedy="Name the session's backend, or another session.",
        ),
        Failure(
            key="session-empty",
            happened="The session to resume holds no conversation.",
            reason=Reason.SESSION_NOT_RESUMABLE,
            message=r"^AgentSession \S+ holds no conversation that could be resumed\.$",
            shows="AgentSession monday holds no conversation that could be resumed.",
            bound=_ONCE,
            remedy="Start over in it: omit `session.mode`.",
        ),
        Failure(
            key="session-refused",
            happened="A ResourceQuota, or a policy, does not allow the creation of the run's"
            " session.",
            reason=Reason.QUOTA_EXCEEDED,
            message=r"^agentsessions\S+ \"[^\"]+\" is forbidden: exceeded quota: \S+",
            shows='agentsessions.agentrun.dev "fix" is forbidden: exceeded quota: objects,'
            " requested: count/agentsessions.agentrun.dev=1, used:"
            " count/agentsessions.agentrun.dev=50, limited:"
            " count/agentsessions.agentrun.dev=50",
            bound="named at once, ends after `operator.unschedulableTimeoutSeconds`",
            remedy="Delete AgentSessions that are no longer needed, or raise the quota. For a"
            " policy, the reason is `PodRejected`.",
        ),
    ),
)
