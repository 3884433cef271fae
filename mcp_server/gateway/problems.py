"""Refusing requests: each reason with its HTTP status, in words that say what to do."""

import logging
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from agentrun.api.gateway import Problem, ProblemCode
from agentrun.store.base import (
    Conflict,
    Fenced,
    NotStorable,
    Sealed,
    Unavailable,
    UnknownRun,
)
from mcp_server.gateway.ports import ClusterUnavailable, RunGone, StatusRefused, Unauthenticated

_log = logging.getLogger(__name__)

RETRY_SECONDS = 2
_STATUS: dict[ProblemCode, int] = {
    "invalid": 400,
    "unauthenticated": 401,
    "fenced": 403,
    "not_found": 404,
    "conflict": 409,
    "sealed": 410,
    "too_large": 413,
    "unavailable": 503,
}
_HEADERS: dict[ProblemCode, dict[str, str]] = {
    "unauthenticated": {"WWW-Authenticate": "Bearer"},
    "unavailable": {"Retry-After": str(RETRY_SECONDS)},
}
_OVER = "Stop: nothing that is sent will be kept."


class Refusal(Exception):  # noqa: N818 - what it is, not that it is an error
    """A request that is refused."""

    def __init__(self, error: ProblemCode, message: str, last_seq: int | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(error=error, message=message, last_seq=last_seq)


def answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with ``model``, spelled as the protocol and Kubernetes spell it."""
    body = model.model_dump_json(by_alias=True, exclude_none=True)
    return Response(body, status, headers, media_type="application/json")


def explain(error: ValidationError, what: str) -> Refusal:
    """Say which field of a request is wrong."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"{what}: {field}" if field else what
    return Refusal("invalid", f"{where}: {first['msg']}{more}. Correct it and send it again.")


def _refused(_: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, Refusal) else _refusal_for(error)
    code = refusal.problem.error
    return answer(refusal.problem, _STATUS[code], _HEADERS.get(code))


def _refusal_for(error: Exception) -> Refusal:
    """Say what an error of the store or the cluster means to a runner."""
    match error:
        case Unauthenticated():
            return Refusal("unauthenticated", str(error))
        case Conflict():
            return Refusal("conflict", str(error), error.last_seq)
        case Sealed() | RunGone():
            return Refusal("sealed", f"{error} {_OVER}")
        case Fenced() | UnknownRun():
            return Refusal("fenced", f"{error} {_OVER}")
        case NotStorable():
            return Refusal("invalid", f"{error} Correct it and send it again.")
        case StatusRefused():
            return Refusal("invalid", f"{error} Send a status that the AgentRun may hold.")
        case _:
            _log.warning("refused a runner's request for now: %s", error)
            return Refusal("unavailable", f"{error} Keep everything and try again.")


def _of_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problem = Problem(
        error="not_found" if error.status_code == 404 else "invalid",
        message=f"{error.detail}. See the paths and verbs of the gateway's protocol.",
    )
    return answer(problem, error.status_code, dict(error.headers or {}))


def _unexpected(_: Request, __: Exception) -> Response:
    # The server's own middleware raises it again, so that it is logged with its traceback.
    message = "The gateway failed. Keep everything and try again; its log says why."
    headers = _HEADERS["unavailable"]
    return answer(Problem(error="unavailable", message=message), 500, headers)


HANDLERS: dict[Any, ExceptionHandler] = {
    **dict.fromkeys(
        (
            Refusal,
            Unauthenticated,
            Conflict,
            Sealed,
            RunGone,
            Fenced,
            UnknownRun,
            StatusRefused,
            NotStorable,
            Unavailable,
            ClusterUnavailable,
        ),
        _refused,
    ),
    HTTPException: _of_http,
    Exception: _unexpected,
}
"""What Starlette calls for each exception."""
