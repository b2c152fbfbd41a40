# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a file of a workload: what is read, and what nobody can be led to."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from schedcpd.errors import FileRefused
from schedcpd.fields import BadField
from schedcpd.reading import request as requests
from schedcpd.reading.request import MOST_LENGTH, MOST_PIDS, Request
from schedcpd.reading.serve import LARGEST_FILE

REPOSITORY = Path(__file__).parents[2]
USER = 65533  # nobody's, where the test is root
PATIENCE_S = 20.0
TOKEN = "ghp_" + "aB3" * 12


def able() -> bool:
    """Whether there can be processes of an ordinary user: root in a container may not make one."""
    if os.geteuid() != 0:
        return True
    try:
        subprocess.run(["/bin/true"], user=USER, group=USER, extra_groups=[], check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


pytestmark = pytest.mark.skipif(not able(), reason="only real root can be somebody else")


def own_cgroup() -> str:
    """The cgroup of this process, which is that of what it starts."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    pytest.skip("no unified cgroup hierarchy")


@dataclass
class Working:
    """A process in a folder, and a reader for it."""

    folder: Path
    pid: int
    cgroup: str

    def ask(self, path: str, offset: int = 0, length: int = 1000, **other: Any) -> dict[str, Any]:
        wanted = Request(self.cgroup, (self.pid,), path, offset, length)
        return self.say(json.dumps({**asdict(wanted), **other}))

    def say(self, line: str) -> dict[str, Any]:
        """What the reader answers to a line."""
        ran = subprocess.run(
            [sys.executable, "-m", "schedcpd.reading.serve"],
            input=line.encode() + b"\n",
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            timeout=PATIENCE_S,
            check=True,
        )
        answer = json.loads(ran.stdout)
        assert isinstance(answer, dict)
        return answer

    def write(self, name: str, data: bytes | str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        if os.geteuid() == 0:
            os.chown(file, USER, USER)
        return file


@pytest.fixture
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    """A workload of an ordinary user: another one where the test is root."""
    folder = Path("/tmp") / f"schedcp-reading-{os.getpid()}"  # others may pass
    folder.mkdir(mode=0o755)
    root = os.geteuid() == 0
    if root:
        os.chown(folder, USER, USER)
    who = {"user": USER, "group": USER, "extra_groups": []} if root else {}
    with subprocess.Popen(["/bin/sleep", "600"], cwd=folder, **who) as process:  # type: ignore[call-overload]
        yield Working(folder, process.pid, own_cgroup())
        process.kill()
    shutil.rmtree(folder)


def test_a_part_of_a_file(working: Working) -> None:
    working.write("Makefile", "all:\n\techo é\n")
    assert working.ask("Makefile") == {"text": "all:\n\techo é\n", "total": 13}
    assert working.ask("Makefile", 5, 5) == {"text": "\techo", "total": 13}
    assert working.ask("Makefile", 99) == {"text": "", "total": 13}
    assert working.ask("Makefile", 0, 0) == {"text": "", "total": 13}
    working.write("sub/deep/notes.txt", "yes")
    assert working.ask("sub/deep/notes.txt")["text"] == "yes"


def test_secrets_stay_where_they_are(working: Working) -> None:
    working.write("settings.ini", f"user = me\npassword = kangaroo\nkey: {TOKEN}\n")
    text = working.ask("settings.ini")["text"]
    assert text == "user = me\npassword = [removed:password]\nkey: [removed:token]\n"


def test_no_window_shows_a_part_of_a_secret(working: Working) -> None:
    working.write("settings.ini", f"key: {TOKEN}\nend\n")
    total = working.ask("settings.ini")["total"]
    for offset in range(0, total, 6):
        assert TOKEN[8:16] not in working.ask("settings.ini", offset, 20)["text"]


def test_a_large_file_is_read_up_to_a_line(working: Working) -> None:
    line = "x" * 62 + " \n"
    working.write("log", line * (LARGEST_FILE // 64) + f"key: {TOKEN}\n" + line * 10)
    end = LARGEST_FILE
    answer = working.ask("log", end - 64, MOST_LENGTH)
    assert answer["text"] == line + "[the file goes on, and is too large to be read]\n"
    working.write("log", "x" * (2 * LARGEST_FILE))
    assert working.ask("log")["text"].startswith("[the file goes on")


def test_what_is_no_text_is_not_read(working: Working) -> None:
    working.write("core", b"\x7fELF\0\0\0")
    assert working.ask("core") == {"refused": "it is no text"}
    working.write("latin", b"caf\xe9 \x1b[2J\xe2\x80\xae x")
    assert working.ask("latin")["text"] == "caf\ufffd \ufffd[2J\ufffd x"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "stays in it"),
        ("../etc/passwd", "stays in it"),
        ("a/../../etc/passwd", "stays in it"),
        ("..", "stays in it"),
        (".ssh/id_ed25519", "hidden"),
        ("a/.env", "hidden"),
        ("./Makefile", "hidden"),
        ("", "no path"),
        ("a\0b", "no path"),
        ("a\nb", "no path"),
        ("x/" * 600, "no path"),
    ],
    ids=range(11),
)
def test_paths_that_lead_out_are_refused_by_both_ends(
    path: str, words: str, working: Working
) -> None:
    with pytest.raises(FileRefused, match=words):
        requests.check_path(path)
    refused = working.ask(path)["refused"]
    assert words in refused or "longer than" in refused


def test_no_link_is_followed(working: Working) -> None:
    working.write("real/Makefile", "mine")
    (working.folder / "file").symlink_to("real/Makefile")
    (working.folder / "folder").symlink_to("real")
    (working.folder / "out").symlink_to("/etc/passwd")
    (working.folder / "root").symlink_to("/")
    (working.folder / "magic").symlink_to("/proc/self/root")
    for path in ("file", "folder/Makefile", "out", "root/etc/passwd", "magic/etc/passwd"):
        assert working.ask(path) == {"refused": "a symbolic link is on the way"}


def test_what_is_no_regular_file_is_not_opened(working: Working) -> None:
    os.mkfifo(working.folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(working.folder / "socket"))
    (working.folder / "folder").mkdir()
    if os.geteuid() == 0:
        for name in ("fifo", "socket", "folder"):
            os.chown(working.folder / name, USER, USER)
    for name in ("fifo", "socket", "folder"):
        assert "it is no regular file" in working.ask(name)["refused"]


def test_what_is_not_there(working: Working) -> None:
    (working.folder / "file").write_text("")
    for path in ("Makefile", "file/Makefile", "no/Makefile"):
        assert "there is no such file" in working.ask(path)["refused"]


def test_processes_that_are_not_those_of_the_workload_say_nothing(working: Working) -> None:
    working.write("Makefile", "all:")
    gone = "none of the processes is there any more"
    assert working.ask("Makefile", cgroup="/system.slice/other.service")["refused"] == gone
    assert working.ask("Makefile", pids=[2**22 + 1])["refused"] == gone
    assert working.ask("Makefile", pids=[])["refused"] == gone


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
class TestAsRoot:
    """What takes several users."""

    def test_what_belongs_to_others_is_not_read(self, working: Working) -> None:
        (working.folder / "theirs").write_text("readable by all")
        assert "does not belong" in working.ask("theirs")["refused"]
        os.link("/etc/passwd", working.folder / "linked") if _same_disk(working.folder) else None
        if (working.folder / "linked").exists():
            assert "does not belong" in working.ask("linked")["refused"]

    def test_it_is_read_with_the_rights_of_the_user(self, working: Working) -> None:
        closed = working.write("closed/file", "x").parent
        closed.chmod(0o700)  # of root: the folder was made by us
        assert "ermission denied" in working.ask("closed/file")["refused"]

    def test_roots_files_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("root's")
        with subprocess.Popen(["/bin/sleep", "600"], cwd=tmp_path) as process:
            answer = Working(tmp_path, process.pid, own_cgroup()).ask("file")
            process.kill()
        assert "runs as root" in answer["refused"]

    def test_the_root_of_the_file_system_is_no_working_directory(self) -> None:
        who = {"user": USER, "group": USER, "extra_groups": []}
        with subprocess.Popen(["/bin/sleep", "600"], cwd="/", **who) as process:  # type: ignore[call-overload]
            answer = Working(Path("/"), process.pid, own_cgroup()).ask("etc/hostname")
            process.kill()
        assert "root of the file system" in answer["refused"]


def _same_disk(folder: Path) -> bool:
    return folder.stat().st_dev == Path("/etc/passwd").stat().st_dev


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "not a table"),
        ("[" * 100_000, "not a table"),
        ("[]", "not a table"),
        ("{}", "cgroup is missing"),
        ('{"cgroup": "/", "pids": [1.5]}', "pids is not a list of whole numbers"),
        ('{"cgroup": "/", "pids": [true]}', "pids is not a list of whole numbers"),
        ('{"cgroup": "/", "pids": [-1]}', "out of bounds"),
        (json.dumps({"cgroup": "/", "pids": [1] * (MOST_PIDS + 1)}), "too long"),
        (json.dumps({"cgroup": "/", "pids": [1], "path": 5}), "path is not text"),
        (
            json.dumps({"cgroup": "/", "pids": [1], "path": "x", "offset": -1, "length": 1}),
            "offset is -1",
        ),
        (
            json.dumps({"cgroup": "/", "pids": [1], "path": "x", "offset": 0, "length": 99999}),
            "length is 99999",
        ),
    ],
    ids=range(11),
)
def test_requests_that_make_no_sense_are_refused(line: str, words: str) -> None:
    with pytest.raises(BadField, match=words):
        requests.decode(line.encode())


def test_a_request_survives_the_way() -> None:
    request = Request("/system.slice/x.service", (7, 9), "sub/Makefile", 5, 100)
    assert requests.decode(requests.encode(request)) == request
