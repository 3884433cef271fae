"""The failures of the model's provider."""

from agentrun.api.v1alpha1 import Reason
from dev.failures.row import Failure, Theme

_AGENTS_PATIENCE = "when the agent stops retrying"

THEME = Theme(
    "The provider of the model",
    (
        Failure(
            key="provider-refuses-key",
            happened="The provider refuses the key (401, 403).",
            reason=Reason.AUTH_REQUIRED,
            message=r"refuses the key in Secret \S+, key \S+: 401: ",
            shows="The model's provider refuses the key in Secret openai-key, key key: 401:"
            " invalid api key",
            bound="at once",
            remedy="Put a valid key into the Secret that the message names.",
        ),
        Failure(
            key="provider-broken",
            happened="The provider answers with an error (500).",
            reason=Reason.PROVIDER_ERROR,
            message=r"^500: ",
            shows="500: internal error",
            bound=_AGENTS_PATIENCE,
            remedy="Run it again when the provider has recovered.",
        ),
        Failure(
            key="provider-limits",
            happened="The provider limits the rate (429).",
            reason=Reason.PROVIDER_ERROR,
            message=r"^429: ",
            shows="429: rate limit reached",
            bound=_AGENTS_PATIENCE,
            remedy="Run it again later, with fewer concurrent runs, or with a higher limit.",
        ),
    ),
)
