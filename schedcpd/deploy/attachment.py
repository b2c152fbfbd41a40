# SPDX-License-Identifier: GPL-2.0-or-later
"""One policy on its way into the kernel, in it, and out of it; runs in the loader's child."""

from __future__ import annotations

import errno
import itertools
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from schedcpd.deploy.livemaps import LAYOUTS, Layout
from schedcpd.deploy.messages import MapUpdate
from schedcpd.errors import MapRefused
from schedcpd.kernel import objects, sched_ext
from schedcpd.kernel.btf import Btf, BtfError
from schedcpd.kernel.libbpf import BpfObject, Libbpf, LibbpfError, Link
from schedcpd.model import Card, ExitKind, ExitRecord, KernelState

# struct sx_exit_rec of schedulers/include: s32 kind, cpu; s64 code; u64 flags, seq; reason, msg.
EXIT_RECORD = struct.Struct("<iiqQQ64s512s")
FORMATS = {"u32": "<I", "s32": "<i", "u64": "<Q", "s64": "<q", "bool": "<?"}
COUNTER_FORMATS = {4: "<I", 8: "<Q"}
POLL_S = 0.005
# A policy that leaves takes 30 to 90 ms, under emulation and load.
LEAVE_S = 2.0
LOG_LINES = 80
REASON_LIMIT = 500
NAME_SHOWN = 64
NOT_PERMITTED = "not permitted: the loader needs CAP_BPF and CAP_PERFMON"
HIDDEN = "it left the kernel and does not say why"
NOISE = ("processed ", "max_states_per_insn", "verification time", "stack depth", "mark_precise")


class AttachFailed(Exception):
    """The policy is not in the kernel: at which stage (open, load, attach, settle), and why."""

    def __init__(self, stage: str, reason: str, code: int = 0, log: str = "") -> None:
        self.stage = stage
        self.reason = reason
        self.code = code
        self.log = log
        super().__init__(f"{stage}: {reason}")


class EjectedAtOnce(Exception):
    """The kernel threw the policy out before it had settled."""

    def __init__(self, record: ExitRecord) -> None:
        self.record = record
        super().__init__(record.message)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, as the caller has it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Attachment:
    """A policy, from the bytes of its object to its exit record."""

    def __init__(self, card: Card, root: Path, clock: Clock | None = None) -> None:
        self._card = card
        self._root = root
        self._clock = clock or Clock()
        self._bpf: BpfObject
        self._link: Link | None = None
        self._left: ExitRecord | None = None  # why it left, when it was us who made it pause
        self._about: objects.PolicyObject
        self.load_ms = 0.0
        self.attach_ms = 0.0

    def load(self, libbpf: Libbpf, data: bytes, parameters: Mapping[str, int]) -> None:
        """Open, set up, verify and load; AttachFailed at ``open`` or ``load``."""
        started = self._clock.now()
        try:
            self._about = objects.read_object(data)
            self._about.check(self._card)
            self._bpf = libbpf.open(data, self._card.name)
            self._check_maps()
            self._ops = self._prepare(libbpf, parameters)
        except (objects.ObjectError, BtfError, LibbpfError, LookupError, struct.error) as exc:
            raise AttachFailed("open", str(exc), log="\n".join(libbpf.lines)) from exc
        try:
            self._bpf.load()
        except LibbpfError as exc:
            said = "\n".join(libbpf.lines)
            log = tail(self._bpf.kernel_log) or said
            raise AttachFailed("load", load_reason(exc, log, said), exc.code, log) from exc
        self.load_ms = (self._clock.now() - started) * 1000

    def _check_maps(self) -> None:
        """Raise ObjectError unless what will be written fits into the maps of the card."""
        for name, role in self._card.maps.items():
            found = Layout(*self._bpf.hash_sizes(name))
            if found != LAYOUTS[role]:
                raise objects.ObjectError(
                    f"its map {name} has {found}, not {LAYOUTS[role]}, as one for {role}"
                )

    def _prepare(self, libbpf: Libbpf, parameters: Mapping[str, int]) -> int:
        maps = self._bpf.struct_ops()
        if len(maps) != 1:
            raise objects.ObjectError(f"it has {len(maps)} struct_ops maps, not one")
        members = Btf(self._about.btf).members(objects.OPS_STRUCT)
        if not members:
            raise objects.ObjectError(f"it has no type {objects.OPS_STRUCT}")
        ops = self._bpf.value(maps[0])
        name = _text(ops[members["name"].offset :].tobytes())
        if name != self._card.name:
            raise objects.ObjectError(f"its ops call themselves {name!r}")
        struct.pack_into("<I", ops, members["timeout_ms"].offset, self._card.timeout_ms)
        # The kernel then refuses the policy if a CPU came or went since it was set up.
        hotplug_seq = sched_ext.read_state(self._root).hotplug_seq
        struct.pack_into("<Q", ops, members["hotplug_seq"].offset, hotplug_seq)
        if optional := [one for one in objects.OPTIONAL_OPS if one in members]:
            offered = libbpf.kernel_members(objects.OPS_STRUCT)
            for at in (members[one].offset for one in optional if one not in offered):
                ops[at : at + objects.POINTER_BYTES] = bytes(objects.POINTER_BYTES)
        for tunable in self._card.tunables:
            value = parameters.get(tunable.name, tunable.default)
            offset = self._about.constant(tunable.name, tunable.type).offset
            layout = FORMATS[tunable.type]
            struct.pack_into(layout, self._bpf.area(objects.CONSTANTS), offset, value)
        return maps[0]

    def attach(self) -> None:
        """Attach; returning means that the kernel took it, not that it runs."""
        started = self._clock.now()
        try:
            self._link = self._bpf.attach(self._ops)
        except LibbpfError as exc:
            raise AttachFailed("attach", attach_reason(exc.code), exc.code) from exc
        self.attach_ms = (self._clock.now() - started) * 1000

    def settle(self, settle_s: float) -> KernelState:
        """Watch for ``settle_s`` seconds that it runs; EjectedAtOnce or AttachFailed if not."""
        deadline = self._clock.now() + settle_s
        while self.exit_record() is None and self._clock.now() < deadline:
            self._clock.sleep(POLL_S)
        state = sched_ext.read_state(self._root)
        record = self.exit_record()
        if record is None and (state.state, state.policy) == ("enabled", self._card.name):
            return state
        # A policy on its way out has its record only when it is nearly gone: wait for it.
        record = self.let_go()
        if record is None or record.kind == ExitKind.UNREG:
            by = f" by {state.policy!r}" if state.policy else ""
            raise AttachFailed("settle", f"it did not stay: sched_ext is {state.state}{by}")
        raise EjectedAtOnce(record)

    def ended(self) -> ExitRecord | None:
        """Why the kernel let go of a policy that we still hold; None while it runs.

        The policy writes its record itself, so the kernel is asked as well. One that leaves none,
        or says that it was us who took it off, hides what it was thrown out for.
        """
        state = sched_ext.read_state(self._root)
        record = self.exit_record()  # an honest one is there before the kernel has let go
        gone = state.state == "disabled" or state.policy not in ("", self._card.name)
        if record is None and not gone:
            return None
        if record is None or record.kind == ExitKind.UNREG:
            return ExitRecord(ExitKind.ERROR, 0, HIDDEN, "", "")
        return record

    def exit_record(self) -> ExitRecord | None:
        """Why the policy left, read from the memory shared with the kernel; None while it runs."""
        kind, _, code, _, _, reason, message = EXIT_RECORD.unpack_from(
            self._bpf.area(objects.EXIT_SECTION)
        )
        if not kind:
            return None
        dump = self._bpf.area(objects.DUMP_SECTION).tobytes()
        return ExitRecord(kind, code, _text(reason), _text(message), _text(dump))

    def counters(self) -> dict[str, int]:
        """The counters of the card, read from the memory shared with the kernel."""
        values = {}
        for name in self._card.counters:
            place = self._about.variables[name]
            area, layout = self._bpf.area(place.section), COUNTER_FORMATS[place.size]
            (values[name],) = struct.unpack_from(layout, area, place.offset)
        return values

    def update_map(self, update: MapUpdate) -> None:
        """Change a live map, also while it is suspended: the maps stay with the loaded object.

        Raises MapRefused. What was changed before an entry that is not taken stays so.
        """
        policy, role = self._card.name, self._card.maps.get(update.name)
        if role is None:
            raise MapRefused(policy, update.name[:NAME_SHOWN], "its card declares no such map")
        layout = LAYOUTS[role]
        entries = {*update.updates, *update.deletions}
        if {len(key) for key in entries} - {layout.key} or (
            {len(value) for value in update.updates.values()} - {layout.value}
        ):
            raise MapRefused(policy, update.name, f"an entry does not fit {layout}")
        try:
            for key in update.deletions:
                self._bpf.delete(update.name, key)
            for key, value in update.updates.items():
                self._bpf.update(update.name, key, value)
        except LibbpfError as exc:
            reason = "it is full" if exc.code == errno.E2BIG else str(exc)
            raise MapRefused(policy, update.name, reason) from exc

    @property
    def suspended(self) -> bool:
        """Whether the kernel's own scheduler runs and the loaded object waits to be resumed."""
        return self._left is not None

    def suspend(self) -> ExitRecord | None:
        """Give the machine back and keep the object; what anything else than a pause left behind.

        None means that it pauses. A policy that was thrown out in the same moment, or that does not
        leave, cannot be resumed.
        """
        if self.suspended:
            return None
        record = self.let_go()
        if record is None:
            raise AttachFailed("suspend", "the policy did not leave the kernel in time")
        if record.kind != ExitKind.UNREG:
            return record
        self._left = record
        return None

    def resume(self, settle_s: float) -> KernelState:
        """Attach the same object again; AttachFailed or EjectedAtOnce as for the first time."""
        if self.suspended:
            # The kernel only ever writes the kind of an exit: a new life begins with none.
            self._bpf.area(objects.EXIT_SECTION)[: EXIT_RECORD.size] = bytes(EXIT_RECORD.size)
            self._left = None
            self.attach()
        return self.settle(settle_s)

    def let_go(self) -> ExitRecord | None:
        """Give the machine back to the kernel's own scheduler; the exit record once it is there."""
        if self._left is not None:
            return self._left
        if self._link is not None:
            self._link.detach()
            self._link = None
        deadline = self._clock.now() + LEAVE_S
        while (record := self.exit_record()) is None and self._clock.now() < deadline:
            self._clock.sleep(POLL_S)
        return record


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def load_reason(exc: LibbpfError, log: str, said: str) -> str:
    """Why the kernel did not load it: the verifier's last words, or what libbpf said first."""
    if exc.code == errno.EPERM:
        return NOT_PERMITTED
    if log != said:
        return last_words(log)
    return said.partition("\n")[0] or str(exc)


def attach_reason(code: int) -> str:
    """What an errno of the attach call means (the kernel's own words go to its log only)."""
    match code:
        case errno.EBUSY:
            return "another scheduler is attached"
        case errno.E2BIG:
            return "its timeout is longer than the kernel allows"
        case errno.EPERM | errno.EACCES:
            return NOT_PERMITTED
        case errno.EINVAL:
            return "the kernel found its ops invalid; 'journalctl -k -g sched_ext' may say why"
    return f"the kernel said {errno.errorcode.get(code, code)}"


def tail(log: str) -> str:
    """The last lines of a log."""
    lines = [line for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-LOG_LINES:])


def last_words(log: str) -> str:
    """The line of a verifier's log that says why it refused.

    Since Linux 7.3 it may end with a diagnosis, in which the reason has a paragraph of its own.
    """
    lines = [line.strip() for line in log.splitlines()]
    if "Reason:" in lines:
        after = lines[lines.index("Reason:") + 1 :]
        paragraph = itertools.takewhile(lambda line: line and not line.endswith(":"), after)
        return " ".join(paragraph)[:REASON_LIMIT]
    telling = [line for line in lines if line and not line.startswith(NOISE)]
    return telling[-1][:REASON_LIMIT] if telling else ""
