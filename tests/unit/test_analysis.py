# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import time

import pytest

from schedcpd.kernel.btf import Btf
from schedcpd.model import Card, Finding, Severity, Tunable
from schedcpd.verify.analysis import RULES, analyse, interpret
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


def test_each_insert_needs_a_queue_that_is_drained() -> None:
    data = enqueue(
        task().insert(8).exit(),
        init=each_number(9, "scx_bpf_create_dsq"),
        dispatch=each_number(8, "scx_bpf_dsq_move_to_local"),
    )
    assert rejected(data) == {"SCX104"}


def test_nothing_is_certain_of_a_dispatch_that_was_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = enqueue(task().insert(OWN).exit(), init=init(OWN), dispatch=dispatch(7, 7, 7, 7, 7, OWN))
    monkeypatch.setattr(interpret, "STEPS", 10)
    found = findings(data)
    assert (found["SCX104"].severity, rejected(data)) == (Severity.SUSPECT, set())


def insert_vtime(queue: int) -> Code:
    code = task().mov(1, 6).const(2, queue).const(3, 5_000_000).insn(0xB7, 4).insn(0xB7, 5)
    return code.call("scx_bpf_dsq_insert_vtime").exit()


@pytest.mark.parametrize("queue", [GLOBAL, LOCAL, 0xC << 60 | 3])
def test_virtual_time_in_a_built_in_queue(queue: int) -> None:
    assert "SCX106" in rejected(enqueue(insert_vtime(queue)))


def test_virtual_time_in_an_own_queue() -> None:
    assert rejected(enqueue(insert_vtime(OWN), init=init(OWN), dispatch=dispatch(OWN))) == set()


def test_virtual_time_with_its_arguments_in_a_structure() -> None:
    code = task().const(2, GLOBAL).store(10, -32, 2).const(3, 5_000_000).store(10, -24, 3)
    code.insn(0xB7, 4).store(10, -16, 4).store(10, -8, 4).mov(1, 6).mov(2, 10)
    code.insn(0x07, 2, imm=-32).call("__scx_bpf_dsq_insert_vtime").exit()
    assert "SCX106" in rejected(enqueue(code))


WAITING = {"type": 22, "max_entries": 64, "value_size": 4}
PUSH, POP, PEEK = 87, 88, 89


def element(code: Code, name: str, helper: int) -> Code:
    """Push, pop or look at an element of a map; it is at the top of the stack."""
    return code.address(1, name).mov(2, 10).insn(0x07, 2, imm=-8).insn(0xB7, 3).helper(helper)


def kept(dispatch: Code | None = None, after: Code | None = None) -> bytes:
    """A policy that keeps each task's number in a map."""
    code = element(task().load(7, 6, 64, 4).store(10, -8, 7, 4), "waiting", PUSH)
    code = (code.insert(GLOBAL) if after else code).exit()
    others = {"dispatch": dispatch} if dispatch else {}
    maps = {"waiting": WAITING, "other": WAITING}
    return policy({**good(), "enqueue": code, **others}, maps=maps)


@pytest.mark.parametrize(
    "served",
    [None, element(Code(), "waiting", PEEK).exit(), element(Code(), "other", POP).exit()],
    ids=["no dispatch", "only looked at", "another one"],
)
def test_tasks_in_a_map_that_nobody_empties(served: Code | None) -> None:
    assert rejected(kept(served)) == {"SCX111"}


def test_tasks_in_a_map_that_is_emptied() -> None:
    found = findings(kept(element(Code(), "waiting", POP).exit()))
    assert found["SCX111"].severity is Severity.SUSPECT


def test_a_map_beside_a_queue() -> None:
    assert findings(kept(after=Code())) == {}


# ---- names and numbers ---------------------------------------------------------------


def test_the_name_of_the_running_program() -> None:
    code = task().mov(1, 10).insn(0x07, 1, imm=-16).insn(0xB7, 2, imm=16).helper(16)
    found = findings(enqueue(code.insert(GLOBAL).exit()))
    assert found["SCX501"].severity is Severity.WARNING


def test_the_name_of_a_task() -> None:
    code = task().load(7, 6, 112, 1).insert(GLOBAL).exit()
    data = policy({**good(), "enqueue": code}, core={"enqueue": [(8, "task_struct", "0:3", 0)]})
    assert findings(data)["SCX501"].severity is Severity.WARNING


@pytest.mark.parametrize(("pid", "is_oracle"), [(4711, True), (1, False), (0, False)])
def test_a_fixed_process(pid: int, *, is_oracle: bool) -> None:
    code = task().load(7, 6, 64, 4).unless(7, pid, INSERT + 1).insert(LOCAL).go(INSERT)
    assert ("SCX501" in findings(enqueue(code.insert(GLOBAL).exit()))) is is_oracle


def test_another_number_of_a_task() -> None:
    code = task().load(7, 6, 96, 4).unless(7, 4711, INSERT + 1).insert(LOCAL).go(INSERT)
    assert "SCX501" not in findings(enqueue(code.insert(GLOBAL).exit()))


# ---- CPUs ----------------------------------------------------------------------------


def test_an_idle_cpu_that_there_may_not_be() -> None:
    code = Code().load(1, 1, 0).insn(0xB7, 2).call("scx_bpf_pick_idle_cpu")
    found = findings(policy({**good(), "select_cpu": code.insn(0x95)}))
    assert found["SCX402"].severity is Severity.SUSPECT


def test_an_idle_cpu_or_the_last_one() -> None:
    code = Code().load(7, 1, 8).load(1, 1, 0).insn(0xB7, 2).call("scx_bpf_pick_idle_cpu")
    code.insn(0x66, 0, off=1, imm=-1).mov(0, 7).insn(0x95)
    assert findings(policy({**good(), "select_cpu": code})) == {}


# ---- loops ---------------------------------------------------------------------------


def each_number(count: int, kfunc: str) -> Code:
    """Call a function with each number below ``count``."""
    code = Code().insn(0xB7, 2).insn(0xB7, 3, imm=count)
    code.mov(1, 10).insn(0x07, 1, imm=-8).call("bpf_iter_num_new")
    code.mov(1, 10).insn(0x07, 1, imm=-8).call("bpf_iter_num_next").insn(0x15, 0, off=4)
    return code.load(1, 0, 0, 4).insn(0xB7, 2, imm=-1).call(kfunc).go(-8).exit()


def iterator(code: Code, at: int, name: str) -> Code:
    """Three instructions: call a function for the iterator at that place of the stack."""
    return code.mov(1, 10).insn(0x07, 1, imm=at).call(name)


@pytest.mark.parametrize(("count", "too_many"), [(300, False), (70_000, True)])
def test_a_loop_with_two_ways_back_is_one_loop(count: int, *, too_many: bool) -> None:
    code = iterator(Code().insn(0xB7, 2).insn(0xB7, 3, imm=count), -8, "bpf_iter_num_new")
    code.insn(0xB7, 7, imm=1)
    code = iterator(code, -8, "bpf_iter_num_next").insn(0x15, 0, off=3)
    code.load(8, 0, 0, 4).insn(0x15, 8, off=-7, imm=5).go(-7)
    assert ("SCX301" in rejected(policy({**good(), "tick": code.exit()}))) is too_many


@pytest.mark.parametrize("begin", ["bpf_iter_num_new", "begin"])
def test_an_iterator_that_each_lap_begins_again(begin: str) -> None:
    code = iterator(Code().insn(0xB7, 2).insn(0xB7, 3, imm=300), -8, "bpf_iter_num_new")
    code = iterator(code, -8, "bpf_iter_num_next").insn(0x15, 0, off=11)
    code = iterator(code.insn(0xB7, 2).insn(0xB7, 3, imm=300), -16, begin)
    code = iterator(code, -16, "bpf_iter_num_next").insn(0x15, 0, off=1).go(-5).go(-15)
    functions = {"begin": Code().call("bpf_iter_num_new").exit()}
    assert "SCX301" in rejected(policy({**good(), "tick": code.exit()}, functions))


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


TEN, MANY = Code().insn(0xB7, 2).insn(0xB7, 3, imm=10), Code().insn(0xB7, 2).const(3, 70_000)
READ = Code().load(3, 1, 0).load(3, 3, 64, 4).insn(0xB7, 2)
ONE_OF_TWO = Code().load(3, 1, 0).insn(0xB7, 2).insn(0x15, 2, off=1).insn(0xB7, 3, imm=10)


@pytest.mark.parametrize(
    ("bounds", "too_many"), [(TEN, False), (MANY, True), (READ, True), (ONE_OF_TWO, True)]
)
def test_a_loop_that_the_walk_did_not_come_to_counts_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, bounds: Code, *, too_many: bool
) -> None:
    monkeypatch.setattr(interpret, "STEPS", 1)
    code = number_loop(Code(bytearray(bounds.raw)))
    assert ("SCX301" in rejected(policy({**good(), "tick": code}))) is too_many


@pytest.mark.parametrize(("inner", "too_many"), [(0, False), (10, True)])
def test_what_user_space_may_send_is_counted(inner: int, *, too_many: bool) -> None:
    code = Code().address(1, "sent").address(2, "lap").insn(0xB7, 3).insn(0xB7, 4).helper(209)
    functions = {"lap": bpf_loop(inner, "bottom"), "bottom": Code().exit()}
    maps = {"sent": {"type": 31, "max_entries": 1 << 16}}
    data = policy({**good(), "dispatch": code.exit()}, functions, maps=maps)
    assert ("SCX301" in rejected(data)) is too_many


def test_comparisons_in_a_tree_are_counted() -> None:
    code = Code().mov(1, 10).mov(2, 10).address(3, "less").insn(0xB7, 4).insn(0xB7, 5)
    code.call("bpf_rbtree_add_impl").exit()
    functions = {"less": bpf_loop(2000, "bottom"), "bottom": Code().exit()}
    assert "SCX301" in rejected(policy({**good(), "tick": code}, functions))


def test_a_callback_that_is_not_known_counts_as_anything() -> None:
    code = Code().insn(0xB7, 1, imm=3).load(2, 1, 0).insn(0xB7, 3).insn(0xB7, 4).helper(181)
    assert "SCX301" in rejected(policy({**good(), "tick": code.exit()}))


def counting(stores: Code) -> bytes:
    """A policy that goes round as often as a variable of its own says."""
    loop = Code().address(7, "count").load(1, 7, 0, 4).address(2, "bottom").insn(0xB7, 3)
    loop.insn(0xB7, 4).helper(181).exit()
    callbacks = {**good(), "tick": loop, "init": stores}
    return policy(callbacks, {"bottom": Code().exit()}, variables=["count"])


def stored(*numbers: int) -> Code:
    code = Code().address(7, "count")
    for number in numbers:
        code.insn(0xB7, 8, imm=number).store(7, 0, 8, 4)
    return code.exit()


def test_a_variable_is_what_was_stored_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "SCX301" not in rejected(counting(stored(5, 9)))
    assert "SCX301" in rejected(counting(stored(5, 9, 1 << 20)))
    monkeypatch.setattr(interpret, "STEPS", 9)
    last_is_not_seen = counting(stored(5, 9, 9, 9, 1 << 20))
    assert "SCX301" in rejected(last_is_not_seen)


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


@pytest.mark.parametrize(
    "code",
    [
        Code().insn(0xB7, 0),  # falls off the end
        Code().insn(0xB7, 0).insn(0x55, 0, off=-2),  # ... unless it jumps
        Code().insn(0x18, 0).insn(0x95),  # half of an instruction looks like the end
    ],
)
def test_a_function_must_have_an_end(code: Code) -> None:
    for data in (policy({**good(), "tick": code}), policy(good(), {"unused": code})):
        assert rejected(data) == {"SCX002"}


def test_many_branches_take_bounded_time() -> None:
    code = task()
    for at in range(300):
        code.load(7, 6, 4 * at % 96, 4).insn(0x57, 7, imm=1 << at % 30)
        code.insn(0x55, 7, off=1).insn(0xB7, 8, imm=at)
    started = time.process_time()
    found = findings(enqueue(code.insert(GLOBAL).exit()))
    assert time.process_time() - started < 5
    assert "SCX101" not in {name for name, one in found.items() if one.severity == "reject"}
