# SPDX-License-Identifier: GPL-2.0-or-later
"""Bundles: what one machine signs another takes, and nothing else."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schedcpd import token
from schedcpd.errors import BundleRefused, NoSuchEntry, RepositoryDamaged
from schedcpd.model import ForeignProgram, Policy
from schedcpd.repository import bundles
from schedcpd.repository.bundles import LINE_LIMIT, MOST_ITEMS, Keys, packed
from schedcpd.repository.items import Source
from schedcpd.repository.repository import Repository
from unit.repository.samples import install, installed, opened, outcome, quarantine

BASE64 = string.ascii_letters + string.digits + "+/"


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Repository]:
    """A machine with something of each kind."""
    folder = tmp_path / "sender"
    store = install(folder / "schedulers")
    taught = (outcome(deployment=5, effect=0.5, low=0.4, high=0.6, metric="jobs", host=""),)
    harm = (quarantine("scx_bad", "cd" * 32, "", "others waited 40 ms"),)
    policies: dict[str, Policy] = installed(store, "scx_longest")
    # An enrolled scheduler of somebody else has no source that could travel.
    other = replace(policies["scx_fair"].card, name="scx_other", program=ForeignProgram("", "", ""))
    policies["scx_other"] = replace(policies["scx_fair"], card=other, enrolled=True)
    given: dict[str, Any] = {
        "outcomes": lambda: taught,
        "quarantines": lambda: harm,
        "installed": lambda: policies,
    }
    with opened(folder, **given) as made:
        made.annotate("policy", "scx_fair", "zebra stripes", 1000)
        yield made


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Repository]:
    """A machine that trusts the sender."""
    folder = tmp_path / "receiver"
    install(folder / "schedulers")
    with opened(folder) as made:
        yield made


@pytest.fixture
def line(sender: Repository, tmp_path: Path) -> str:
    """What the sender has, all on one line; its key is trusted by the receiver as fleet-a."""
    text, following = sender.export(0)
    assert following == 0
    trust(tmp_path, (tmp_path / "sender/bundle/public.key").read_bytes())
    return text


def trust(tmp_path: Path, key: bytes, name: str = "fleet-a") -> None:
    folder = tmp_path / "receiver/trusted-keys.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.pub").write_bytes(key)


def signed(tmp_path: Path, payload: str) -> str:
    """A line that says what the sender would never say, signed with its key."""
    private = (tmp_path / "sender/bundle/private.key").read_bytes()
    signature = base64.b64encode(token.sign_bytes(payload.encode(), private)).decode()
    return f"{token.public_key_of(private).decode().strip()} {signature} {payload}"


def test_what_one_machine_learnt_is_found_on_another(line: str, receiver: Repository) -> None:
    told: list[tuple[str, str]] = []
    receiver.noted.connect(told.append)
    assert receiver.take(line) == {"antipattern": 1, "note": 1, "outcome": 1, "policy": 1}
    ((_, message),) = told
    assert message.startswith("taken from bench, signed by fleet-a: ")
    assert receiver.read("outcome", "5@fleet-a", "").startswith("scx_batch for xz of user 1000")
    assert "machine bench" in receiver.read("outcome", "5@fleet-a", "")
    assert "zebra" in receiver.read("note", "1@fleet-a", "")
    assert [one.name for one in receiver.search("host:bench zebra", "", 5)] == ["1@fleet-a"]
    name = f"quarantine-scx_bad-{'cd' * 6}@fleet-a"
    assert "40 ms" in receiver.read("antipattern", name, "")
    receiver.take(line)
    assert len(receiver.search("zebra", "note", 9)) == 1


def test_a_policy_that_comes_is_a_text_and_no_policy(
    line: str, receiver: Repository, sender: Repository
) -> None:
    receiver.take(line)
    for part in ("card", "source"):
        assert receiver.read("policy", "scx_longest@fleet-a", part) == sender.read(
            "policy", "scx_longest", part
        )
    # The machine's own is what it was, and nothing can be decided on the one that came.
    assert receiver.read("policy", "scx_longest", "card")
    with pytest.raises(NoSuchEntry):
        receiver.annotate("policy", "scx_longest@fleet-b", "x", 0)


def test_nothing_private_travels(line: str, tmp_path: Path) -> None:
    private = (tmp_path / "sender/bundle/private.key").read_text().strip()
    assert private not in line
    assert (tmp_path / "sender/bundle/private.key").stat().st_mode & 0o777 == 0o600
    payload = json.loads(line.split(" ", 2)[2])
    assert set(payload) == {"at", "bundle", "host", "items"}
    assert "token" not in {key for item in payload["items"] for key in item["entry"]}


def test_what_came_is_not_handed_on(line: str, receiver: Repository) -> None:
    receiver.take(line)
    assert receiver.export(0) == ("", 0)


def test_a_stranger_is_not_believed(line: str, receiver: Repository, tmp_path: Path) -> None:
    (tmp_path / "receiver/trusted-keys.d/fleet-a.pub").unlink()
    with pytest.raises(BundleRefused, match="not trusted here"):
        receiver.take(line)
    _, other = token.generate_keys()
    trust(tmp_path, other)
    with pytest.raises(BundleRefused, match="not trusted here"):
        receiver.take(line)


def test_a_trusted_key_signs_for_itself_only(
    line: str, receiver: Repository, tmp_path: Path
) -> None:
    _, other = token.generate_keys()
    trust(tmp_path, other, "fleet-b")
    forged = f"{other.decode().strip()} {line.partition(' ')[2]}"
    with pytest.raises(BundleRefused, match="bad signature"):
        receiver.take(forged)


def test_no_character_can_be_changed(line: str, receiver: Repository) -> None:
    step = max(len(line) // 400, 1)
    places = {*range(200), *range(0, len(line), step), len(line) - 1}
    for place in sorted(place for place in places if place < len(line)):
        other = "A" if line[place] != "A" else "B"
        with pytest.raises(BundleRefused):
            receiver.take(line[:place] + other + line[place + 1 :])
    for cut in (1, len(line) // 2, len(line) - 1):
        with pytest.raises(BundleRefused):
            receiver.take(line[:cut])
    key, signature, payload = line.split(" ", 2)
    # Of a signature's last character only the two highest bits of six mean something.
    for last in BASE64.replace(signature[-3], ""):
        with pytest.raises(BundleRefused):
            receiver.take(f"{key} {signature[:-3]}{last}== {payload}")
    assert receiver.search("zebra", "", 5) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b c",
        "\udcff \0 {}",
        "x" * (LINE_LIMIT + 1),
        "../../etc/passwd sig {}",
    ],
)
def test_rubbish_is_refused(text: str, receiver: Repository, line: str) -> None:
    with pytest.raises(BundleRefused):
        receiver.take(text)


def item(**changes: Any) -> str:
    """A payload with one outcome, of which some fields are others."""
    entry = json.loads(json.dumps(bundles._table(outcome())))
    entry["entry"].update(changes)
    return json.dumps({"bundle": 1, "host": "h", "at": 1.0, "items": [entry]})


CARD = (Path(__file__).parents[3] / "schedulers/scx_fair/scx_fair.toml").read_text()


def policy(**changes: Any) -> str:
    entry = {"name": "scx_fair", "card": CARD, "source": "int x;", **changes}
    items = [{"kind": "policy", "entry": entry}]
    return json.dumps({"bundle": 1, "host": "h", "at": 1.0, "items": items})


HOSTILE: dict[str, str] = {
    "no JSON": "{",
    "not a table": "[]",
    "nothing": "{}",
    "deep": "[" * 100_000,
    "deep tables": '{"a":' * 50_000,
    "another version": '{"bundle": 2, "host": "h", "at": 1.0, "items": []}',
    "an unknown field": '{"bundle": 1, "host": "h", "at": 1.0, "items": [], "token": "x"}',
    "a long number": '{"bundle": ' + "9" * 100_000 + "}",
    "infinity": '{"bundle": 1, "host": "h", "at": Infinity, "items": []}',
    "a host that moves the cursor": '{"bundle": 1, "host": "\\u001b[2J", "at": 1.0, "items": []}',
    "too many items": json.dumps(
        {"bundle": 1, "host": "h", "at": 1.0, "items": [{}] * (MOST_ITEMS + 1)}
    ),
    "an item of no kind": '{"bundle": 1, "host": "h", "at": 1.0, "items": [{"kind": "key"}]}',
    "a decision": json.dumps(
        {"bundle": 1, "host": "h", "at": 1.0, "items": [{"kind": "standing", "entry": {}}]}
    ),
    "NaN": item(effect=float("nan")),
    "a huge figure": item(effect=1e300),
    "a negative count": item(pairs=-1),
    "a truth for a number": item(pairs=True),
    "another class": item(work="root"),
    "a long text": item(reason="x" * 1000),
    "an escape": item(workload="\x1b]0;title\x07"),
    "half a character": item(workload="\ud800"),
    "a parameter that is no name": item(parameters={"a b": 1}),
    "a parameter that is no number": item(parameters={"a": "1"}),
    "many parameters": item(parameters={f"p{number}": 1 for number in range(100)}),
    "a field too many": item(sha="x"),
    "a path for a name": policy(name="../../etc/passwd"),
    "a name with a signer": policy(name="scx_a@b"),
    "another card": policy(name="scx_batch"),
    "no card": policy(card="name ="),
    "a card that is too long": policy(card="#" * 70_000),
    "a source with NUL": policy(source="int x;\0"),
    "a policy with a token": policy(token="x"),
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_a_signer_is_not_trusted_to_write_well(
    payload: str, line: str, receiver: Repository, tmp_path: Path
) -> None:
    with pytest.raises(BundleRefused):
        receiver.take(signed(tmp_path, payload))
    assert receiver.search("", "outcome", 5) == ()


def test_the_samples_of_the_hostile_are_sound_otherwise(
    line: str, receiver: Repository, tmp_path: Path
) -> None:
    assert receiver.take(signed(tmp_path, item())) == {"outcome": 1}
    assert receiver.take(signed(tmp_path, policy())) == {"policy": 1}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "fleet-a.pub").write_bytes(b"\xff" * 10),
        lambda folder: (folder / "big.pub").write_bytes(b"x" * 5000),
        lambda folder: (folder / "link.pub").symlink_to("/etc/passwd"),
    ],
)
def test_a_folder_of_keys_that_cannot_be_read_trusts_nobody(
    spoil: Callable[[Path], object], line: str, receiver: Repository, tmp_path: Path
) -> None:
    spoil(tmp_path / "receiver/trusted-keys.d")
    with pytest.raises(BundleRefused):
        receiver.take(line)


def test_a_key_that_is_damaged_or_has_an_odd_name_trusts_nobody(
    line: str, receiver: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "receiver/trusted-keys.d"
    (folder / "fleet-a.pub").rename(folder / "fleet\x1b[2J.pub")
    with pytest.raises(BundleRefused, match="not trusted"):
        receiver.take(line)
    (folder / "short.pub").write_text("AAAA\n")
    with pytest.raises(BundleRefused, match="damaged"):
        receiver.take(f"AAAA {line.partition(' ')[2]}")


def test_items_go_on_as_many_lines_as_they_need(tmp_path: Path) -> None:
    many = [outcome(deployment=number) for number in range(2500)]
    lines = packed(many)
    assert [one for line in lines for one in line] == many
    assert all(len(line) <= MOST_ITEMS for line in lines)
    keys = Keys(tmp_path / "key", tmp_path / "trusted")
    for line in lines:
        assert len(bundles.seal(bundles.Line("h", 1.0, line), keys)) <= LINE_LIMIT


def test_what_nobody_could_read_stays_at_home() -> None:
    good = outcome()
    odd = replace(good, workload="/user.slice/caf\udce9")
    huge = Source("scx_fair", CARD, "/* é */" * 80_000)
    assert packed([odd, huge, good]) == [(good,)]
    assert packed([]) == []


def test_a_big_policy_has_a_line_of_its_own(tmp_path: Path) -> None:
    big = Source("scx_fair", CARD, "int x;\n" * 30_000)
    lines = packed([outcome(), big, outcome()])
    assert [len(line) for line in lines] == [1, 1, 1]


def test_without_a_place_for_its_key_nothing_is_signed(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    with (
        opened(tmp_path, outcomes=lambda: (outcome(),)) as repository,
        pytest.raises(RepositoryDamaged),
    ):
        repository.export(0)
