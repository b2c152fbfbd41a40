# SPDX-License-Identifier: GPL-2.0-or-later
"""Which verdicts become tokens: the office of the verifier, with stages that pass what they get."""

from __future__ import annotations

import hashlib
import json
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from schedcpd import keys, token
from schedcpd.errors import NoSuchPolicy
from schedcpd.kernel.topology import read_topology
from schedcpd.model import Card, Finding, Severity
from schedcpd.repository.policies import PolicyStore
from schedcpd.verify import __main__ as command
from schedcpd.verify import admission, office, pipeline
from schedcpd.verify.admission import RefusedError
from schedcpd.verify.compile import Compiled
from schedcpd.verify.host import Places, read_host
from schedcpd.verify.office import Office
from schedcpd.verify.pipeline import Verifier
from unit.made_objects import CARD, kernel_btf, make_object
from unit.test_pipeline import REJECTION, Fakes

NOW = 1_800_000_000
BTF = kernel_btf("scx_bpf_create_dsq")
NOTES = struct.pack("<III", 4, 3, 3) + b"GNU\0" + bytes.fromhex("c0ffee00")
OWN_CARD = CARD.replace("scx_batch", "scx_mine")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """One installed policy on a machine that can run it."""
    policy = tmp_path / "s/scx_batch"
    policy.mkdir(parents=True)
    (policy / "scx_batch.bpf.o").write_bytes(make_object())
    (policy / "scx_batch.toml").write_text(CARD)
    for path, contents in (
        ("sched_ext/state", b"disabled"),
        ("btf/vmlinux", BTF),
        ("notes", NOTES),
    ):
        file = tmp_path / "sys/kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents)
    (tmp_path / "cmdline").write_text("quiet")
    (tmp_path / "state").mkdir()
    (tmp_path / "trial").write_bytes(b"program")
    places = Places(
        schedulers=tmp_path / "s",
        state=tmp_path / "state",
        trial=tmp_path / "trial",
        sys=tmp_path / "sys",
        cmdline=tmp_path / "cmdline",
    )
    write_sums(places)
    return places


def write_sums(places: Places) -> None:
    files = sorted(path for path in places.schedulers.glob("*/*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(places.schedulers)}\n"
        for path in files
    ]
    (places.schedulers / "SHA256SUMS").write_text("".join(lines))


def office_of(places: Places, fakes: Fakes | None = None) -> Office:
    host = read_host(places, "7.3.4")
    stages = fakes or Fakes()
    verifier: Verifier = stages.verifier()
    return Office(places, host, verifier, lambda: stages.now)


def token_of(places: Places, name: str = "scx_batch") -> Path:
    return places.state / f"tokens/{name}.token"


def report_of(places: Places) -> dict[str, object]:
    report = json.loads((places.state / "tokens/scx_batch.report.json").read_text())
    assert isinstance(report, dict)
    return report


def reason(places: Places, fakes: Fakes | None = None) -> str:
    report = office_of(places, fakes).verify_installed("scx_batch")
    assert not report.passed
    assert not token_of(places).exists()
    assert report_of(places)["reason"] == report.reason
    assert report_of(places)["passed"] is False
    return report.reason


def test_a_policy_that_may_be_loaded(places: Places) -> None:
    assert office_of(places).verify_installed("scx_batch").passed
    candidate = token.Candidate("scx_batch", make_object(), CARD.encode(), {"batch_level": 3})
    machine = token.read_machine("7.3.4", BTF, read_topology(places.sys))
    public = (places.state / "public.key").read_bytes()
    signed = token.check(token_of(places).read_bytes(), public, candidate, machine, NOW)
    assert signed.parameters["slice_ns"] == (100_000, 100_000_000)
    assert signed.expires_at == NOW + 30 * 24 * 3600
    report = (places.state / "tokens/scx_batch.report.json").read_bytes()
    assert signed.report_sha256 == token.sha256(report)
    assert report_of(places)["passed"] is True


def test_the_key_is_made_once_and_kept_to_itself(places: Places) -> None:
    office_of(places).verify_installed("scx_batch")
    private = places.state / "private.key"
    before = private.read_bytes()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((places.state / "public.key").stat().st_mode) == 0o644
    office_of(places).verify_installed("scx_batch")
    assert private.read_bytes() == before


def test_a_public_key_that_was_changed_is_put_right(places: Places) -> None:
    private = keys.signing_key(places.state)
    (places.state / "public.key").write_text("x")
    assert keys.signing_key(places.state) == private
    assert (places.state / "public.key").read_bytes() == token.public_key_of(private)


def test_nobody_slips_a_key_in(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "private.key").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        keys.signing_key(tmp_path)


def test_a_damaged_key_signs_nothing(places: Places) -> None:
    (places.state / "private.key").write_text("damaged")
    with pytest.raises(ValueError, match=r"bytes|padding"):
        office_of(places).verify_installed("scx_batch")
    assert not token_of(places).exists()


def test_what_does_not_pass_loses_its_token(places: Places) -> None:
    assert office_of(places).verify_installed("scx_batch").passed
    assert reason(places, Fakes(findings=(REJECTION,))).startswith("static: a.c:3: a task is lost")


@pytest.mark.parametrize("file", ["scx_batch/scx_batch.bpf.o", "scx_batch/scx_batch.toml"])
def test_files_that_are_not_as_packaged(places: Places, file: str) -> None:
    office_of(places).verify_installed("scx_batch")
    with (places.schedulers / file).open("ab") as appended:
        appended.write(b"#")
    assert reason(places) == f"static: {file} is not as packaged: reinstall the package"


def test_files_that_are_not_packaged(places: Places) -> None:
    (places.schedulers / "SHA256SUMS").unlink()
    assert reason(places).endswith("not in SHA256SUMS: it is not part of the package")


def test_a_card_that_lies(places: Places) -> None:
    card = places.schedulers / "scx_batch/scx_batch.toml"
    card.write_text(CARD.replace("timeout_ms = 5000", "timeout_ms = 99999"))
    write_sums(places)
    assert "timeout_ms" in reason(places)


def test_a_card_that_cannot_be_read(places: Places) -> None:
    (places.schedulers / "scx_batch/scx_batch.toml").write_bytes(b"#" * 100_000)
    assert "larger than" in reason(places)


def test_a_kernel_without_sched_ext_is_no_failure(places: Places) -> None:
    office_of(places).verify_installed("scx_batch")
    (places.sys / "kernel/sched_ext/state").unlink()
    host = read_host(places, "7.3.4")
    assert "no sched_ext" in reason(places, Fakes(unusable=host.unusable))


def test_sums_that_cannot_be_read_leave_no_token(places: Places) -> None:
    (places.schedulers / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ValueError, match="SHA256SUMS:1"):
        office_of(places).verify_installed("scx_batch")
    assert not token_of(places).exists()


def test_a_policy_that_is_not_installed(places: Places) -> None:
    with pytest.raises(NoSuchPolicy):
        office_of(places).verify_installed("scx_none")


@pytest.mark.parametrize("mark", ["  ", " *", "  ./"])
def test_lines_of_sha256sum(mark: str) -> None:
    assert admission.parse_sums(f"{'a' * 64}{mark}scx_a/scx_a.toml\n") == {
        "scx_a/scx_a.toml": "a" * 64
    }


# ── policies of others


def test_trying_leaves_nothing_behind(places: Places) -> None:
    desk = office_of(places)
    assert desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=False).passed
    assert desk.names() == ("scx_batch",)
    assert not token_of(places, "scx_mine").exists()


def test_enrolment(places: Places) -> None:
    desk = office_of(places, Fakes(compiled=Compiled(make_object(), (), 0.1)))
    assert desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True).passed
    assert desk.names() == ("scx_batch", "scx_mine")
    store = PolicyStore(places.schedulers, places.enrolled)
    assert store.object_bytes("scx_mine") == make_object()
    assert (places.enrolled / "scx_mine/scx_mine.bpf.c").read_bytes() == b"source"
    candidate = token.Candidate("scx_mine", make_object(), OWN_CARD.encode(), {})
    machine = token.read_machine("7.3.4", BTF, read_topology(places.sys))
    public = (places.state / "public.key").read_bytes()
    token.check(token_of(places, "scx_mine").read_bytes(), public, candidate, machine, NOW)
    assert desk.verify_installed("scx_mine").passed


def test_a_second_enrolment_takes_the_place_of_the_first(places: Places) -> None:
    for contents in (b"first", b"second"):
        desk = office_of(places, Fakes(compiled=Compiled(contents, (), 0.1)))
        desk.verify_source("scx_mine", OWN_CARD.encode(), contents, enroll=True)
    store = PolicyStore(places.schedulers, places.enrolled)
    assert store.object_bytes("scx_mine") == b"second"
    assert [path.name for path in places.enrolled.iterdir()] == ["scx_mine"]


def test_what_does_not_pass_is_not_enrolled(places: Places) -> None:
    desk = office_of(places, Fakes(findings=(Finding("X", Severity.REJECT, "no"),)))
    assert not desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True).passed
    assert desk.names() == ("scx_batch",)


def test_a_packaged_policy_cannot_be_replaced(places: Places) -> None:
    fakes = Fakes()
    with pytest.raises(RefusedError, match="a policy of the package"):
        office_of(places, fakes).verify_source("scx_batch", CARD.encode(), b"", enroll=True)
    assert fakes.calls == []


def test_a_package_comes_before_what_was_enrolled(places: Places) -> None:
    desk = office_of(places, Fakes(compiled=Compiled(b"enrolled", (), 0.1)))
    desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True)
    packaged = places.schedulers / "scx_mine"
    packaged.mkdir()
    (packaged / "scx_mine.bpf.o").write_bytes(b"packaged")
    (packaged / "scx_mine.toml").write_text(OWN_CARD)
    report = office_of(places).verify_installed("scx_mine")
    assert "not part of the package" in report.reason
    assert not token_of(places, "scx_mine").exists()


def test_withdrawal(places: Places) -> None:
    desk = office_of(places)
    desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True)
    desk.verify_installed("scx_batch")
    office.withdraw(places, "scx_mine")
    assert desk.names() == ("scx_batch",)
    assert not token_of(places, "scx_mine").exists()
    assert token_of(places).exists()
    for name in ("scx_mine", "scx_batch", "../tokens", ""):
        with pytest.raises(RefusedError, match="enrolled"):
            office.withdraw(places, name)
    assert token_of(places).exists()


def test_revocation(places: Places) -> None:
    assert office_of(places).verify_installed("scx_batch").passed
    digest = report_of(places)["object_sha256"]
    installed = PolicyStore(places.schedulers).object_sha256("scx_batch")
    assert digest == installed
    office.revoke(places, installed, "7.3.4", NOW)
    assert not token_of(places).exists()
    told = "static: it was revoked; 'schedctl revoke --undo scx_batch' takes that back"
    assert report_of(places)["reason"] == told
    assert reason(places) == told


def test_revocation_spares_other_objects(places: Places) -> None:
    desk = office_of(places)
    desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True)
    desk.verify_installed("scx_batch")
    # What cannot be read keeps neither its token nor that of another from being taken away.
    (places.enrolled / "scx_bad").mkdir()
    for end in (".toml", ".bpf.o"):
        (places.enrolled / f"scx_bad/scx_bad{end}").touch()
    with (places.enrolled / "scx_bad/scx_bad.bpf.o").open("wb") as file:
        file.truncate(9 << 20)
    office.revoke(places, token.sha256(b"object"), "7.3.4", NOW)
    assert not token_of(places, "scx_mine").exists()
    assert token_of(places).exists()
    assert report_of(places)["passed"] is True


def test_reinstatement(places: Places) -> None:
    office_of(places).verify_installed("scx_batch")
    digest = PolicyStore(places.schedulers).object_sha256("scx_batch")
    office.revoke(places, "a" * 64, "7.3.4", NOW)
    office.reinstate(places, digest)
    assert token_of(places).exists(), "it had not been revoked"
    office.revoke(places, digest, "7.3.4", NOW)
    office.reinstate(places, digest)
    assert not (places.state / "tokens/scx_batch.report.json").exists()
    assert (places.state / "revoked").read_text() == "a" * 64 + "\n"
    assert office_of(places).verify_installed("scx_batch").passed
    assert token_of(places).exists()


def test_what_is_revoked_cannot_be_enrolled(places: Places) -> None:
    digest = token.sha256(b"object")
    office.revoke(places, digest, "7.3.4", NOW)
    desk = office_of(places)
    report = desk.verify_source("scx_mine", OWN_CARD.encode(), b"source", enroll=True)
    assert not report.passed
    assert f"'schedctl revoke --undo {digest}'" in report.reason
    assert office_of(places).names() == ("scx_batch",)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "a" * 64 + "\n" + "b" * 64])
def test_digests_that_are_none(places: Places, digest: str) -> None:
    with pytest.raises(RefusedError, match="digest"):
        office.revoke(places, digest, "7.3.4", NOW)
    with pytest.raises(RefusedError, match="digest"):
        office.reinstate(places, digest)


def test_a_damaged_list_of_revocations_signs_nothing(places: Places) -> None:
    (places.state / "revoked").write_text("a" * 63 + "\n")
    with pytest.raises(ValueError, match="no digest"):
        office_of(places).verify_installed("scx_batch")
    assert not token_of(places).exists()


# ── the command


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Places], list[str]]:
    """Runs the command with stages that pass everything; gives its arguments for some places."""

    def open_verifier(places: Places, host: object) -> Verifier:
        return Fakes(verdicts=None).verifier()

    monkeypatch.setattr(command, "open_verifier", open_verifier)

    def arguments(places: Places) -> list[str]:
        return [
            *("--schedulers", str(places.schedulers), "--state", str(places.state)),
            *("--trial", str(places.trial), "--sys", str(places.sys), "--release", "7.3.4"),
        ]

    return arguments


def test_the_command(
    places: Places,
    passing: Callable[[Places], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = passing(places)
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == "scx_batch: token signed\n"
    for name in ("scx_gone.token", "scx_gone.report.json", "other"):
        (places.state / "tokens" / name).write_text("x")
    assert command.main(arguments) == 0
    assert sorted(path.name for path in (places.state / "tokens").iterdir()) == [
        "other",
        "scx_batch.report.json",
        "scx_batch.token",
    ]
    capsys.readouterr()
    (places.schedulers / "scx_batch/scx_batch.toml").unlink()
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.startswith("no policies in ")
    (places.state / "private.key").write_text("damaged")
    assert command.main(arguments) == 1
    assert capsys.readouterr().err.startswith("schedcp-verify: ")


def test_the_command_leaves_no_token_when_it_cannot_work(
    places: Places, passing: Callable[[Places], list[str]]
) -> None:
    arguments = passing(places)
    assert command.main(arguments) == 0
    assert token_of(places).exists()
    (places.sys / "kernel/notes").write_bytes(b"")
    assert command.main(arguments) == 1
    assert not token_of(places).exists()


def test_types_that_cannot_be_read(places: Places) -> None:
    (places.sys / "kernel/btf/vmlinux").write_bytes(b"x" * 100)
    host = read_host(places, "7.3.4")
    verifier = pipeline.open_verifier(places, host, remember=False)
    with pytest.raises(ValueError, match="type information"):
        verifier.verify("scx_batch", CARD.encode(), None, make_object())


def test_a_kernel_that_is_not_kept_cannot_be_tried(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(data: bytes, card: Card, kernel: object) -> tuple[Finding, ...]:
        return ()

    monkeypatch.setattr("schedcpd.verify.pipeline.analyse", analyse)
    host = read_host(places, "0.0-none")
    report = pipeline.open_verifier(places, host).verify(
        "scx_batch", CARD.encode(), None, make_object()
    )
    assert report.reason == "kernel: the image of the running kernel 0.0-none is not kept in /boot"


def test_a_state_folder_that_cannot_be_written(places: Places) -> None:
    state = places.state / "file"
    state.write_text("")
    assert command.main(["--schedulers", str(places.schedulers), "--state", str(state)]) == 1
    assert state.read_text() == ""


def test_a_policy_that_is_withdrawn_meanwhile_does_not_keep_the_others_waiting(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "open_verifier", lambda *_: Fakes().verifier())
    monkeypatch.setattr(Office, "names", lambda _: ("scx_a", "scx_batch"))
    (report,) = command.verify_all(places, "7.3.4")
    assert (report.policy, report.passed) == ("scx_batch", True)
