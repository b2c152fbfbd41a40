# SPDX-License-Identifier: GPL-2.0-or-later
"""The watcher of cgroups, on plain directories, where inotify tells the same as on cgroupfs."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from schedcpd.kernel.inotify import Inotify, Mask, Notice
from schedcpd.watch.cgroups import CgroupWatcher

Told = list[tuple[object, ...]]


def make(root: Path, path: str, populated: bool = False) -> Path:
    """A cgroup as the kernel makes it: with its files, at once."""
    place = root / path
    place.mkdir(parents=True)
    (place / "cgroup.events").write_text(f"populated {populated:d}\nfrozen 0\n")
    return place


def remove(place: Path) -> None:
    for file in place.iterdir():
        file.unlink()
    place.rmdir()


def populate(place: Path, populated: bool) -> None:
    (place / "cgroup.events").write_text(f"populated {populated:d}\nfrozen 0\n")


def listen(watcher: CgroupWatcher) -> Told:
    told: Told = []
    watcher.appeared.connect(lambda path: told.append(("appeared", path)))
    watcher.populated.connect(lambda change: told.append(("populated", *change)))
    watcher.vanished.connect(lambda path: told.append(("vanished", path)))
    watcher.limits_changed.connect(lambda path: told.append(("limits", path)))
    return told


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for 5 s"
        await asyncio.sleep(0.001)


async def settle(told: Told) -> Told:
    """What was told once all that was queued is read: inotify queues at once, a few turns do."""
    for _ in range(20):
        await asyncio.sleep(0)
    return told


@pytest_asyncio.fixture
async def watcher(tmp_path: Path) -> AsyncIterator[CgroupWatcher]:
    one = CgroupWatcher(tmp_path)
    yield one
    one.stop()


async def test_what_is_there_at_the_start(watcher: CgroupWatcher, tmp_path: Path) -> None:
    make(tmp_path, "a.slice", populated=True)
    make(tmp_path, "a.slice/b.service", populated=True)
    make(tmp_path, "a.slice/c.service")
    told = listen(watcher)
    watcher.start()
    assert sorted(told) == [
        ("appeared", "/"),
        ("appeared", "/a.slice"),
        ("appeared", "/a.slice/b.service"),
        ("appeared", "/a.slice/c.service"),
        ("populated", "/a.slice", True),
        ("populated", "/a.slice/b.service", True),
    ]
    assert told.index(("appeared", "/a.slice")) < told.index(("appeared", "/a.slice/b.service"))
    assert len(watcher) == 4


async def test_the_life_of_a_cgroup(watcher: CgroupWatcher, tmp_path: Path) -> None:
    told = listen(watcher)
    watcher.start()
    told.clear()
    place = make(tmp_path, "a.service")
    await until(lambda: ("appeared", "/a.service") in told)
    populate(place, True)
    await until(lambda: ("populated", "/a.service", True) in told)
    populate(place, False)
    await until(lambda: ("populated", "/a.service", False) in told)
    remove(place)
    await until(lambda: ("vanished", "/a.service") in told)
    assert told == [
        ("appeared", "/a.service"),
        ("populated", "/a.service", True),
        ("populated", "/a.service", False),
        ("vanished", "/a.service"),
    ]
    assert len(watcher) == 1


async def test_a_change_that_is_none_is_not_told(watcher: CgroupWatcher, tmp_path: Path) -> None:
    place = make(tmp_path, "a.service", populated=True)
    told = listen(watcher)
    watcher.start()
    told.clear()
    populate(place, True)  # "frozen" changed, say
    (place / "cgroup.procs").write_text("1\n")
    (place / "memory.max").write_text("1\n")
    assert await settle(told) == []


@pytest.mark.parametrize("file", ["cpu.max", "cpu.weight", "cpu.weight.nice", "cpu.idle"])
async def test_limits(watcher: CgroupWatcher, tmp_path: Path, file: str) -> None:
    place = make(tmp_path, "a.service")
    told = listen(watcher)
    watcher.start()
    told.clear()
    (place / file).write_text("1")
    (place / file).write_text("2")
    await until(lambda: bool(told))
    assert await settle(told) == [("limits", "/a.service")]


async def test_nested_cgroups_made_before_the_watch(watcher: CgroupWatcher, tmp_path: Path) -> None:
    told = listen(watcher)
    watcher.start()
    told.clear()
    make(tmp_path, "a.slice/b.slice/c.service/d", populated=True)
    await until(lambda: ("populated", "/a.slice/b.slice/c.service/d", True) in told)
    assert [one[1] for one in told if one[0] == "appeared"] == [
        "/a.slice",
        "/a.slice/b.slice",
        "/a.slice/b.slice/c.service",
        "/a.slice/b.slice/c.service/d",
    ]
    assert len(await settle(told)) == 5  # each told once, though seen by scan and by event


async def test_gone_before_it_could_be_watched(watcher: CgroupWatcher, tmp_path: Path) -> None:
    told = listen(watcher)
    watcher.start()
    told.clear()
    for _ in range(10):
        remove(make(tmp_path, "a.service"))
    assert await settle(told) == []
    assert len(watcher) == 1


async def test_another_cgroup_of_the_same_name(watcher: CgroupWatcher, tmp_path: Path) -> None:
    place = make(tmp_path, "a.service", populated=True)
    told = listen(watcher)
    watcher.start()
    told.clear()
    remove(place)
    place = make(tmp_path, "a.service", populated=True)
    await until(lambda: len(told) >= 3)
    assert await settle(told) == [
        ("vanished", "/a.service"),
        ("appeared", "/a.service"),
        ("populated", "/a.service", True),
    ]
    populate(place, False)  # the new one is watched
    await until(lambda: told[-1] == ("populated", "/a.service", False))


async def test_children_vanish_before_their_parent(watcher: CgroupWatcher, tmp_path: Path) -> None:
    make(tmp_path, "a.slice")
    make(tmp_path, "a.slice/b.service")
    told = listen(watcher)
    watcher.start()
    told.clear()
    remove(tmp_path / "a.slice/b.service")
    remove(tmp_path / "a.slice")
    await until(lambda: len(told) >= 2)
    assert told == [("vanished", "/a.slice/b.service"), ("vanished", "/a.slice")]


async def test_names_that_are_no_text(watcher: CgroupWatcher, tmp_path: Path) -> None:
    names = [b"\xff\xfe.service", b"tab\there.scope", b"esc\x1b[2J.scope", b"x" * 240]
    told = listen(watcher)
    watcher.start()
    told.clear()
    for name in names:
        make(tmp_path, os.fsdecode(name), populated=True)
    await until(lambda: len(told) >= 2 * len(names))
    paths = [str(one[1]) for one in told if one[0] == "populated"]
    assert [os.fsencode(path[1:]) for path in paths] == names


async def test_garbled_events_are_told_printably(
    watcher: CgroupWatcher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = make(tmp_path, os.fsdecode(b"esc\x1b[2J\xff"))
    (place / "cgroup.events").write_text("\x1b[31mpopulated\n")
    watcher.start()
    assert caplog.messages
    assert all(message.isprintable() for message in caplog.messages)


async def test_files_and_links_are_no_cgroups(watcher: CgroupWatcher, tmp_path: Path) -> None:
    told = listen(watcher)
    (tmp_path / "before").symlink_to(tmp_path)
    watcher.start()
    told.clear()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert await settle(told) == []


async def test_lost_events_lead_to_a_new_look(
    watcher: CgroupWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = make(tmp_path, "gone.slice")
    make(tmp_path, "gone.slice/below.service")
    changed = make(tmp_path, "changed.service")
    replaced = make(tmp_path, "replaced.service", populated=True)
    make(tmp_path, "same.service", populated=True)
    told = listen(watcher)
    watcher.start()
    told.clear()
    remove(gone / "below.service")
    remove(gone)
    remove(replaced)
    make(tmp_path, "replaced.service")
    populate(changed, True)
    make(tmp_path, "new.slice/below.service", populated=True)
    real = Inotify.read
    lost = True

    def read(inotify: Inotify) -> list[Notice]:
        nonlocal lost
        notices, lost_now = real(inotify), lost
        lost = False
        return [Notice(-1, Mask.Q_OVERFLOW, "")] if lost_now else notices

    monkeypatch.setattr(Inotify, "read", read)
    await until(lambda: ("limits", "/") in told)
    assert sorted(await settle(told), key=repr) == sorted(
        [
            ("vanished", "/gone.slice/below.service"),
            ("vanished", "/gone.slice"),
            ("vanished", "/replaced.service"),
            ("appeared", "/replaced.service"),
            ("populated", "/changed.service", True),
            ("appeared", "/new.slice"),
            ("appeared", "/new.slice/below.service"),
            ("populated", "/new.slice/below.service", True),
            ("limits", "/"),
        ],
        key=repr,
    )
    assert len(watcher) == 6


async def test_the_inode_of_cgroup_events_is_held(watcher: CgroupWatcher, tmp_path: Path) -> None:
    # Without it the kernel tells nothing of a cgroup whose cgroup.events nobody has open.
    place = make(tmp_path, "a.service")
    watcher.start()
    assert watcher._inotify is not None
    held = watched_inodes(watcher._inotify)
    assert (place / "cgroup.events").stat().st_ino in held
    assert place.stat().st_ino in held


async def test_nothing_of_a_vanished_cgroup_is_kept(
    watcher: CgroupWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # cgroupfs, unlike other filesystems, does not drop the watches of what was removed.
    removed: list[int] = []
    monkeypatch.setattr(Inotify, "remove", lambda _, watch: removed.append(watch))
    told = listen(watcher)
    watcher.start()
    place = make(tmp_path, "a.service")
    await until(lambda: ("appeared", "/a.service") in told)
    watch = next(one for one, here in watcher._by_watch.items() if here.path == "/a.service")
    hold = watcher._by_watch[watch].hold
    remove(place)
    await until(lambda: ("vanished", "/a.service") in told)
    assert watch in removed
    assert hold is None or hold in removed


def watched_inodes(inotify: Inotify) -> set[int]:
    text = Path(f"/proc/self/fdinfo/{inotify.fileno()}").read_text()
    watches = [line.split() for line in text.splitlines() if line.startswith("inotify ")]
    return {int(words[2].removeprefix("ino:"), 16) for words in watches}


async def test_too_many_watches(
    watcher: CgroupWatcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = Inotify.add

    def add(inotify: Inotify, path: str, mask: int) -> int | None:
        if path != str(tmp_path) and Path(path).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(inotify, path, mask)

    make(tmp_path, "a.slice/b.service", populated=True)
    monkeypatch.setattr(Inotify, "add", add)
    told = listen(watcher)
    with caplog.at_level(logging.ERROR):
        watcher.start()
    assert ("populated", "/a.slice/b.service", True) in told  # at least what is there is known
    assert len(caplog.messages) == 1
    assert "fs.inotify.max_user_watches" in caplog.messages[0]
    remove(tmp_path / "a.slice/b.service")
    remove(tmp_path / "a.slice")
    await until(lambda: ("vanished", "/a.slice") in told)


async def test_no_cgroups_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no cgroup hierarchy"):
        CgroupWatcher(tmp_path / "missing").start()


async def test_after_the_stop_nothing_is_told(watcher: CgroupWatcher, tmp_path: Path) -> None:
    told = listen(watcher)
    watcher.start()
    watcher.stop()
    told.clear()
    make(tmp_path, "a.service")
    assert await settle(told) == []
    watcher.stop()  # twice is fine


async def test_the_cost_of_an_event_does_not_grow(watcher: CgroupWatcher, tmp_path: Path) -> None:
    for number in range(500):
        make(tmp_path, f"{number}.service")
    told = listen(watcher)
    watcher.start()
    told.clear()
    calls: list[str] = []
    real = Inotify.add

    def add(inotify: Inotify, path: str, mask: int) -> int | None:
        calls.append(path)
        return real(inotify, path, mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inotify, "add", add)
        remove(make(tmp_path, "new.service"))
        make(tmp_path, "newer.service")
        await until(lambda: ("appeared", "/newer.service") in told)
    assert len(calls) <= 6
