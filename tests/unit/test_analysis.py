# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import time

import pytest

from schedcpd.kernel.btf import Btf
from schedcpd.model import Card, Finding, Severity, Tunable
from schedcpd.verify.analysis import RULES, analyse
from unit.made_code import GLOBAL, INSERT, LOCAL, Code, good, kernel, policy, task

KERNEL = Btf(kernel())
OWN = 0x1234
LARGE_MAP = {"m": {"type": 2, "max_entries": 9, "value_size": 9 << 20}}
SLICE = Tunable("slice_ns", "u64", "ns", 5_000_000, 1_000_000, 20_000_000, "")


def card(*tunables: Tunable, **fields: object) -> Card:
    values: dict[str, object] = {
        "name": "scx_made", "version": "1", "title": "", "summary": "", "suits": (), "fails": (),
        "min_kernel": "6.16", "requires_kfuncs": (), "honours": ("affinity",),
        "ignores": ("cpu.weight", "cpu.max", "cpu.idle"), "timeout_ms": 5000,
        "tunables": tunables, "counters": {}, **fields,
    }  # fmt: skip
    return Card(**values)  # type: ignore[arg-type]


def findings(data: bytes, about: Card | None = None) -> dict[str, Finding]:
    found = analyse(data, about or card(), KERNEL)
    return {one.rule: one for one in reversed(found)}


def rejected(data: bytes, about: Card | None = None) -> set[str]:
    found = findings(data, about).values()
    return {one.rule for one in found if one.severity is Severity.REJECT}


def enqueue(code: Code, **others: Code) -> bytes:
    return policy({**good(), "enqueue": code, **others})


def init(*queues: int) -> Code:
    code = Code()
    for queue in queues:
        code.const(1, queue).insn(0xB7, 2, imm=-1).call("scx_bpf_create_dsq")
    return code.exit()


def dispatch(*queues: int) -> Code:
    code = Code()
    for queue in queues:
        code.const(1, queue).call("scx_bpf_dsq_move_to_local")
    return code.exit()


def test_the_catalogue_is_complete_and_in_order() -> None:
    names = [one.id for one in RULES]
    assert names == sorted(set(names))
    for one in RULES:
        assert all((one.title, one.catches, one.why, one.example, one.mend)), one.id


def test_a_good_policy_has_no_findings() -> None:
    assert findings(policy(good())) == {}


def test_own_queue_that_is_created_and_served() -> None:
    found = rejected(enqueue(task().insert(OWN).exit(), init=init(OWN), dispatch=dispatch(OWN)))
    assert found == set()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (policy(good(), sections={"license": b"BSD\0"}), "SCX001"),
        (b"\x7fELF", "SCX002"),
        (policy(good(), sections={".struct_ops.link": b""}), "SCX002"),
        (enqueue(task().helper(109).insert(GLOBAL).exit()), "SCX004"),
        (enqueue(task().call("bpf_crypto_encrypt").insert(GLOBAL).exit()), "SCX005"),
        (enqueue(task().const(1, OWN).call("scx_bpf_dsq_move_to_local").exit()), "SCX006"),
        (policy(good(), name="scx made"), "SCX007"),
        (policy(good(), name="scx_other"), "SCX007"),
        (policy(good(), scalars={"timeout_ms": 30_001}), "SCX008"),
        (policy(good(), scalars={"flags": 1 << 20}), "SCX009"),
        (policy({"exit": Code().exit()}, scalars={"flags": 2}), "SCX009"),
        (policy({"enqueue": good()["enqueue"]}), "SCX010"),
        (enqueue(task().call("scx_bpf_dsq_peek").insert(GLOBAL).exit()), "SCX012"),
        (enqueue(task().exit()), "SCX101"),
        (enqueue(task().insert(GLOBAL).insert(LOCAL).exit()), "SCX102"),
        (enqueue(task().insert(OWN).exit(), dispatch=dispatch(OWN)), "SCX103"),
        (enqueue(task().insert(OWN).exit(), init=init(OWN), dispatch=dispatch(7)), "SCX104"),
        (enqueue(task().insert(OWN).exit(), init=init(OWN)), "SCX105"),
        (enqueue(task().insert(0xC << 60 | 9999).exit()), "SCX107"),
        (policy({**good(), "dispatch": dispatch(GLOBAL)}), "SCX107"),
        (policy({**good(), "init": init(LOCAL)}), "SCX107"),
        (enqueue(task().insert(GLOBAL, (1 << 64) - 1).exit()), "SCX201"),
        (enqueue(task().insert(GLOBAL, 2_000_000_000).exit()), "SCX202"),
        (policy({**good(), "init_task": init(OWN)}), "SCX302"),
        (policy(good(), maps={"m": {"type": 1, "max_entries": 2_000_000}}), "SCX303"),
        (policy(good(), maps=LARGE_MAP), "SCX303"),
        (policy(good(), maps={"m": {"type": 2, "max_entries": 1, "pinning": 1}}), "SCX304"),
        (policy(good(), maps={"m": {"type": 4, "max_entries": 1}}), "SCX304"),
        (policy({**good(), "select_cpu": Code().exit(100_000)}), "SCX402"),
        (policy({**good(), "select_cpu": Code().exit(-1)}), "SCX402"),
        (policy({**good(), "init_task": task().store(6, 144, 6, 1).exit()}), "SCX403"),
        (policy({**good(), "tick": task().store(6, 96, 6, 4).exit()}), "SCX406"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_what_is_rejected(data: bytes, rule: str) -> None:
    assert rule in rejected(data)


def test_a_program_of_another_kind() -> None:
    data = policy(good()).replace(b"struct_ops/exit\0", b"kprobe/do_exit\0\0")
    assert "SCX003" in rejected(data)


def test_what_the_card_says() -> None:
    data = policy(good(), rodata={"slice_ns": 5_000_000})
    assert rejected(data, card(SLICE)) == set()
    assert rejected(policy(good()), card(SLICE)) == {"SCX011"}
    assert rejected(data, card(counters={"nr_lost": ""})) == {"SCX011"}
    assert rejected(data, card(timeout_ms=0)) == {"SCX008"}
    assert rejected(data, card(ignores=("cpu.max",))) == {"SCX405"}
    assert findings(data, card(honours=("nice",)))["SCX404"].severity is Severity.WARNING


# ---- paths ---------------------------------------------------------------------------


def if_flag(queue: int, flag: int = 1) -> Code:
    """Insert the task if it has a flag."""
    return task().load(7, 6, 44, 4).insn(0x57, 7, imm=flag).unless(7, flag, INSERT).insert(queue)


def test_a_path_that_is_surely_taken_and_loses_the_task() -> None:
    found = findings(enqueue(if_flag(GLOBAL).exit()))["SCX101"]
    assert (found.severity, found.program) == (Severity.REJECT, "enqueue")


def test_branches_that_exclude_each_other() -> None:
    code = if_flag(GLOBAL)  # then: load the same flags again, and insert if it has it not
    code.load(7, 6, 44, 4).insn(0x57, 7, imm=1).insn(0x55, 7, off=INSERT, imm=0).insert(LOCAL)
    assert rejected(enqueue(code.exit())) == set()
    assert "SCX101" not in findings(enqueue(code))


def test_branches_that_do_not() -> None:
    code = if_flag(GLOBAL)
    code.load(7, 6, 44, 4).insn(0x57, 7, imm=2).insn(0x55, 7, off=INSERT, imm=0).insert(LOCAL)
    assert {"SCX101", "SCX102"} <= rejected(enqueue(code.exit()))


def test_what_depends_on_the_policys_own_memory_is_not_certain() -> None:
    code = task().address(7, "seen").load(7, 7, 0).unless(7, 0, INSERT).insert(GLOBAL).exit()
    found = findings(policy({**good(), "enqueue": code}, variables=("seen",)))
    assert found["SCX101"].severity is Severity.SUSPECT


def test_but_a_counter_takes_every_value() -> None:
    code = task().address(8, "seen").load(7, 8, 0).insn(0x07, 7, imm=1).store(8, 0, 7)
    code.unless(7, 50, INSERT).insert(GLOBAL).exit()
    assert "SCX101" in rejected(policy({**good(), "enqueue": code}, variables=("seen",)))


def test_an_error_is_no_lost_task() -> None:
    code = if_flag(GLOBAL).call("scx_bpf_error_bstr").exit()
    found = findings(enqueue(code))
    assert "SCX101" not in found
    assert found["SCX407"].severity is Severity.SUSPECT


def test_constants_that_the_loader_writes() -> None:
    code = task().address(7, "slice_ns").load(7, 7, 0)
    code.mov(1, 6).const(2, GLOBAL).mov(3, 7).insn(0xB7, 4).call("scx_bpf_dsq_insert").exit()
    data = policy({**good(), "enqueue": code}, rodata={"slice_ns": 5_000_000})
    assert rejected(data, card(SLICE)) == set()
    longer = Tunable("slice_ns", "u64", "ns", 5_000_000, 0, 10_000_000_000, "")
    assert rejected(data, card(longer)) == {"SCX202"}


def test_a_task_that_only_a_function_inserts() -> None:
    callee = Code().mov(6, 1).insert(GLOBAL).exit()
    code = task().mov(1, 6).call("helper").exit()
    assert rejected(policy({**good(), "enqueue": code}, {"helper": callee})) == set()


def test_disallow_with_a_look_at_fork() -> None:
    code = Code().load(6, 1, 0).load(7, 1, 8).load(7, 7, 0, 1).insn(0x55, 7, off=2)
    code.insn(0xB7, 8, imm=1).store(6, 144, 8, 1).exit()
    assert rejected(policy({**good(), "init_task": code})) == set()


def test_an_endless_slice_with_preemption() -> None:
    kick = Code().insn(0xB7, 1).insn(0xB7, 2, imm=2).call("scx_bpf_kick_cpu").exit()
    code = task().insert(GLOBAL, (1 << 64) - 1).exit()
    assert rejected(enqueue(code, tick=kick)) == set()


def test_dispatch_on_one_cpu_only() -> None:
    code = Code().load(6, 1, 0).unless(6, 0, 3).const(1, OWN).call("scx_bpf_dsq_move_to_local")
    found = findings(enqueue(task().insert(OWN).exit(), init=init(OWN), dispatch=code.exit()))
    assert {"SCX108", "SCX110", "SCX401"} <= set(found)
    assert {one.severity for one in found.values()} == {Severity.SUSPECT}


def test_queues_in_a_fixed_order() -> None:
    code = task().insert(OWN).exit()
    data = enqueue(code, init=init(OWN, 7), dispatch=dispatch(OWN, 7))
    assert findings(data)["SCX109"].severity is Severity.SUSPECT


# ---- loops ---------------------------------------------------------------------------


def bpf_loop(count: int, callback: str) -> Code:
    code = Code().insn(0xB7, 1, imm=count).address(2, callback)
    return code.insn(0xB7, 3).insn(0xB7, 4).helper(181).exit()


@pytest.mark.parametrize(
    ("outer", "inner", "too_many"),
    [(1000, 10, False), (200, 400, True), (65_536, 0, False), (65_537, 0, True)],
)
def test_nested_loops_are_multiplied(outer: int, inner: int, *, too_many: bool) -> None:
    functions = {"lap": bpf_loop(inner, "bottom") if inner else Code().exit()}
    functions["bottom"] = Code().exit()
    data = policy({**good(), "tick": bpf_loop(outer, "lap")}, functions)
    assert ("SCX301" in rejected(data)) is too_many


def number_loop(code: Code) -> Code:
    """A loop over a number iterator on the stack, whose bounds are in registers 2 and 3."""
    code.mov(1, 10).insn(0x07, 1, imm=-8).call("bpf_iter_num_new")
    code.mov(1, 10).insn(0x07, 1, imm=-8).call("bpf_iter_num_next")
    code.insn(0x15, 0, off=1).go(-5)
    return code.mov(1, 10).insn(0x07, 1, imm=-8).call("bpf_iter_num_destroy").exit()


@pytest.mark.parametrize(("count", "too_many"), [(1000, False), (100_000, True)])
def test_number_iterators(count: int, *, too_many: bool) -> None:
    code = number_loop(Code().insn(0xB7, 2).insn(0xB7, 3, imm=count))
    assert ("SCX301" in rejected(policy({**good(), "tick": code}))) is too_many


def test_a_count_that_is_not_bounded_counts_in_full() -> None:
    code = number_loop(Code().load(3, 1, 0).load(3, 3, 64, 4).insn(0xB7, 2))
    assert "SCX301" in rejected(policy({**good(), "tick": code}))


# ---- hostile input -------------------------------------------------------------------


def test_damage_never_ends_in_an_exception() -> None:
    chance = random.Random(3)
    functions = {"lap": bpf_loop(7, "bottom"), "bottom": Code().exit()}
    original = policy({**good(), "tick": bpf_loop(5, "lap")}, functions)
    about = card()
    for _ in range(400):
        data = bytearray(original)
        for _ in range(chance.choice((1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        analyse(bytes(data), about, KERNEL)


def test_many_branches_take_bounded_time() -> None:
    code = task()
    for at in range(300):
        code.load(7, 6, 4 * at % 96, 4).insn(0x57, 7, imm=1 << at % 30)
        code.insn(0x55, 7, off=1).insn(0xB7, 8, imm=at)
    started = time.process_time()
    found = findings(enqueue(code.insert(GLOBAL).exit()))
    assert time.process_time() - started < 5
    assert "SCX101" not in {name for name, one in found.items() if one.severity == "reject"}
