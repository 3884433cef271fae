"""Turns that end without the requested result, and changes that cannot be delivered."""

from agentrun.api.v1alpha1 import Phase, Reason
from dev.failures.row import Failure, Theme

_ONCE = "at once"
_PUSH = r"^The change could not be pushed to \S+: "
_KEPT = " The change is stored: the event `artifact_added` contains it as a patch."

THEME = Theme(
    "The result is not what was requested",
    (
        Failure(
            key="refused",
            happened="The model declines to do the work.",
            reason=Reason.REFUSED,
            message=r"\S+",
            shows="I would rather not do that.",
            bound=_ONCE,
            remedy="Request something else, or rephrase the request.",
            phase=Phase.REJECTED,
        ),
        Failure(
            key="limit-tokens",
            happened="The model stops at its limit of tokens.",
            reason=Reason.LIMIT_REACHED,
            message=r"^The agent stopped at its own limit: max_tokens\. Request less at once",
            shows="The agent stopped at its own limit: max_tokens. Request less at once, or raise"
            " the limit in the agent's configuration.",
            bound=_ONCE,
            remedy="Request less at once, or raise the limit in the agent's configuration.",
        ),
        Failure(
            key="limit-turns",
            happened="The agent stops at its limit of requests to the model.",
            reason=Reason.LIMIT_REACHED,
            message=r"^The agent stopped at its own limit: max_turn_requests\. Request less",
            shows="The agent stopped at its own limit: max_turn_requests. Request less at once, or"
            " raise the limit in the agent's configuration.",
            bound=_ONCE,
            remedy="Request less at once, or raise the limit in the agent's configuration.",
        ),
        Failure(
            key="turn-cancelled",
            happened="The agent reports that its turn was cancelled, which was not requested.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The agent ended its turn as 'cancelled', which was not requested\. This is",
            shows="The agent ended its turn as 'cancelled', which was not requested. This is an"
            " error of the agent program: use another version of it.",
            bound=_ONCE,
            remedy="This is an error of the agent program: use another version of it.",
        ),
        Failure(
            key="turn-unknown-end",
            happened="The agent ends its turn without a stop reason that ACP defines.",
            reason=Reason.PROTOCOL_ERROR,
            message=r"^The agent ended its turn with the stop reason \"tired\", which ACP does not"
            r" define\. This is an error",
            shows='The agent ended its turn with the stop reason "tired", which ACP does not'
            " define. This is an error of the agent program: use another version of it.",
            bound=_ONCE,
            remedy="This is an error of the agent program: use another version of it.",
        ),
        Failure(
            key="no-answer",
            happened="The turn ends without an answer of the model, and without any work.",
            reason=Reason.NO_ANSWER,
            message=r"^The agent ended its turn, but its model did nothing and said nothing: .*"
            r"Rephrase the prompt, or run it again\.",
            shows="The agent ended its turn, but its model did nothing and said nothing: the agent"
            " may have taken the prompt for one of its own commands, or its model returned an empty"
            " answer. Rephrase the prompt, or run it again.",
            bound=_ONCE,
            remedy="Follow the message. If it recurs, check the model that the profile names.",
        ),
        Failure(
            key="output-invalid",
            happened="The answer does not satisfy `outputSchema`, even after the agent was asked"
            " to correct it once.",
            reason=Reason.OUTPUT_INVALID,
            message=r"^The final answer does not satisfy outputSchema: \S+",
            shows="The final answer does not satisfy outputSchema: at $.answer: 42 is not of type"
            " 'string'",
            bound=_ONCE,
            remedy="Request a simpler answer, or use a better model; the events contain the"
            " answer.",
        ),
        Failure(
            key="output-check-slow",
            happened="A pattern in `outputSchema` takes practically unlimited time on the answer.",
            reason=Reason.OUTPUT_INVALID,
            message=r"^The final answer does not satisfy outputSchema: the check takes more than"
            r" \d+ s: the pattern \S+ in outputSchema may have nested repetitions",
            shows="The final answer does not satisfy outputSchema: the check takes more than 15 s:"
            " the pattern ^(a+)+$ in outputSchema may have nested repetitions",
            bound="15 s for each of two answers",
            remedy="Write the pattern without repetitions inside of repetitions; the events contain"
            " the answer.",
        ),
        Failure(
            key="agent-not-ended",
            happened="A process of the agent cannot be killed: for example, it waits for a file"
            " server that is gone.",
            reason=Reason.RUNNER_FAILED,
            message=r"^The agent finished, but its change could not be collected: it is not"
            r" certain that all of the agent's processes have ended",
            shows="The agent finished, but its change could not be collected: it is not certain"
            " that all of the agent's processes have ended",
            bound="a minute after the agent's last turn; less when the run is cancelled",
            remedy="Check the node and the volumes that the profile mounts; run it again.",
        ),
        Failure(
            key="push-hook",
            happened="The git server rejects the branch: it is protected, or a hook declines it.",
            reason=Reason.PUSH_FAILED,
            message=_PUSH + r".*(hook declined|protected)",
            shows="The change could not be pushed to main: remote: main is protected ! [remote"
            " rejected] (pre-receive hook declined)",
            bound=_ONCE,
            remedy="Name another `workspace.git.branch`, or allow the account to push to it."
            + _KEPT,
        ),
        Failure(
            key="push-read-only",
            happened="The account has only read access.",
            reason=Reason.PUSH_FAILED,
            message=_PUSH + r".*(403|denied|not permitted)",
            shows="The change could not be pushed to agentrun/fix: The server forbids this: the"
            " credentials lack a permission (docs/git.md lists the scopes), or a proxy blocks the"
            " request. git reports: fatal: unable to access 'https://git.example/shop.git/':"
            " The requested URL returned error: 403",
            bound=_ONCE,
            remedy="Give the account write access, or set the profile's `git.push` to false."
            + _KEPT,
        ),
        Failure(
            key="push-refused",
            happened="The profile does not allow the change to be pushed there: its credentials are"
            " for other repositories, it does not allow the branch, or the URL is http.",
            reason=Reason.PUSH_REFUSED,
            message=r"^The change is not pushed: .*git\.(repositories|branches)|in plain text",
            shows="The change is not pushed: the profile's git.branches does not allow main:"
            " agentrun/*. It is kept as a patch.",
            bound=_ONCE,
            remedy="Name a branch and a repository that the profile allows, or extend its"
            " `git.branches` or `git.repositories`; set `git.push` to false if nothing is to be"
            " pushed." + _KEPT,
        ),
        Failure(
            key="push-branch-taken",
            happened="The branch exists already, with other commits.",
            reason=Reason.PUSH_FAILED,
            message=_PUSH + r".*(rejected|fetch first|non-fast-forward)",
            shows="The change could not be pushed to fix: ! [rejected] (fetch first)",
            bound=_ONCE,
            remedy="Name another `workspace.git.branch`, or start from that one with"
            " `workspace.git.ref`." + _KEPT,
        ),
    ),
)
