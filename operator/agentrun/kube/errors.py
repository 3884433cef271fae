"""The errors of requests to the API server."""

import re

# What the API server writes before the words of a policy or webhook, whose status may be any.
_ADMISSION = re.compile(r"\b(admission|calling|conversion) webhook\b|\bdenied (the )?request\b")


class ApiError(Exception):
    """The API server rejected a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.reason = reason
        """The reason of the API server's Status object, such as AlreadyExists; may be empty."""
        self.message = message

    @property
    def is_not_found(self) -> bool:
        """Whether the object does not exist."""
        return self.status == 404

    @property
    def already_exists(self) -> bool:
        """Whether an object of that name exists, so that it is not created."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        """
        Whether an object has changed: the request's own, or one that its admission writes.

        The latter is a ResourceQuota: the creation of another object has changed it meanwhile.
        """
        return self.status == 409 and not self.already_exists and not self.is_denied

    @property
    def is_forbidden(self) -> bool:
        """Whether RBAC denies the request, as it does all requests in a deleted namespace."""
        return self.status == 403

    @property
    def is_stale(self) -> bool:
        """Whether the request was based on an outdated or deleted object (404, 409, 422)."""
        return self.status in (404, 409, 422) and not self.is_denied

    @property
    def is_denied(self) -> bool:
        """Whether a policy or webhook denies the request, or a webhook cannot be called."""
        return _ADMISSION.search(self.message) is not None

    @property
    def is_transient(self) -> bool:
        """Whether the error is of the API server rather than of the request, and may pass."""
        is_servers = self.status in (0, 401, 429) or self.status >= 500
        return self.is_conflict or (is_servers and not self.is_denied)


class ApiUnavailableError(ApiError):
    """
    The API server cannot be reached, or cannot answer. The request may be retried.

    ``status`` is 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(status, "Unavailable", message)
