"""The profile of a run."""

from agentrun.api.v1alpha1 import AgentProfile, AgentRun
from mcp_server.gateway.ports import RunDirectory
from mcp_server.gateway.problems import RequestError


async def profile_of(runs: RunDirectory, run: AgentRun) -> AgentProfile:
    """Return the profile of a run. Raises RequestError if it does not exist."""
    namespace = run.metadata.namespace
    name = run.spec.profile_name
    profile = await runs.profile(namespace, name)
    if profile is None:
        message = f"Namespace {namespace} has no AgentProfile {name}. Create it, then try again."
        raise RequestError("not_found", message)
    return profile
