from typing import Any

import pytest

from agentrun.api.gateway import TOKEN_AUDIENCE
from agentrun.kube.errors import ApiError, ApiUnavailableError
from mcp_server.gateway.auth import TokenReviewAuthenticator
from mcp_server.gateway.ports import ClusterUnavailableError, PodIdentity, UnauthenticatedError

EXTRA = {
    "authentication.kubernetes.io/pod-name": ["run-1-1"],
    "authentication.kubernetes.io/pod-uid": ["pod-1"],
}


def a_review(**more: Any) -> dict[str, Any]:
    user = {
        "username": "system:serviceaccount:team:default",
        "extra": EXTRA,
        **more.pop("user", {}),
    }
    return {"authenticated": True, "audiences": [TOKEN_AUDIENCE], "user": user, **more}


class Reviewer:
    """Answers every review alike, and counts them."""

    def __init__(self, answer: dict[str, Any] | ApiError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        self.asked.append((token, audience))
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_token_names_the_pod_it_is_bound_to() -> None:
    reviewer = Reviewer(a_review())
    pod = await TokenReviewAuthenticator(reviewer).authenticate("token")
    assert pod == PodIdentity("team", "run-1-1", "pod-1")
    assert reviewer.asked == [("token", "agentrun-gateway")]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="nothing-said"),
        pytest.param({"authenticated": False, "error": "expired"}, id="refused"),
        pytest.param(a_review(audiences=["agentrun"]), id="other-audience"),
        pytest.param(a_review(audiences=None), id="no-audience"),
        pytest.param(a_review(user={"extra": None}), id="not-bound"),
        pytest.param(a_review(user={"extra": {**EXTRA, next(iter(EXTRA)): []}}), id="no-pod-name"),
        pytest.param(a_review(user={"username": "jane"}), id="a-person"),
        pytest.param(a_review(user={"username": "system:serviceaccount:"}), id="no-namespace"),
        pytest.param(
            a_review(user={"username": "system:serviceaccount:team:deploy"}), id="another-account"
        ),
    ],
)
async def test_other_tokens_are_refused_and_reviewed_again_some_seconds_later(
    status: dict[str, Any],
) -> None:
    reviewer, clock = Reviewer(status), Clock()
    authenticator = TokenReviewAuthenticator(reviewer, clock)
    for seconds in (0, 1, 5):
        clock.now += seconds
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate("token")
    assert len(reviewer.asked) == 2


async def test_a_valid_token_is_cached_for_a_minute() -> None:
    reviewer, clock = Reviewer(a_review()), Clock()
    authenticator = TokenReviewAuthenticator(reviewer, clock)
    await authenticator.authenticate("token")
    clock.now += 59
    await authenticator.authenticate("token")
    assert len(reviewer.asked) == 1
    await authenticator.authenticate("another")
    assert len(reviewer.asked) == 2
    clock.now += 2
    await authenticator.authenticate("token")
    assert len(reviewer.asked) == 3


async def test_tokens_are_cached_by_digest_and_the_cache_is_bounded() -> None:
    authenticator = TokenReviewAuthenticator(Reviewer(a_review()))
    for number in range(5000):
        await authenticator.authenticate(f"token-{number}")
    remembered = authenticator._reviews._good
    assert len(remembered) <= 4096
    assert all(isinstance(key, bytes) and len(key) == 32 for key in remembered)


@pytest.mark.parametrize("error", [ApiUnavailableError("away"), ApiError(403, "Forbidden", "no")])
async def test_an_api_server_that_does_not_answer_is_unavailable(error: ApiError) -> None:
    with pytest.raises(ClusterUnavailableError):
        await TokenReviewAuthenticator(Reviewer(error)).authenticate("token")
