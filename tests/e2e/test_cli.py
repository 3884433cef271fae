"""The command line in a real terminal, with a kubeconfig and nothing else."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from secrets import token_hex

import pytest

from tests.e2e.agents import trivial
from tests.e2e.bridges import Laptop, a_user, make_laptop, read_kubeconfig
from tests.e2e.cluster import RUNS, SYSTEM, apply, eventually
from tests.e2e.installation import REPOSITORY, Installation, profile
from tests.terminals import CTRL_C, Terminal, terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# Only the newest runs are offered: many others at the same time would take the place of the test's.
ALONE = pytest.mark.disruptive
ASKS, REMEMBERS = "cli-asks", "cli-remembers"
MANY = ("--limit", "500")
"""More than the others' tests start meanwhile."""
EDIT = trivial(["say", "I add a file."], ["run", "echo hello > hello.txt"], ["say", "Done."])


@pytest.fixture
def laptop(platform: Installation, tmp_path: Path) -> Iterator[Laptop]:
    made = make_laptop(tmp_path / "home", read_kubeconfig())
    yield made
    assert made.processes() == []


def person(laptop: Laptop, *arguments: str) -> AbstractAsyncContextManager[Terminal]:
    return terminal(["agentrun", *arguments], laptop.environment)


async def called(
    laptop: Laptop, *arguments: str, program: tuple[str, ...] = ("agentrun",)
) -> tuple[int, str, str]:
    """Call it from a script, without a terminal."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(laptop.home / "bin" / program[0]), *program[1:], *arguments],
        env=laptop.environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def apply_patch(folder: Path, patch: str) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "apply"], input=patch, text=True, check=True)


async def test_a_run_is_followed_and_its_diff_shown(
    platform: Installation, laptop: Laptop, tmp_path: Path
) -> None:
    command = ["run", "--backend", "acp", "--profile", "trivial", "--repo", REPOSITORY]
    async with person(laptop, *command, "--ref", "main", "-p", EDIT) as screen:
        run_id = (await screen.until(" is queued")).split()[0]
        await screen.until("= running")
        await screen.until("● I add a file.")
        await screen.until("$ echo hello > hello.txt")
        await screen.until("● Done.")
        await screen.until(f"✓ {run_id} completed")
        await screen.until("1 file, +1 -0")
        await screen.until(f"agentrun runs diff {run_id}")
        assert await screen.ends() == 0
    assert re.search(rf"[⠁-⣿] {run_id} \w+ \d+s", screen.text), "it has a line that is alive"
    async with person(laptop, "runs", "diff", run_id) as screen:
        await screen.until("+hello")
        assert await screen.ends() == 0
    assert "\x1b[32m+hello" in screen.raw

    code, patch, _ = await called(laptop, "runs", "diff", run_id)
    assert code == 0
    assert "\x1b" not in patch
    await asyncio.to_thread(apply_patch, tmp_path / "r", patch)
    assert (tmp_path / "r" / "hello.txt").read_text() == "hello\n"

    code, listed, _ = await called(laptop, "runs", "list", *MANY)
    assert code == 0
    assert [line for line in listed.splitlines() if line.startswith(run_id)]
    code, shown, _ = await called(laptop, "runs", "show", run_id, "-o", "json")
    assert json.loads(shown)["result"]["files_changed"] == 1
    code, told, _ = await called(laptop, "events", "tail", run_id, "-o", "jsonl")
    assert (code, json.loads(told.splitlines()[-1])["type"]) == (0, "run_summary")


async def test_ctrl_c_cancels_a_run(platform: Installation, laptop: Laptop) -> None:
    command = ["run", "--backend", "acp", "--profile", "trivial", "-p"]
    async with person(laptop, *command, trivial(["say", "I wait."], ["sleep", 600])) as screen:
        run_id = (await screen.until(" is queued")).split()[0]
        await screen.until("● I wait.")
        screen.type(CTRL_C)
        await screen.until("c = cancel it")
        screen.type("c\n")
        await screen.until(f"■ {run_id} cancelled")
        assert await screen.ends() == 6
    await platform.gone("pod", f"{run_id}-1")


async def test_a_detached_run_is_waited_for_and_cancelled(
    platform: Installation, laptop: Laptop
) -> None:
    command = ["run", "--backend", "acp", "--profile", "trivial", "--detach", "-p"]
    code, out, _ = await called(laptop, *command, trivial(["say", "I wait."], ["sleep", 600]))
    assert code == 0
    run_id = out.strip()
    code, _, err = await called(laptop, "runs", "wait", run_id, "--timeout", "2s")
    assert (code, f"{run_id} is still" in err) == (8, True)
    async with person(laptop, "runs", "wait", run_id) as screen:
        await screen.until(f"{run_id} running")
        code, out, _ = await called(laptop, "runs", "cancel", run_id)
        assert (code, out) == (0, f"{run_id} is cancelled: all of its processes have ended\n")
        await screen.until(f"■ {run_id} cancelled")
        assert await screen.ends() == 6


async def test_exit_codes_report_the_result_to_a_script(
    platform: Installation, laptop: Laptop
) -> None:
    command = ["run", "--backend", "acp", "--profile", "trivial", "-p"]
    code, out, _ = await called(laptop, *command, trivial(["fail", "no luck"]))
    assert (code, "no luck" in out) == (5, True)
    code, _, err = await called(laptop, "run", "Go", "--profile", "no-such")
    assert (code, "Unknown profile: no-such" in err) == (8, True)
    code, _, err = await called(laptop, "runs", "show", "no-such-run")
    assert (code, "there is no run and no agent no-such-run" in err) == (8, True)
    assert (await called(laptop, "runs", "show"))[0] == 2


async def test_a_question_is_answered_in_the_terminal_or_by_a_script(
    platform: Installation, laptop: Laptop
) -> None:
    await apply(profile(ASKS, permissionMode="Ask"))
    command = ["ask", "--backend", "acp", "--profile", ASKS, "-p"]
    prompt = trivial(["ask", "Push it?"], ["say", "So be it."])
    async with person(laptop, *command, prompt) as screen:
        await screen.until("Push it?")
        await screen.until("1) ")
        await screen.until("leaves it waiting): ")
        screen.type("1\n")
        await screen.until("So be it.")
        await screen.until(" completed")
        assert await screen.ends() == 0

    code, _, err = await called(laptop, *command, prompt)
    assert code == 7
    [how] = [line for line in err.splitlines() if "agentrun runs continue" in line]
    run_id = how.split()[3]
    code, out, _ = await called(laptop, "runs", "continue", run_id, "1")
    assert (code, "So be it." in out) == (0, True)


async def test_agents_and_profiles_are_listed_and_agents_receive_messages(
    platform: Installation, laptop: Laptop
) -> None:
    # The cluster may have seen this test before, and names stay.
    reader = f"cli-reader-{token_hex(4)}"
    await platform.trivial(["say", "hello"], agent=reader)
    code, out, _ = await called(laptop, "profiles", "list")
    assert code == 0
    assert [line for line in out.splitlines() if line.split()[:2] == ["trivial", "acp"]]
    code, out, _ = await called(laptop, "agents", "list", *MANY, "-o", "json")
    assert reader in [agent["agent_name"] for agent in json.loads(out)["agents"]]
    code, out, _ = await called(laptop, "agents", "send", reader, "Look", "here")
    assert (code, out.startswith(f"sent to {reader}")) == (0, True)
    code, out, _ = await called(laptop, "agents", "inbox", reader)
    assert (code, "Look here" in out) == (0, True)


async def test_an_ended_run_is_continued_and_rerun(platform: Installation, laptop: Laptop) -> None:
    memory = [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}]
    await apply(profile(REMEMBERS, env=memory))
    run_id = await platform.trivial(["say", "once"], profile=REMEMBERS)
    await platform.client.finish(run_id)
    more = trivial(["recall"], ["say", "And so on."])
    async with person(laptop, "runs", "continue", run_id, more) as screen:
        await screen.until(f"continues {run_id}")
        await screen.until("And so on.")
        await screen.until(" completed")
        assert await screen.ends() == 0
    assert '"once' in screen.text.replace("\\", ""), "the agent remembers"

    code, out, err = await called(laptop, "runs", "again", run_id)
    assert (code, "once" in out, f"continues {run_id}" in err) == (0, True, True)


@ALONE
async def test_it_is_a_plugin_of_kubectl(platform: Installation, laptop: Laptop) -> None:
    plugin = ("kubectl", "agentrun")
    command = [*plugin, "run", "--backend", "acp", "--profile", "trivial", "-p"]
    async with terminal([*command, trivial(["say", "Hello."])], laptop.environment) as screen:
        run_id = (await screen.until(" is queued")).split()[0]
        await screen.until("● Hello.")
        await screen.until(f"✓ {run_id} completed")
        assert await screen.ends() == 0
    patient = {"AGENTRUN_COMPLETION_SECONDS": "60"}
    asked = ("kubectl", "__complete", *plugin[1:], "runs", "show", run_id[:-3])

    async def offered() -> list[str]:
        return (await laptop.run(*asked, **patient)).split()

    # A completion that cannot be had is none, and says nothing: who needs it presses again.
    told = await eventually(offered, lambda words: words != [":4"])
    assert told == [run_id, ":4"]
    code, listed, _ = await called(laptop, "runs", "list", "-n", RUNS, *MANY, program=plugin)
    assert (code, run_id in listed) == (0, True)
    code, _, err = await called(laptop, "runs", "show", "no-such-run", program=plugin)
    assert (code, "no-such-run" in err) == (8, True)
    code, shown, _ = await called(laptop, "runs", "--help", program=plugin)
    assert (code, "Usage: kubectl agentrun runs" in shown) == (0, True)


@ALONE
async def test_tab_completes_a_run_in_a_real_shell(platform: Installation, laptop: Laptop) -> None:
    # The machine is busier than one that people wait at.
    patient = {"AGENTRUN_COMPLETION_SECONDS": "60", "PS1": "ready> "}
    shell = ["bash", "--norc", "-i"]
    async with terminal(shell, laptop.environment | patient) as screen:
        await screen.until("ready> ")
        screen.type("agentrun --install-completion && . ~/.bashrc\n")
        await screen.until("completion installed")
        await screen.until("ready> ")
        run_id = await platform.trivial(["say", "hello"])
        # What is listed is offered; a run is listed a moment after it was asked for.
        await eventually(
            lambda: platform.client.call("list_runs", limit=30),
            lambda page: run_id in [run["run_id"] for run in page["runs"]],
        )
        screen.type(f"agentrun runs show {run_id[:-3]}\t")
        await screen.until(f"{run_id} ")
        await platform.client.finish(run_id)
        screen.type("\n")
        await screen.until("completed")
        await screen.until("ready> ")
        screen.type("agentrun prof\t")
        await screen.until("profiles ")
        screen.type("--he\t")
        await screen.until("--help ")
        screen.type("\n")
        await screen.until("Show the profiles that runs can use.")
        screen.type("exit\n")
        assert await screen.ends() == 0


async def test_profiles_are_listed_for_users_who_may_read_but_not_call(
    platform: Installation, tmp_path: Path
) -> None:
    async with a_user() as onlooker:
        await onlooker.may_read("agentrun.dev", "agentprofiles", RUNS)
        await onlooker.may("agentrun-user", SYSTEM)
        theirs = make_laptop(tmp_path / "home", onlooker.kubeconfig)
        code, out, err = await called(theirs, "profiles", "list", "-n", RUNS)
        assert (code, err) == (0, "")
        assert [line for line in out.splitlines() if line.split()[:2] == ["trivial", "acp"]]
        code, _, err = await called(theirs, "runs", "list")
        assert (code, "agentrun-user-token" in err) == (8, True)
