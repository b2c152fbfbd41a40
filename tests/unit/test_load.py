# SPDX-License-Identifier: GPL-2.0-or-later
"""The loader's child as a process of its own, as far as it comes without a kernel."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from schedcpd import token
from schedcpd.deploy import load, messages, serving
from schedcpd.deploy.attachment import AttachFailed, Attachment, EjectedAtOnce
from schedcpd.deploy.messages import EventName, MapUpdate, Request
from schedcpd.deploy.serving import Channel
from schedcpd.errors import ForeignScheduler, MapRefused, NoSuchPolicy, TokenRefused
from schedcpd.fields import BadField
from schedcpd.kernel.libbpf import LibbpfError
from schedcpd.kernel.topology import read_topology
from schedcpd.model import ExitRecord, KernelState
from unit.made_objects import CARD, make_object

CHILD = (sys.executable, "-m", "schedcpd.deploy.load")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A policy with a token that holds on this machine."""
    btf = tmp_path / "btf"
    btf.write_bytes(b"types")
    monkeypatch.setattr(load, "BTF", btf)
    policy = tmp_path / "s/scx_batch"
    policy.mkdir(parents=True)
    (policy / "scx_batch.bpf.o").write_bytes(make_object())
    (policy / "scx_batch.toml").write_text(CARD)
    private, public = token.generate_keys()
    statement = token.Token(
        policy="scx_batch",
        object_sha256=token.sha256(make_object()),
        card_sha256=token.sha256(CARD.encode()),
        machine=token.read_machine(os.uname().release, b"types", read_topology()),
        report_sha256="",
        parameters={"slice_ns": (1, 10)},
        issued_at=int(time.time()),
        expires_at=int(time.time()) + 1000,
    )
    (tmp_path / "t").mkdir()
    (tmp_path / "t/scx_batch.token").write_bytes(token.sign(statement, private))
    (tmp_path / "public.key").write_bytes(public)
    return Request(
        policy="scx_batch",
        schedulers=tmp_path / "s",
        enrolled=tmp_path / "e",
        tokens=tmp_path / "t",
        public_key=tmp_path / "public.key",
        parameters={"slice_ns": 5},
        settle_s=0.3,
        check_only=True,
        sched_ext=tmp_path / "sched_ext",
    )


class Pipes(Channel):
    """A channel whose other ends a test holds."""

    def __init__(self) -> None:
        self.theirs, write = os.pipe()
        read, self.ours = os.pipe()
        super().__init__(read, write)
        self.fds = (self.theirs, write, read, self.ours)

    def heard(self) -> dict[str, object]:
        message = json.loads(os.read(self.theirs, 1 << 20))
        assert isinstance(message, dict)
        return message


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    for fd in pipes.fds:
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it already


def test_a_policy_whose_token_holds(request_: Request, pipes: Pipes) -> None:
    assert load.attach(request_, pipes) is None
    heard = pipes.heard()
    assert heard["event"] == "admissible"
    assert str(heard["token"]).startswith("valid until 20")


def test_exactly_the_checked_bytes_are_handed_on(request_: Request) -> None:
    data, card, signed = load.admit(request_)
    assert data == make_object()
    assert (card.name, signed.policy) == ("scx_batch", "scx_batch")


def test_object_that_was_replaced(request_: Request) -> None:
    known = hashlib.sha256(make_object()).hexdigest()
    load.admit(replace(request_, object_sha256=known))
    with pytest.raises(TokenRefused, match="it was replaced"):
        load.admit(replace(request_, object_sha256="0" * 64))


@pytest.mark.parametrize("file", ["s/scx_batch/scx_batch.bpf.o", "s/scx_batch/scx_batch.toml"])
def test_a_flipped_byte(request_: Request, tmp_path: Path, pipes: Pipes, file: str) -> None:
    data = bytearray((tmp_path / file).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / file).write_bytes(data)
    load.attach(request_, pipes)
    heard = pipes.heard()
    assert (heard["event"], heard["error"]) == ("failed", "TokenRefused")
    assert "does not match the token" in str(heard["reason"])


def test_what_is_missing_is_named(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "t/scx_batch.token").unlink()
    with pytest.raises(TokenRefused, match="it has no token; start schedcp-verify"):
        load.admit(request_)
    (tmp_path / "t/scx_batch.report.json").write_text('{"reason": "scx_x: no such kfunc"}')
    with pytest.raises(TokenRefused, match="gave it no token: scx_x: no such kfunc"):
        load.admit(request_)
    (tmp_path / "t/scx_batch.report.json").write_text('{"reason": ""}')
    with pytest.raises(TokenRefused, match="it has no token; start schedcp-verify"):
        load.admit(request_)
    (tmp_path / "t/scx_batch.token").mkdir()
    with pytest.raises(TokenRefused, match=r"regular file|directory"):
        load.admit(request_)


def test_a_missing_key_and_missing_types(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "public.key").unlink()
    with pytest.raises(TokenRefused, match="no key to check"):
        load.admit(request_)
    (tmp_path / "public.key").write_text("")
    (tmp_path / "btf").unlink()
    with pytest.raises(TokenRefused, match="no sched_ext"):
        load.admit(request_)


def test_a_policy_that_is_not_there(request_: Request, pipes: Pipes) -> None:
    with pytest.raises(NoSuchPolicy):
        load.admit(replace(request_, policy="../../etc/passwd"))
    load.attach(replace(request_, policy="scx_none"), pipes)
    assert pipes.heard()["error"] == "NoSuchPolicy"


def test_a_kernel_without_sched_ext(request_: Request, pipes: Pipes) -> None:
    """It is told before a token is asked for, because there is none on such a kernel."""
    load.attach(replace(request_, check_only=False, policy="scx_none"), pipes)
    heard = pipes.heard()
    assert heard["error"] == "NoSchedExt"
    assert "no sched_ext" in str(heard["reason"])


def test_waiting_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/ops").write_text("scx_lavd\n")
    state = tmp_path / "state"
    state.write_text("enabled\n")
    with pytest.raises(ForeignScheduler, match="'scx_lavd'"):
        serving.wait_free(tmp_path)
    state.write_text("disabling\n")
    monkeypatch.setattr(serving, "WAIT_FREE_S", 0.05)
    with pytest.raises(ForeignScheduler, match="'scx_lavd'"):
        serving.wait_free(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: state.write_text("disabled\n"))
    serving.wait_free(tmp_path)


def test_lines_in_pieces(pipes: Pipes) -> None:
    os.write(pipes.ours, b"one\ntw")
    assert pipes.line(None) == b"one"
    assert pipes.line(0.01) is None
    os.write(pipes.ours, b"o\n")
    assert pipes.line(None) == b"two"
    os.close(pipes.ours)
    with pytest.raises(EOFError):
        pipes.line(None)


def test_a_daemon_that_never_ends_its_line(pipes: Pipes) -> None:
    def write_and_read() -> bytes | None:
        os.write(pipes.ours, b"x" * 4096)
        return pipes.line(0.0)

    for _ in range(messages.REQUEST_LIMIT // 4096 + 1):
        assert write_and_read() is None
    with pytest.raises(EOFError):
        write_and_read()


def test_a_daemon_that_is_gone_hears_nothing(pipes: Pipes) -> None:
    os.close(pipes.theirs)
    pipes.say(EventName.ADMISSIBLE, token="x")


def run(data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(CHILD, input=data, capture_output=True, cwd=ROOT, timeout=60, check=False)


@pytest.mark.parametrize("data", [b"not json\n", b"{}\n", b"[]\n", b'{"command":"status"}\n'])
def test_a_request_that_is_none(data: bytes) -> None:
    done = run(data)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"schedcp-load: ")


def test_no_request_at_all() -> None:
    done = run(b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_child_on_this_machine(request_: Request) -> None:
    done = run(messages.encode_request(request_))
    heard = json.loads(done.stdout)
    assert (done.returncode, heard["event"], heard["error"]) == (0, "failed", "TokenRefused")


def test_the_child_checks_one_policy_after_the_other(request_: Request) -> None:
    """The token fails for want of this kernel's types; what there is no card of, for that."""
    names = ("scx_batch", "scx_none", "scx_batch")
    asked = [messages.encode_request(replace(request_, policy=name)) for name in names]
    done = run(b"".join(asked))
    heard = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert heard == ["TokenRefused", "NoSuchPolicy", "TokenRefused"]
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_child_that_could_not_attach_takes_no_other_request(request_: Request) -> None:
    asked = messages.encode_request(replace(request_, check_only=False))
    done = run(asked + messages.encode_request(request_))
    heard = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert (done.returncode, heard) == (0, ["NoSchedExt"])


class SimulatedAttachment:
    """An attached policy; ``ends_after`` looks at it, it is ejected."""

    def __init__(self, ends_after: int = 1000) -> None:
        self.looks = 0
        self.ends_after = ends_after
        self.held = True
        self.suspended = False
        self.refusal: Exception | None = None
        self.settled_for = 0.0
        self.entries: dict[bytes, bytes] = {}

    def ended(self) -> ExitRecord | None:
        self.looks += 1
        return ExitRecord(1026, 0, "stall", "words") if self.looks > self.ends_after else None

    def let_go(self) -> ExitRecord:
        self.held = False
        return self.ended() or ExitRecord(64, 0, "unregistered", "")

    def suspend(self) -> ExitRecord | None:
        if self.looks >= self.ends_after:
            return self.let_go()
        self.suspended = True
        return None

    def resume(self, settle_s: float) -> KernelState:
        if self.refusal is not None:
            self.held = False
            raise self.refusal
        self.suspended = False
        self.settled_for = settle_s
        return KernelState(True, "enabled", "scx_batch", 7, 0, 0)

    load_ms = attach_ms = 1.0

    def counters(self) -> dict[str, int]:
        return {"nr": self.looks}

    def update_map(self, update: MapUpdate) -> None:
        if update.name != "hints":
            raise MapRefused("scx_batch", update.name, "no such map")
        self.entries.update(update.updates)


NOWHERE = Path("/none")
REQUEST = Request(
    *("p", NOWHERE, NOWHERE, NOWHERE, NOWHERE), {}, 0.3, check_only=False, sched_ext=NOWHERE
)


def serve(attachment: SimulatedAttachment, pipes: Pipes) -> None:
    serving.serve(cast(Attachment, attachment), pipes, REQUEST)


def exit_kind(heard: dict[str, object]) -> object:
    return heard["exit"]["kind"] if isinstance(heard["exit"], dict) else heard["exit"]


def test_serving_until_told_to_let_go(pipes: Pipes) -> None:
    attachment = SimulatedAttachment()
    os.write(pipes.ours, b'{"command":"status"}\n{"command":"detach"}\n{"command":"status"}\n')
    serve(attachment, pipes)
    status, detached = map(json.loads, os.read(pipes.theirs, 1 << 16).splitlines())
    assert (status["event"], status["exit"]) == ("status", None)
    assert (detached["event"], exit_kind(detached)) == ("detached", 64)
    assert not attachment.held


def test_serving_until_the_daemon_is_gone(pipes: Pipes) -> None:
    attachment = SimulatedAttachment()
    os.close(pipes.ours)
    serve(attachment, pipes)
    assert not attachment.held


def test_serving_until_the_kernel_ejects_it(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.001)
    attachment = SimulatedAttachment(ends_after=3)
    serve(attachment, pipes)
    heard = pipes.heard()
    assert (heard["event"], exit_kind(heard)) == ("ejected", 1026)
    assert not attachment.held


def command(*names: str) -> bytes:
    return b"".join(b'{"command":"%s"}\n' % name.encode() for name in names)


def test_turns_with_the_kernel_default(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    attachment = SimulatedAttachment()
    os.write(pipes.ours, command("suspend", "status", "resume", "suspend", "detach"))
    serve(attachment, pipes)
    heard = [json.loads(line) for line in os.read(pipes.theirs, 1 << 16).splitlines()]
    events = [one["event"] for one in heard]
    assert events == ["suspended", "status", "resumed", "suspended", "detached"]
    assert (heard[2]["ops"], heard[2]["enable_seq"]) == ("scx_batch", 7)
    assert attachment.settled_for < REQUEST.settle_s
    assert not attachment.held


def test_live_maps_are_changed_and_refusals_told(pipes: Pipes) -> None:
    attachment = SimulatedAttachment()
    for number, name in enumerate(("hints", "layers")):
        change = MapUpdate(name, {b"key": b"value"}, number=number)
        os.write(pipes.ours, messages.encode_update(change))
    os.write(pipes.ours, command("detach"))
    serve(attachment, pipes)
    heard = [json.loads(line) for line in os.read(pipes.theirs, 1 << 16).splitlines()]
    assert heard[:2] == [
        {"event": "updated", "number": 0, "refused": ""},
        {"event": "updated", "number": 1, "refused": "no such map"},
    ]
    assert attachment.entries == {b"key": b"value"}
    assert heard[2]["event"] == "detached"


def test_nothing_is_ejected_while_it_is_suspended(pipes: Pipes) -> None:
    """The exit record of a pause is no ejection."""
    attachment = SimulatedAttachment(ends_after=0)
    attachment.suspended = True
    os.write(pipes.ours, command("status", "detach"))
    serve(attachment, pipes)
    heard = [json.loads(line)["event"] for line in os.read(pipes.theirs, 1 << 16).splitlines()]
    assert heard == ["status", "detached"]


def test_thrown_out_at_the_moment_of_suspending(pipes: Pipes) -> None:
    attachment = SimulatedAttachment(ends_after=1)
    os.write(pipes.ours, command("suspend", "status"))
    serve(attachment, pipes)
    heard = pipes.heard()
    assert (heard["event"], exit_kind(heard)) == ("ejected", 1026)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (EjectedAtOnce(ExitRecord(1024, 3, "runtime error", "words")), "Ejected"),
        (AttachFailed("attach", "busy", errno.EBUSY), "ForeignScheduler"),
        (AttachFailed("settle", "it did not stay"), "KernelRejected"),
    ],
)
def test_what_cannot_be_resumed_ends(pipes: Pipes, refusal: Exception, error: str) -> None:
    attachment = SimulatedAttachment()
    attachment.refusal = refusal
    os.write(pipes.ours, command("suspend", "resume", "status"))
    serve(attachment, pipes)
    suspended, failed = map(json.loads, os.read(pipes.theirs, 1 << 16).splitlines())
    assert (suspended["event"], failed["event"], failed["error"]) == ("suspended", "failed", error)


def test_the_daemon_leaves_while_it_is_suspended(pipes: Pipes) -> None:
    attachment = SimulatedAttachment()
    os.write(pipes.ours, command("suspend"))
    os.close(pipes.ours)
    serve(attachment, pipes)
    assert not attachment.held


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"command":"dance"}\n', b"{}\n"])
def test_commands_that_are_none_end_the_child(pipes: Pipes, line: bytes) -> None:
    os.write(pipes.ours, line)
    with pytest.raises(BadField):
        serve(SimulatedAttachment(), pipes)


OUTCOMES = [
    (EjectedAtOnce(ExitRecord(1024, 3, "runtime error", "words")), "Ejected", "words"),
    (AttachFailed("load", "R1 is bad", 13, "log"), "KernelRejected", "R1 is bad"),
    (AttachFailed("attach", "busy", errno.EBUSY), "ForeignScheduler", "scx_lavd"),
    (LibbpfError("libbpf 1.4 or newer is needed", 0), "KernelRejected", "libbpf 1.4 or newer"),
]


@pytest.mark.parametrize(("exc", "error", "reason"), OUTCOMES)
def test_how_failures_are_told(
    request_: Request,
    pipes: Pipes,
    monkeypatch: pytest.MonkeyPatch,
    exc: Exception,
    error: str,
    reason: str,
) -> None:
    def refuse(*_: object) -> None:
        raise exc

    monkeypatch.setattr(load, "check_usable", lambda root: None)
    monkeypatch.setattr(load, "wait_free", refuse)
    (request_.sched_ext / "root").mkdir(parents=True)
    (request_.sched_ext / "state").write_text("enabled")
    (request_.sched_ext / "root/ops").write_text("scx_lavd")
    assert load.attach(replace(request_, check_only=False), pipes) is None
    heard = pipes.heard()
    assert (heard["event"], heard["error"]) == ("failed", error)
    assert reason in str(heard["reason"])
    if isinstance(exc, EjectedAtOnce):
        assert exit_kind(heard) == 1024


def test_the_child_dies_with_its_parent() -> None:
    program = (
        "import os, time\n"
        "from schedcpd.deploy.load import die_with_parent\n"
        "if os.fork() == 0:\n"
        "    die_with_parent()\n"
        "    os.write(1, b'ready')\n"
        "    time.sleep(300)\n"
        "os.wait()\n"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(5) == b"ready"
        parent.kill()
        # The pipe ends when the child, which holds it too, is gone.
        assert select.select([parent.stdout], [], [], 30)[0]
        assert parent.stdout.read() == b""


@pytest.mark.parametrize("parents", ["[4711, 1]", "[1, 1]"])
def test_a_parent_that_died_before_it_was_asked(parents: str) -> None:
    program = (
        "import os, sys\n"
        "from schedcpd.deploy import load\n"
        f"parents = iter({parents})\n"
        "os.getppid = lambda: next(parents)\n"
        "load.attach = lambda *_: os._exit(9)\n"
        "sys.exit(load.main())\n"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(
        argv, input=b"{}\n", capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
