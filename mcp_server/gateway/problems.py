"""Error responses: an HTTP status for each problem code, and messages that say what to do."""

import logging
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from agentrun.api.gateway import Problem, ProblemCode
from agentrun.store.base import (
    ConflictError,
    FencedError,
    NotStorableError,
    SealedError,
    StoreUnavailableError,
    UnknownRunError,
)
from mcp_server.gateway.ports import (
    ClusterUnavailableError,
    RunGoneError,
    StatusRefusedError,
    UnauthenticatedError,
)

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
_OVER = "Stop: nothing that is sent will be stored."


class RequestError(Exception):
    """A request is rejected with a problem."""

    def __init__(self, error: ProblemCode, message: str, last_seq: int | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(error=error, message=message, last_seq=last_seq)


def answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response with ``model``, with the field names of the protocol."""
    body = model.model_dump_json(by_alias=True, exclude_none=True)
    return Response(body, status, headers, media_type="application/json")


def explain(error: ValidationError, what: str) -> RequestError:
    """Return the error that names the first invalid field of a request."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = f"{what}: {field}" if field else what
    return RequestError("invalid", f"{where}: {first['msg']}{more}. Correct it and send it again.")


def _refused(_: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, RequestError) else _refusal_for(error)
    code = refusal.problem.error
    return answer(refusal.problem, _STATUS[code], _HEADERS.get(code))


def _refusal_for(error: Exception) -> RequestError:
    """Convert an error of the store or the cluster to a problem for the runner."""
    match error:
        case UnauthenticatedError():
            return RequestError("unauthenticated", str(error))
        case ConflictError():
            return RequestError("conflict", str(error), error.last_seq)
        case SealedError() | RunGoneError():
            return RequestError("sealed", f"{error} {_OVER}")
        case FencedError() | UnknownRunError():
            return RequestError("fenced", f"{error} {_OVER}")
        case NotStorableError():
            return RequestError("invalid", f"{error} Correct it and send it again.")
        case StatusRefusedError():
            return RequestError("invalid", f"{error} Send a status that is valid for an AgentRun.")
        case _:
            _log.warning("rejected a runner's request, which may be retried: %s", error)
            return RequestError("unavailable", f"{error} Retain all data and try again.")


def _of_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    problem = Problem(
        error="not_found" if error.status_code == 404 else "invalid",
        message=f"{error.detail}. See the paths and methods of the gateway's protocol.",
    )
    return answer(problem, error.status_code, dict(error.headers or {}))


def _unexpected(_: Request, __: Exception) -> Response:
    # Starlette's middleware raises the error again, so that it is logged with its traceback.
    message = "The gateway failed; its log has the reason. Retain all data and try again."
    headers = _HEADERS["unavailable"]
    return answer(Problem(error="unavailable", message=message), 500, headers)


HANDLERS: dict[Any, ExceptionHandler] = {
    **dict.fromkeys(
        (
            RequestError,
            UnauthenticatedError,
            ConflictError,
            SealedError,
            RunGoneError,
            FencedError,
            UnknownRunError,
            StatusRefusedError,
            NotStorableError,
            StoreUnavailableError,
            ClusterUnavailableError,
        ),
        _refused,
    ),
    HTTPException: _of_http,
    Exception: _unexpected,
}
"""The exception handlers for Starlette."""
