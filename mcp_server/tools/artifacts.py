"""The tool that reads fields that are too large for an event."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from agentrun.api.gateway import blob_key
from mcp_server.artifacts import MAX_SLICE, NoArtifactError, read_slice, reference
from mcp_server.run_lookup import AgentName, Cwd, Namespace, RunId, resolve
from mcp_server.schemas import ArtifactResult
from mcp_server.tool_context import ToolContext, tool_errors


def add_get_event_artifact(server: MCPServer, context: ToolContext) -> None:
    """Register get_event_artifact."""

    @server.tool(
        title="Read a large field in full",
        annotations=ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def get_event_artifact(
        seq: Annotated[int, Field(description="The event's seq.", ge=1)],
        field_path: Annotated[
            str,
            Field(description="A key of the event's data.artifact_refs: /output.", min_length=1),
        ],
        run_id: RunId = None,
        agent_name: AgentName = None,
        cwd: Cwd = None,
        offset: Annotated[int, Field(description="Where to start, in bytes.", ge=0)] = 0,
        limit: Annotated[
            int, Field(description="The maximum number of bytes.", ge=1, le=MAX_SLICE)
        ] = 65_536,
        namespace: Namespace = None,
    ) -> ArtifactResult:
        """
        Return a field that an event only previews: long output, a patch, a large result.

        An event lists these fields in `data.artifact_refs`. While `has_more` is true, call it
        again with `offset` set to `offset + returned_bytes` of the result.
        """
        with tool_errors():
            row = await resolve(context, run_id, agent_name, cwd, namespace)
            uid, name = row.run.metadata.uid, row.run.metadata.name
            try:
                ref = reference(await context.store.read(uid, seq - 1, 1), seq, field_path)
            except NoArtifactError as error:
                raise ToolError(str(error)) from error
            relpath = str(ref["relpath"])
            try:
                part = await read_slice(context.blobs, blob_key(uid, relpath), offset, limit)
            except KeyError as error:
                raise ToolError(
                    f"The bytes of {field_path} of seq {seq} were not stored:"
                    " only the event's preview is available."
                ) from error
            return ArtifactResult(
                run_id=name,
                seq=seq,
                field_path=field_path,
                mime=str(ref["mime"]),
                encoding=part.encoding,
                relpath=relpath,
                total_bytes=part.total,
                offset=part.offset,
                returned_bytes=part.end - part.offset,
                has_more=part.end < part.total,
                content=part.content,
            )
