"""Prepares the pod for the agent: the snapshot of an earlier pod, and the workspace."""

from dataclasses import dataclass

from agentrun.api.gateway import Task
from agentrun.api.git_access import repository_refusal, shown_to
from agentrun.api.resolve import workspace_of
from agentrun.api.v1alpha1 import GitSource, Reason
from agentrun.runner.answer_check import check_schema_apart
from agentrun.runner.gateway import Gateway
from agentrun.runner.git.change import author_of
from agentrun.runner.git.git import Git
from agentrun.runner.git.workspace import Base, check_branch, clone, working_folder
from agentrun.runner.home import write_identity
from agentrun.runner.instructions import write_instructions
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.layout import Layout
from agentrun.runner.outcome import AttemptError
from agentrun.runner.secrets import secret_in_url
from agentrun.runner.settings import Settings
from agentrun.runner.snapshot.manifest import ResumePoint
from agentrun.runner.snapshot.restore import Restorer, restore_workspace
from agentrun.runner.transcript import Transcript
from agentrun.runner.trust import is_bundle


@dataclass(frozen=True)
class Prepared:
    """What the agent starts from."""

    task: Task
    cwd: str
    """The agent's working folder."""
    origin: ResumePoint | None = None
    """The snapshot of an earlier pod; None if the run starts anew."""
    base: Base | None = None
    """The state of the git workspace when the agent starts; None if there is none."""


@dataclass
class Preparer:
    """Prepares the pod."""

    layout: Layout
    settings: Settings
    gateway: Gateway
    git: Git
    redactor: Redactor
    transcript: Transcript

    def __post_init__(self) -> None:
        """Hide the agent's folders from git processes with credentials, from the start."""
        self.git.keep_from(self.layout.workspace, self.layout.home)

    async def prepare(self, task: Task) -> Prepared:
        """Restore the snapshot of an earlier pod, if there is one, and make the workspace."""
        await self._check_schema(task)
        origin = await self._restore(task)
        base = await self._workspace(task, origin)
        cwd = str(working_folder(self.layout.workspace, workspace_of(task.spec, task.profile).cwd))
        return Prepared(task, cwd, origin, base)

    async def _check_schema(self, task: Task) -> None:
        """Check the schema before the work: spawn_run refuses an invalid one, the API does not."""
        if task.spec.output_schema is None:
            return
        try:
            await check_schema_apart(task.spec.output_schema)
        except ValueError as error:
            message = f"No answer can be checked against outputSchema: {error}"
            raise AttemptError(Reason.OUTPUT_SCHEMA_INVALID, message) from error

    async def _restore(self, task: Task) -> ResumePoint | None:
        restorer = Restorer(self.layout, self.gateway, self.git, self.settings.patience)
        origin = await restorer.find(task)
        if origin is not None:
            kept = origin.manifest
            self.transcript.log("-", f"resuming from attempt {kept.attempt} of {kept.run_id}")
            if not self.settings.is_remote:
                await restorer.restore(origin, task)
        return origin

    async def _workspace(self, task: Task, origin: ResumePoint | None) -> Base | None:
        self._check_bundle(task)
        author = author_of(task)
        write_identity(self.layout, author.name, author.email)
        write_instructions(self.layout, task.spec.backend, task.profile.instruction_files)
        source = workspace_of(task.spec, task.profile).git
        # A remote agent cannot access a clone.
        if source is None or self.settings.is_remote:
            return None
        self._check_repository(task, source.url)
        self.git.show_credentials_to(shown_to(task.profile), source.url)
        self.redactor.add(*secret_in_url(source.url))
        base = await self._checkout(task, source, origin)
        at = "which has no commit yet" if base.is_unborn else base.commit[:12]
        self.transcript.log("-", f"on branch {base.branch}, {at}")
        return base

    async def _checkout(self, task: Task, source: GitSource, origin: ResumePoint | None) -> Base:
        kept = origin.kept_change(task) if origin else None
        is_pushed = task.profile.git.push and self.git.fits(source.url)
        if origin and kept:
            if is_pushed and not origin.is_own:
                await check_branch(self.git, source, task.run_id, self.layout.repository)
            return await restore_workspace(self.git, kept, origin, task, self.layout)
        self.transcript.log("-", self.redactor.text(f"cloning {source.url}"))
        return await clone(
            self.git, source, task.run_id, self.layout.workspace, self.layout.repository, is_pushed
        )

    def _check_repository(self, task: Task, url: str) -> None:
        name = task.spec.profile_name
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
