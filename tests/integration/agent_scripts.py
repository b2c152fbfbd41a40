# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripted models do in each role; standard library only, for the lab as well.

A role is known by the tool that ends it, as a model knows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from integration.messages_api import Answer, Script, Turn, call, in_turn, say, use

OBSERVED = use(
    "hand_over_profile",
    work="batch",
    objective="makespan",
    prospect="likely",
    summary="39.5 runnable threads on 2 CPUs, 97 % of the time some wait; short xz processes.",
)
NOTHING = use(
    "hand_over_profile", work="io", objective="none", prospect="none", summary="Waits for disks."
)
CONFIGURED = use(
    "hand_over_plan",
    way="configure",
    policy="scx_batch",
    parameters={},
    objective="makespan",
    reason="Many short processes wait for 2 CPUs.",
)
LEFT = use(
    "hand_over_plan", way="leave", objective="none", reason="Nothing proven is to be gained."
)
COMPOSED = use(
    "hand_over_plan",
    way="compose",
    objective="makespan",
    reason="No installed policy runs the shortest first.",
    brief="A FIFO of whole processes, from the primitive for one shared queue.",
)
LEARNT = use("hand_over_lesson", worked="yes", lesson="+31 % completions in 6 pairs.", next="stop")

BROKEN_SOURCE = """\
// SPDX-License-Identifier: GPL-2.0
#include <scx/common.bpf.h>
char _license[] SEC("license") = "GPL";
void BPF_STRUCT_OPS(mine_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->scx.weight < 100)
		return;
}
"""
SOUND_SOURCE = BROKEN_SOURCE.replace(
    "\tif (p->scx.weight < 100)\n\t\treturn;\n",
    "\tscx_bpf_dsq_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);\n",
)
CARD = 'name = "scx_mine"\nversion = "1"\n'


def role_of(request: dict[str, Any]) -> str:
    """Which role asks."""
    ending: str = request["tools"][-1]["name"]
    return ending.removeprefix("hand_over_")


def texts_of(value: Any) -> Iterator[str]:
    """All texts of a request's messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)


def by_role(**answers: Answer | list[Answer]) -> Script:
    """A script for each role, as named by what it hands over."""
    usual: dict[str, Answer | list[Answer]] = {
        "profile": OBSERVED,
        "plan": CONFIGURED,
        "verdict": wrote("passed"),
        "lesson": LEARNT,
    }
    scripts = {
        role: in_turn(*(given if isinstance(given, list) else [given]))
        for role, given in {**usual, **answers}.items()
    }

    def script(request: dict[str, Any]) -> Answer:
        return scripts[role_of(request)](request)

    return script


def submit(source: str, name: str = "scx_mine", card: str = CARD) -> Turn:
    """A policy for the verifier."""
    return use("verify_policy", name=name, source=source, card=card)


def wrote(result: str, name: str = "scx_mine") -> Turn:
    """The end of writing."""
    return use("hand_over_verdict", policy=name, result=result, summary="One shared queue.")


def thorough() -> Script:
    """All roles use their tools as a careful model would, thinking included."""
    thought = {
        "type": "thinking",
        "thinking": "Let me look at it first. " * 20,
        "signature": "c2ln",
    }
    return by_role(
        profile=[
            Turn((thought, call("profile_workload", tier="scheduling"))),
            use("read_workload_file", path="Makefile"),
            OBSERVED,
        ],
        plan=[
            use("search_repository", query="many short processes and a batch"),
            use("read_policy", name="scx_batch"),
            CONFIGURED,
        ],
        lesson=[
            use(
                "record_finding", kind="policy", name="scx_batch", text="+31 % for 40 xz on 2 CPUs."
            ),
            LEARNT,
        ],
    )


def mending(sound: str = SOUND_SOURCE, broken: str = BROKEN_SOURCE, card: str = CARD) -> Script:
    """A policy is to be written; the first is broken, the second mends what the verifier found."""

    def mend(request: dict[str, Any]) -> Answer:
        said = "\n".join(texts_of(request["messages"]))
        return submit(sound if "SCX101" in said else broken, card=card)

    attempts = iter((mend, mend, lambda _: wrote("passed")))
    others = by_role(plan=COMPOSED)

    def script(request: dict[str, Any]) -> Answer:
        return next(attempts)(request) if role_of(request) == "verdict" else others(request)

    return script


def chatter(_: dict[str, Any]) -> Answer:
    """Says much and does nothing."""
    return say("I would suggest to look at the workload more closely.")
