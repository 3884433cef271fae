"""Errors of requests to a remote agent, and whether a retry may help."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from a2a.client.errors import A2AClientError
from a2a.utils.errors import A2AError, InternalError

from agentrun.api.v1alpha1 import Reason
from agentrun.runner.outcome import AttemptError

_REFUSALS = (401, 403)
_PASSING = (408, 425, 429)
_NOTHING_THERE = (404, 405, 421)
_HINTS = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        ". The server's certificate is not trusted for this URL: add its authority to the profile's"
        " network.caBundle, and name the host as the certificate does",
    ),
    ("WRONG_VERSION_NUMBER", ". The server does not use TLS at this port: use http, or its port"),
    ("RECORD_LAYER_FAILURE", ". The server does not use TLS at this port: use http, or its port"),
)
"""Advice by a part of OpenSSL's message."""
_MAX_TEXT = 2000


class ResponseTooLargeError(httpx.ReadError):
    """A response, or an event of a stream, exceeds the limit."""


class RemoteError(Exception):
    """A request to the remote agent failed."""

    def __init__(
        self, message: str, status: int | None = None, *, final: bool = False, sent: bool = True
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_final = final
        """Whether a retry of the same request would fail again."""
        self.was_sent = sent
        """Whether the agent may have received the request."""

    def as_attempt_error(self, what: str) -> AttemptError:
        """Return the error with which the run ends because of this one."""
        if self.status in _REFUSALS:
            message = (
                f"{what}: {self}. Set the required credentials as backend_config.auth_token or"
                " headers, or in the Secret that the profile's provider.keySecret names."
            )
            return AttemptError(Reason.AUTH_REQUIRED, message)
        return AttemptError(Reason.PROVIDER_ERROR, f"{what}: {self}")


@contextmanager
def explained(origin_of_url: str = "") -> Iterator[None]:
    """
    Convert every exception that the SDK raises for a response into a RemoteError.

    If nothing serves the agent at the URL, its message ends with ``origin_of_url``: who named it.
    """
    try:
        yield
    except (GeneratorExit, RemoteError):
        raise
    except Exception as error:
        raise _explain(error, origin_of_url) from error


def _explain(error: Exception, origin_of_url: str) -> RemoteError:
    text = (str(error) or type(error).__name__)[:_MAX_TEXT]
    for cause in _causes(error):
        if isinstance(cause, httpx.HTTPStatusError):
            return _of_status(cause.response, origin_of_url)
        if isinstance(cause, ResponseTooLargeError):
            return RemoteError(str(cause), final=True)
        if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            return RemoteError(f"{_unreached(cause)}{origin_of_url}"[:_MAX_TEXT], sent=False)
    # A2AClientError is an error of the connection; other A2AErrors are the agent's own responses.
    is_answer = isinstance(error, A2AError) and not isinstance(error, A2AClientError)
    return RemoteError(text, final=is_answer and not isinstance(error, InternalError))


def _unreached(error: httpx.TransportError) -> str:
    """State the URL that cannot be reached, and why."""
    try:
        url = str(error.request.url)
    except RuntimeError:  # The error was raised without a request.
        url = "the agent"
    why = str(error) or type(error).__name__
    hint = next((hint for mark, hint in _HINTS if mark in why), "")
    return f"{url} cannot be reached: {why}{hint}"


def _of_status(response: httpx.Response, origin_of_url: str) -> RemoteError:
    status, text = response.status_code, f"{response.url} answered {response.status_code}"
    if response.has_redirect_location:
        text += f", a redirect to {response.headers['location']}, which is not followed"
    if status in _NOTHING_THERE or response.has_redirect_location:
        text += origin_of_url
    is_final = status < 500 and status not in _PASSING
    return RemoteError(text, status, final=is_final)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
