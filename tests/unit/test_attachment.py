# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a policy into the kernel and out, with a simulated libbpf and sysfs."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from schedcpd.deploy.attachment import (
    AttachFailed,
    Attachment,
    Clock,
    EjectedAtOnce,
    attach_reason,
    last_words,
    tail,
)
from schedcpd.deploy.messages import MapUpdate
from schedcpd.errors import MapRefused
from schedcpd.kernel.libbpf import Libbpf, LibbpfError
from schedcpd.repository.cards import parse_card
from unit.made_objects import (
    CARD,
    DEFAULT_SECTIONS,
    DEFAULT_SYMBOLS,
    OPS_BYTES,
    OPTIONAL_AT,
    Symbol,
    make_object,
)

CARD_OF_IT = parse_card(f'{CARD}[maps.hints]\nrole = "hints"\n'.encode(), "card")
OBJECT = make_object({".maps": bytes(32)}, [*DEFAULT_SYMBOLS, Symbol("hints", ".maps", 0, 32)])
OPS = 1


class SimulatedClock:
    """Time passes only in sleep, where ``events`` happen at their times."""

    def __init__(self) -> None:
        self.time = 0.0
        self.events: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        while self.events and self.events[0][0] <= self.time:
            self.events.pop(0)[1]()


@dataclass
class Simulated:
    """What libbpf and the kernel would do."""

    root: Path
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    lines: list[str] = field(default_factory=list)
    ops_maps: int = 1
    name: bytes = b"scx_batch"
    offered: frozenset[str] = frozenset()  # members of the kernel's struct sched_ext_ops
    load_error: int = 0
    attach_error: int = 0
    kernel_log: str = ""
    leaves_with: int = 64
    links: int = 0
    loads: int = 0
    sizes: tuple[int, int] = (4, 8)  # of keys and values of the map
    room: int = 3  # entries of the map
    entries: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.areas = {name: bytearray(data) for name, data in DEFAULT_SECTIONS.items()}
        self.ops = bytearray(OPS_BYTES)
        (self.root / "root").mkdir(parents=True)
        (self.root / "hotplug_seq").write_text("42\n")
        (self.root / "enable_seq").write_text("9\n")
        self.set_state("disabled", "")

    def set_state(self, state: str, policy: str) -> None:
        (self.root / "state").write_text(f"{state}\n")
        (self.root / "root/ops").write_text(f"{policy}\n")

    def end(self, kind: int, message: str = "") -> None:
        """The kernel lets go of the policy."""
        self.set_state("disabled", "")
        record = struct.pack("<iiqQQ64s512s", kind, 0, 7, 0, 1, b"the reason", message.encode())
        self.areas[".data.sxexit"][:] = record
        self.areas[".data.sxdump"][:5] = b"dump\0"

    def open(self, data: bytes, name: str) -> Simulated:
        assert (data, name) == (OBJECT, "scx_batch")
        self.ops[24 : 24 + len(self.name)] = self.name
        return self

    def kernel_members(self, struct: str) -> frozenset[str]:
        assert struct == "sched_ext_ops"
        return self.offered

    def struct_ops(self) -> list[int]:
        return [OPS] * self.ops_maps

    def area(self, section: str) -> memoryview:
        return memoryview(self.areas[section])

    def value(self, pointer: int) -> memoryview:
        assert pointer == OPS
        return memoryview(self.ops)

    def load(self) -> None:
        if self.load_error:
            raise LibbpfError("loading the object", self.load_error)
        self.loads += 1
        self.entries.clear()

    def hash_sizes(self, name: str) -> tuple[int, int]:
        assert name == "hints"
        if not all(self.sizes):
            raise LibbpfError("the map hints is no hash map", errno.EINVAL)
        return self.sizes

    def update(self, name: str, key: bytes, value: bytes) -> None:
        assert (name, len(key), len(value)) == ("hints", *self.sizes)
        if len({*self.entries, key}) > self.room:
            raise LibbpfError("writing to the map hints", errno.E2BIG)
        self.entries[key] = value

    def delete(self, name: str, key: bytes) -> None:
        assert (name, len(key)) == ("hints", self.sizes[0])
        self.entries.pop(key, None)

    def attach(self, pointer: int) -> Simulated:
        assert pointer == OPS
        if self.attach_error:
            raise LibbpfError("attaching", self.attach_error)
        self.links += 1
        self.set_state("enabled", "scx_batch")
        return self

    def detach(self) -> None:
        self.links -= 1
        if not any(self.areas[".data.sxexit"][:4]) and self.leaves_with:
            self.end(self.leaves_with)


@pytest.fixture
def kernel(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path / "sched_ext")


def make(kernel: Simulated) -> Attachment:
    clock = Clock(kernel.clock.now, kernel.clock.sleep)
    return Attachment(CARD_OF_IT, kernel.root, clock)


def load(kernel: Simulated, parameters: dict[str, int] | None = None) -> Attachment:
    attachment = make(kernel)
    attachment.load(cast(Libbpf, kernel), OBJECT, parameters or {})
    return attachment


def attached(kernel: Simulated) -> Attachment:
    attachment = load(kernel)
    attachment.attach()
    return attachment


def test_constants_are_set_before_the_load(kernel: Simulated) -> None:
    load(kernel, {"batch_level": 3})
    assert struct.unpack_from("<QI", kernel.areas[".rodata"], 8) == (5_000_000, 3)
    assert struct.unpack_from("<I", kernel.ops, 8) == (5000,)
    assert struct.unpack_from("<Q", kernel.ops, 16) == (42,)


@pytest.mark.parametrize("known", [True, False])
def test_a_callback_that_the_kernel_does_not_know_is_left_out(
    kernel: Simulated, *, known: bool
) -> None:
    kernel.offered = frozenset({"timeout_ms"} | ({"cgroup_set_bandwidth"} if known else set()))
    kernel.ops[OPTIONAL_AT - 8 : OPTIONAL_AT + 16] = b"\xff" * 24
    load(kernel)
    between = b"\xff" * 8 if known else bytes(8)
    found = bytes(kernel.ops[OPTIONAL_AT - 8 : OPTIONAL_AT + 16])
    assert found == b"\xff" * 8 + between + b"\xff" * 8


def test_a_life_without_incident(kernel: Simulated) -> None:
    attachment = attached(kernel)
    state = attachment.settle(0.3)
    assert (state.policy, state.enable_seq) == ("scx_batch", 9)
    assert kernel.clock.time == pytest.approx(0.3, abs=0.01)
    struct.pack_into("<Q", kernel.areas[".bss"], 8, 77)
    assert attachment.counters() == {"nr_enqueued": 77}
    assert attachment.exit_record() is None
    record = attachment.let_go()
    assert record is not None
    assert (record.kind, record.code, record.reason, record.dump) == (64, 7, "the reason", "dump")
    assert kernel.links == 0
    assert attachment.let_go() == record


def test_the_kernel_is_asked_whether_it_still_runs(kernel: Simulated) -> None:
    attachment = attached(kernel)
    assert attachment.ended() is None
    kernel.set_state("disabling", "")
    assert attachment.ended() is None, "its record comes before the end of that"
    kernel.end(1026, "stall")
    assert attachment.ended() == attachment.exit_record()


@pytest.mark.parametrize("kind", [0, 64])
@pytest.mark.parametrize(("state", "policy"), [("disabled", ""), ("enabled", "other")])
def test_a_policy_that_hides_why_it_was_thrown_out(
    kernel: Simulated, kind: int, state: str, policy: str
) -> None:
    attachment = attached(kernel)
    kernel.end(kind)
    kernel.set_state(state, policy)
    record = attachment.ended()
    assert record is not None
    assert (record.kind, record.reason) == (1024, "it left the kernel and does not say why")


def test_turns_with_the_kernel_default(kernel: Simulated) -> None:
    attachment = attached(kernel)
    attachment.settle(0.3)
    for turn in range(1, 4):
        assert attachment.suspend() is None
        assert attachment.suspended
        assert attachment.suspend() is None, "asked again, it stays as it is"
        assert kernel.links == 0
        state = attachment.resume(0.05)
        assert (state.policy, kernel.links) == ("scx_batch", 1)
        assert attachment.exit_record() is None
        assert kernel.clock.time < 0.3 + 0.1 * turn
    attachment.suspend()
    before = kernel.clock.time
    record = attachment.let_go()
    assert record is not None
    assert record.kind == 64
    assert kernel.clock.time == before, "there is nothing to wait for"


def hint(tgid: int, expected_ns: int = 7) -> dict[bytes, bytes]:
    return {struct.pack("<I", tgid): struct.pack("<Q", expected_ns)}


def test_live_maps_keep_their_entries_over_turns(kernel: Simulated) -> None:
    attachment = attached(kernel)
    attachment.update_map(MapUpdate("hints", {**hint(1), **hint(2)}))
    attachment.suspend()
    attachment.update_map(MapUpdate("hints", hint(3, 9), [*hint(1), *hint(77)]))
    attachment.resume(0.05)
    assert kernel.entries == {**hint(2), **hint(3, 9)}
    assert kernel.loads == 1, "the object was not loaded again"


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (MapUpdate("layers", hint(1)), "'layers' of scx_batch .*: its card declares no such map"),
        (MapUpdate("hints", {b"abc": bytes(8)}), "does not fit keys of 4 and values of 8 bytes"),
        (MapUpdate("hints", {b"abcd": bytes(7)}), "does not fit"),
        (MapUpdate("hints", {}, [b"abcde"]), "does not fit"),
        (MapUpdate("hints", {**hint(1), **hint(2), **hint(3), **hint(4)}), "it is full"),
    ],
)
def test_updates_that_are_not_taken(kernel: Simulated, update: MapUpdate, message: str) -> None:
    attachment = attached(kernel)
    with pytest.raises(MapRefused, match=message):
        attachment.update_map(update)
    assert kernel.links == 1, "it goes on"


def test_deletions_make_room(kernel: Simulated) -> None:
    attachment = attached(kernel)
    attachment.update_map(MapUpdate("hints", {**hint(1), **hint(2), **hint(3)}))
    attachment.update_map(MapUpdate("hints", hint(4), [*hint(1)]))
    assert kernel.entries == {**hint(2), **hint(3), **hint(4)}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((8, 8), "hints has keys of 8 and values of 8 bytes, not keys of 4 and values of 8 bytes"),
        ((4, 4), "hints has keys of 4 and values of 4 bytes"),
        ((0, 0), "the map hints is no hash map"),
    ],
)
def test_maps_of_other_sizes_are_not_loaded(
    kernel: Simulated, sizes: tuple[int, int], message: str
) -> None:
    kernel.sizes = sizes
    with pytest.raises(AttachFailed, match=message):
        load(kernel)
    assert not kernel.loads


def test_resuming_what_runs_only_settles(kernel: Simulated) -> None:
    attachment = attached(kernel)
    assert attachment.resume(0.05).policy == "scx_batch"
    assert kernel.links == 1


def test_thrown_out_instead_of_suspended(kernel: Simulated) -> None:
    attachment = attached(kernel)
    kernel.leaves_with = 1026
    record = attachment.suspend()
    assert record is not None
    assert record.kind == 1026
    assert not attachment.suspended
    assert attachment.let_go() == record


def test_a_policy_that_does_not_leave_is_not_suspended(kernel: Simulated) -> None:
    attachment = attached(kernel)
    kernel.leaves_with = 0
    with pytest.raises(AttachFailed, match="suspend: the policy did not leave"):
        attachment.suspend()
    assert not attachment.suspended


def test_a_policy_that_is_thrown_out_when_it_is_resumed(kernel: Simulated) -> None:
    attachment = attached(kernel)
    attachment.suspend()
    events = kernel.clock.events
    events.append((kernel.clock.time + 0.02, lambda: kernel.end(1024, "again")))
    with pytest.raises(EjectedAtOnce, match="again"):
        attachment.resume(0.05)
    assert kernel.links == 0


def test_somebody_else_came_while_it_was_suspended(kernel: Simulated) -> None:
    attachment = attached(kernel)
    attachment.suspend()
    kernel.attach_error = errno.EBUSY
    with pytest.raises(AttachFailed, match="another scheduler"):
        attachment.resume(0.05)


def test_an_object_that_is_none(kernel: Simulated) -> None:
    with pytest.raises(AttachFailed, match="open: it is not a little-endian"):
        make(kernel).load(cast(Libbpf, kernel), b"text", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ops_maps": 0}, "open: it has 0 struct_ops maps"),
        ({"ops_maps": 2}, "open: it has 2 struct_ops maps"),
        ({"name": b"scx_other"}, "open: its ops call themselves 'scx_other'"),
        ({"load_error": errno.EPERM}, "load: not permitted: the loader needs CAP_BPF"),
        ({"load_error": errno.ENOMEM}, "load: loading the object: ENOMEM"),
        ({"attach_error": errno.EBUSY}, "attach: another scheduler is attached"),
    ],
)
def test_failures_on_the_way(kernel: Simulated, change: dict[str, object], message: str) -> None:
    for name, value in change.items():
        setattr(kernel, name, value)
    with pytest.raises(AttachFailed, match=message):
        attached(kernel)
    assert kernel.links == 0


def test_what_the_verifier_said(kernel: Simulated) -> None:
    kernel.load_error, kernel.kernel_log = errno.EACCES, "1: r0 = 0\nR1 is bad\nprocessed 3 insns\n"
    with pytest.raises(AttachFailed, match=r"^load: R1 is bad$") as caught:
        load(kernel)
    assert (caught.value.code, caught.value.log) == (errno.EACCES, kernel.kernel_log.strip())


def test_what_libbpf_said_when_the_verifier_did_not(kernel: Simulated) -> None:
    kernel.load_error, kernel.lines = errno.EINVAL, ["libbpf: map 'x': failed"]
    with pytest.raises(AttachFailed, match="libbpf: map 'x': failed"):
        load(kernel)


def test_ejected_before_it_settles(kernel: Simulated) -> None:
    attachment = attached(kernel)
    kernel.clock.events.append((0.1, lambda: kernel.end(1024, "non-existent DSQ")))
    with pytest.raises(EjectedAtOnce) as caught:
        attachment.settle(0.3)
    assert (caught.value.record.kind, caught.value.record.message) == (1024, "non-existent DSQ")
    assert kernel.links == 0
    assert kernel.clock.time < 0.2


def test_ejected_slowly(kernel: Simulated) -> None:
    """The record comes only after the policy is on its way out for longer than the window."""
    attachment = attached(kernel)
    kernel.leaves_with = 0
    kernel.set_state("disabling", "scx_batch")
    kernel.clock.events.append((1.0, lambda: kernel.end(1024, "slowly")))
    with pytest.raises(EjectedAtOnce, match="slowly"):
        attachment.settle(0.3)
    assert kernel.links == 0


@pytest.mark.parametrize(
    ("state", "policy", "message"),
    [
        ("disabled", "", "settle: it did not stay: sched_ext is disabled$"),
        ("enabled", "scx_foreign", "settle: it did not stay: sched_ext is enabled by 'scx_for"),
        ("enabling", "scx_batch", "settle: it did not stay: sched_ext is enabling by 'scx_batch"),
    ],
)
@pytest.mark.parametrize("leaves_with", [0, 64])
def test_a_link_is_not_success(
    kernel: Simulated, state: str, policy: str, message: str, leaves_with: int
) -> None:
    attachment = attached(kernel)
    kernel.leaves_with = leaves_with
    kernel.set_state(state, policy)
    with pytest.raises(AttachFailed, match=message):
        attachment.settle(0.3)
    assert kernel.links == 0


def test_letting_go_does_not_wait_for_ever(kernel: Simulated) -> None:
    attachment = attached(kernel)
    kernel.leaves_with = 0
    assert attachment.let_go() is None
    assert kernel.clock.time == pytest.approx(2.0, abs=0.1)


def test_text_that_is_not_utf8(kernel: Simulated) -> None:
    attachment = attached(kernel)
    kernel.end(1025)
    kernel.areas[".data.sxexit"][96:98] = b"\xff\0"
    record = attachment.exit_record()
    assert record is not None
    assert record.message == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EBUSY, "another scheduler"),
        (errno.E2BIG, "timeout"),
        (errno.EPERM, "CAP_BPF"),
        (errno.EINVAL, "ops invalid"),
        (errno.ENOMEM, "ENOMEM"),
        (0, "0"),
    ],
)
def test_errnos_in_words(code: int, words: str) -> None:
    assert words in attach_reason(code)


def test_logs_are_cut() -> None:
    log = "\n".join(f"line {number}\n" for number in range(100))
    assert tail(log).splitlines()[0] == "line 20"
    assert last_words("") == ""
    assert last_words("only noise is:\nprocessed 3 insns") == "only noise is:"


def test_the_diagnosis_of_newer_kernels() -> None:
    log = """4: (85) call scx_bpf_error_bstr#105872
Possibly NULL pointer passed to trusted R2
Verification failed: Call Type Safety: Invalid call argument
Reason:
  The second argument (R2) does not satisfy the verifier contract: the pointer
  may be NULL, but this kfunc requires a non-NULL value.
At:
  x_running @ scx_null.bpf.c:28:72
Suggestion:
  Add a NULL check and call the kfunc only on the non-NULL path.
processed 4 insns (limit 1000000) max_states_per_insn 0
"""
    assert last_words(log) == (
        "The second argument (R2) does not satisfy the verifier contract: the pointer "
        "may be NULL, but this kfunc requires a non-NULL value."
    )
