"""The errors of requests to the API server."""


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
    def is_conflict(self) -> bool:
        """Whether the object exists already, or differs from the request's precondition."""
        return self.status == 409

    @property
    def is_forbidden(self) -> bool:
        """Whether RBAC denies the request, as it does all requests in a deleted namespace."""
        return self.status == 403

    @property
    def is_stale(self) -> bool:
        """Whether the request was based on an outdated or deleted object (404, 409, 422)."""
        return self.status in (404, 409, 422)


class ApiUnavailableError(ApiError):
    """
    The API server cannot be reached, or cannot answer. The request may be retried.

    ``status`` is 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(status, "Unavailable", message)
