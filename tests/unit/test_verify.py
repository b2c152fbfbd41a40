# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from schedcpd import token
from schedcpd.kernel.topology import read_topology
from schedcpd.verify import __main__ as command
from schedcpd.verify import admission, keys
from schedcpd.verify.__main__ import Places, verify
from unit.made_objects import CARD, DEFAULT_SYMBOLS, Symbol, kernel_btf, make_object

NOW = 1_800_000_000
BTF = kernel_btf("scx_bpf_create_dsq")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """One installed policy on a machine that can run it."""
    policy = tmp_path / "s/scx_batch"
    policy.mkdir(parents=True)
    (policy / "scx_batch.bpf.o").write_bytes(make_object())
    (policy / "scx_batch.toml").write_text(CARD)
    kernel = tmp_path / "sys/kernel"
    for path, contents in (("sched_ext/state", b"disabled"), ("btf/vmlinux", BTF)):
        (kernel / path).parent.mkdir(parents=True)
        (kernel / path).write_bytes(contents)
    (tmp_path / "cmdline").write_text("quiet")
    (tmp_path / "state").mkdir()
    places = Places(tmp_path / "s", tmp_path / "state", tmp_path / "sys", tmp_path / "cmdline")
    write_sums(places)
    return places


def write_sums(places: Places) -> None:
    files = sorted(path for path in places.schedulers.glob("*/*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(places.schedulers)}\n"
        for path in files
    ]
    (places.schedulers / "SHA256SUMS").write_text("".join(lines))


def token_of(places: Places) -> Path:
    return places.state / "tokens/scx_batch.token"


def report_of(places: Places) -> dict[str, object]:
    report = json.loads((places.state / "tokens/scx_batch.report.json").read_text())
    assert isinstance(report, dict)
    return report


def reason(places: Places) -> str:
    (verdict,) = verify(places, "7.3.4", NOW)
    assert not token_of(places).exists()
    assert report_of(places)["reason"] == verdict.reason
    assert report_of(places)["admitted"] is False
    return verdict.reason


def test_a_policy_that_may_be_loaded(places: Places) -> None:
    (verdict,) = verify(places, "7.3.4", NOW)
    assert verdict.reason == ""
    candidate = token.Candidate("scx_batch", make_object(), CARD.encode(), {"batch_level": 3})
    machine = token.read_machine("7.3.4", BTF, read_topology(places.sys))
    public = (places.state / "public.key").read_bytes()
    signed = token.check(token_of(places).read_bytes(), public, candidate, machine, NOW)
    assert signed.parameters["slice_ns"] == (100_000, 100_000_000)
    assert signed.expires_at == NOW + 30 * 24 * 3600
    report = (places.state / "tokens/scx_batch.report.json").read_bytes()
    assert signed.report_sha256 == token.sha256(report)
    assert report_of(places)["kfuncs"] == {"scx_bpf_create_dsq": "callable"}


def test_the_key_is_made_once_and_kept_to_itself(places: Places) -> None:
    verify(places, "7.3.4", NOW)
    private = places.state / "private.key"
    before = private.read_bytes()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((places.state / "public.key").stat().st_mode) == 0o644
    verify(places, "7.3.4", NOW)
    assert private.read_bytes() == before
    assert sorted(path.name for path in places.state.iterdir()) == [
        "private.key",
        "public.key",
        "tokens",
    ]


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
    verify(places, "7.3.4", NOW)
    (places.state / "private.key").write_text("damaged")
    with pytest.raises(ValueError, match=r"bytes|padding"):
        verify(places, "7.3.4", NOW)
    assert not token_of(places).exists()


def test_tokens_of_policies_that_are_gone_are_removed(places: Places) -> None:
    verify(places, "7.3.4", NOW)
    for name in ("scx_gone.token", "scx_gone.report.json", "other"):
        (places.state / "tokens" / name).write_text("x")
    verify(places, "7.3.4", NOW)
    assert sorted(path.name for path in (places.state / "tokens").iterdir()) == [
        "other",
        "scx_batch.report.json",
        "scx_batch.token",
    ]


@pytest.mark.parametrize("file", ["scx_batch/scx_batch.bpf.o", "scx_batch/scx_batch.toml"])
def test_files_that_are_not_as_packaged(places: Places, file: str) -> None:
    verify(places, "7.3.4", NOW)
    with (places.schedulers / file).open("ab") as appended:
        appended.write(b"#")
    assert reason(places) == f"{file} is not as packaged: reinstall the package"


def test_files_that_are_not_packaged(places: Places) -> None:
    (places.schedulers / "SHA256SUMS").unlink()
    assert reason(places).endswith("not in SHA256SUMS: it is not part of the package")


def test_a_card_that_lies(places: Places) -> None:
    card = places.schedulers / "scx_batch/scx_batch.toml"
    card.write_text(CARD.replace("nr_enqueued", "nr_other"))
    write_sums(places)
    assert reason(places) == "it has no counter nr_other"
    card.write_text(CARD.replace("timeout_ms = 5000", "timeout_ms = 99999"))
    write_sums(places)
    assert "timeout_ms" in reason(places)


def test_an_object_that_is_none(places: Places) -> None:
    (places.schedulers / "scx_batch/scx_batch.bpf.o").write_bytes(b"text")
    write_sums(places)
    assert "not a little-endian 64-bit ELF file" in reason(places)


def test_kfuncs_that_cannot_be_called(places: Places) -> None:
    btf = places.sys / "kernel/btf/vmlinux"
    btf.write_bytes(kernel_btf(broken=["scx_bpf_create_dsq"]))
    assert reason(places).startswith("scx_bpf_create_dsq: this kernel's type information")
    btf.write_bytes(kernel_btf())
    assert reason(places) == "scx_bpf_create_dsq: this kernel does not have it"


def test_kfuncs_that_the_card_forgot(places: Places) -> None:
    data = make_object(symbols=[*DEFAULT_SYMBOLS, Symbol("scx_bpf_forgotten")])
    (places.schedulers / "scx_batch/scx_batch.bpf.o").write_bytes(data)
    write_sums(places)
    assert reason(places) == "scx_bpf_forgotten: this kernel does not have it"


def test_a_kernel_without_sched_ext_is_no_failure(places: Places) -> None:
    verify(places, "7.3.4", NOW)
    (places.sys / "kernel/sched_ext/state").unlink()
    assert "no sched_ext" in reason(places)


def test_types_that_cannot_be_read_leave_no_token(places: Places) -> None:
    verify(places, "7.3.4", NOW)
    (places.sys / "kernel/btf/vmlinux").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="type information"):
        verify(places, "7.3.4", NOW)
    assert not token_of(places).exists()


def test_sums_that_cannot_be_read_leave_no_token(places: Places) -> None:
    verify(places, "7.3.4", NOW)
    (places.schedulers / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ValueError, match="SHA256SUMS:1"):
        verify(places, "7.3.4", NOW)
    assert not token_of(places).exists()


@pytest.mark.parametrize("mark", ["  ", " *", "  ./"])
def test_lines_of_sha256sum(mark: str) -> None:
    assert admission.parse_sums(f"{'a' * 64}{mark}scx_a/scx_a.toml\n") == {
        "scx_a/scx_a.toml": "a" * 64
    }


def test_the_command(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--schedulers", str(places.schedulers), "--state", str(places.state)]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.startswith("scx_batch: ")
    (places.schedulers / "scx_batch/scx_batch.toml").unlink()
    assert command.main(arguments) == 0
    assert capsys.readouterr().out.startswith("no policies in ")
    (places.state / "private.key").write_text("damaged")
    assert command.main(arguments) == 1
    assert capsys.readouterr().err.startswith("schedcp-verify: ")


def test_a_state_folder_that_cannot_be_written(places: Places) -> None:
    state = places.state / "file"
    state.write_text("")
    assert command.main(["--schedulers", str(places.schedulers), "--state", str(state)]) == 1
    assert state.read_text() == ""
