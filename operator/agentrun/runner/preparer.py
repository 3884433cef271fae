"""Prepares the pod for the agent: the snapshot of an earlier pod, and the workspace."""

from dataclasses import dataclass

from agentrun.api.gateway import Task
from agentrun.api.git_access import repository_refusal, shown_to
from agentrun.api.v1alpha1 import GitSource, Reason, Workspace, default_profile
from agentrun.runner.backends import write_identity
from agentrun.runner.gateway import Gateway
from agentrun.runner.git.git import Git
from agentrun.runner.git.workspace import Base, clone, working_folder
from agentrun.runner.instructions import write_instructions
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.outcome_reporter import author_of
from agentrun.runner.secrets import secret_in_url
from agentrun.runner.settings import Settings
from agentrun.runner.snapshot.restore import Restorer, ResumePoint, restore_workspace
from agentrun.runner.transcript import Transcript
from agentrun.runner.trust import is_bundle


@dataclass
class Preparer:
    """Prepares the pod, and stores what it was prepared from."""

    layout: Layout
    settings: Settings
    gateway: Gateway
    git: Git
    redactor: Redactor
    transcript: Transcript
    origin: ResumePoint | None = None
    """The snapshot of an earlier pod; None if the run starts anew."""
    base: Base | None = None
    """The state of the git workspace when the agent started; None if there is none."""

    def __post_init__(self) -> None:
        """Hide the agent's folders from git processes with credentials, from the start."""
        self.git.keep_from(self.layout.workspace, self.layout.home)

    async def restore(self, task: Task) -> None:
        """Restore the snapshot of an earlier pod, if there is one, for the agent."""
        restorer = Restorer(self.layout, self.gateway, self.git, self.settings.patience)
        self.origin = await restorer.find(task)
        if self.origin is not None:
            kept = self.origin.manifest
            self.transcript.log("-", f"resuming from attempt {kept.attempt} of {kept.run_id}")
            if not self.settings.is_remote:
                await restorer.restore(self.origin, task)

    async def workspace(self, task: Task) -> str:
        """Prepare the workspace, and return the agent's working folder."""
        self._check_bundle(task)
        author = author_of(task)
        write_identity(self.layout, author.name, author.email)
        write_instructions(self.layout, task.spec.backend, task.profile.instruction_files)
        workspace = task.spec.workspace or task.profile.workspace or Workspace()
        # A remote agent cannot access a clone.
        if workspace.git and not self.settings.is_remote:
            self._check_repository(task, workspace.git.url)
            self.git.show_credentials_to(shown_to(task.profile), workspace.git.url)
            self.redactor.add(*secret_in_url(workspace.git.url))
            self.base = await self._checkout(task, workspace.git)
            self.transcript.log("-", f"on branch {self.base.branch}, {self.base.commit[:12]}")
        return str(working_folder(self.layout.workspace, workspace.cwd))

    async def _checkout(self, task: Task, source: GitSource) -> Base:
        kept = self.origin.kept_change(task) if self.origin else None
        if self.origin and kept:
            return await restore_workspace(self.git, kept, self.origin, task, self.layout)
        self.transcript.log("-", self.redactor.text(f"cloning {source.url}"))
        return await clone(
            self.git, source, task.run_id, self.layout.workspace, self.layout.repository
        )

    def _check_repository(self, task: Task, url: str) -> None:
        name = task.spec.profile or default_profile(task.spec.backend)
        if refusal := repository_refusal(task.profile, name, url):
            raise AttemptError(Reason.PROFILE_REFUSED, self.redactor.text(refusal))

    def _check_bundle(self, task: Task) -> None:
        bundle = task.profile.network.ca_bundle
        if bundle and not is_bundle(self.layout):
            message = (
                f"The profile's network.caBundle, ConfigMap {bundle.name}, key {bundle.key}, holds"
                " no certificates in PEM form."
            )
            raise AttemptError(Reason.PROFILE_INVALID, message)
