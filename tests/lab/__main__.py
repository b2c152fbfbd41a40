# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's command line: `python -m lab`.

Exit codes: the command's own; 2 wrong usage, 69 something could not be built, 70 the VM was lost,
124 the command outlived --timeout.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from lab import housekeeping, image, kernels, roots, snapshot, terminal
from lab.errors import CommandTimeout, LabError, VmLost
from lab.image import Image
from lab.machine import Machine
from lab.place import REPO, Lab, say

EXIT_BUILD = 69
EXIT_VM_LOST = 70
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 130


def chosen_image(lab: Lab, args: argparse.Namespace) -> Image:
    """The image for --deb, or the one built last."""
    return image.build(lab, args.deb) if args.deb else image.current(lab)


def resumed(lab: Lab, args: argparse.Namespace) -> Machine:
    """A machine as the options ask for, continued from its snapshot where there can be one."""
    kernel = kernels.get(lab, args.kernel)
    if not kernel.has_modules:
        return Machine.boot(chosen_image(lab, args), kernel, memory=args.memory, cpus=args.cpus)
    saved = snapshot.get(chosen_image(lab, args), kernel, memory=args.memory, cpus=args.cpus)
    return Machine.resume(saved)


def build(lab: Lab, args: argparse.Namespace) -> int:
    """Build everything a test run needs."""
    made = image.build(lab, args.deb)
    saved = snapshot.get(made, kernels.get(lab, args.kernel), memory=args.memory, cpus=args.cpus)
    say(f"image {made.path}\nlab: snapshot {saved.dir}")
    return 0


def run(lab: Lab, args: argparse.Namespace) -> int:
    """Run one command in a resumed machine."""
    command = args.command[0] if len(args.command) == 1 else args.command
    with resumed(lab, args) as machine:
        result = machine.run(command, user=args.user, timeout_s=args.timeout, check=False)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    return result.exit_code


def shell(lab: Lab, args: argparse.Namespace) -> int:
    """Connect the terminal to a resumed machine's console."""
    with resumed(lab, args) as machine:
        say("connected to the console; Ctrl-] ends the machine")
        start = b"\r" if args.user == "root" else f"exec runuser -l {args.user}\r".encode()
        terminal.bridge(machine.wiring.socket("serial"), start)
    return 0


def root(lab: Lab, args: argparse.Namespace) -> int:
    """Run one command in the build root with the checkout at /src."""
    return roots.run_in_root(args.command, lab=lab, binds={REPO: "/src"}, cwd="/src").returncode


def show_kernels(lab: Lab, args: argparse.Namespace) -> int:
    """List or fetch kernels."""
    for series in args.series:
        kernels.get(lab, series, refresh=args.refresh)
    here = kernels.fetched(lab)
    for series, version in kernels.available(lab, refresh=args.refresh).items():
        kept = f"unpacked: {here[series].version}" if series in here else "not fetched"
        print(f"{series:6} {version:32} {kept}")
    return 0


def status(lab: Lab, _args: argparse.Namespace) -> int:
    """Say what is cached."""
    print(housekeeping.report(lab))
    return 0


def clean(lab: Lab, args: argparse.Namespace) -> int:
    """Remove artefacts nobody uses any more, or all of them."""
    housekeeping.clean(lab, everything=args.all)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="python -m lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = top.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, action: Callable[[Lab, argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=action.__doc__, description=action.__doc__)
        sub.set_defaults(action=action)
        return sub

    for name, action in (("build", build), ("run", run), ("shell", shell)):
        sub = add(name, action)
        sub.add_argument(
            "--deb",
            type=Path,
            metavar="FILE",
            help="install this schedcp package first, and schedcp-agent from beside it",
        )
        sub.add_argument(
            "--kernel",
            default=kernels.DEFAULT_SERIES,
            metavar="SERIES",
            help="default: %(default)s",
        )
        sub.add_argument("--memory", default="2G", help="default: %(default)s")
        sub.add_argument("--cpus", type=int, default=2, help="default: %(default)s")
        if name != "build":
            sub.add_argument(
                "--user",
                nargs="?",
                const="user",
                default="root",
                help="be this user; `user` if no name is given",
            )
        if name == "run":
            sub.add_argument(
                "--timeout",
                type=float,
                default=600.0,
                metavar="SECONDS",
                help="default: %(default)s",
            )
            sub.add_argument(
                "command", nargs="+", metavar="CMD", help="after --; a single word goes through sh"
            )
    add("root", root).add_argument("command", nargs="+", metavar="CMD", help="after --")
    listing = add("kernels", show_kernels)
    listing.add_argument("series", nargs="*", metavar="SERIES", help="fetch these")
    listing.add_argument("--refresh", action="store_true", help="ask the archive again")
    add("status", status)
    add("clean", clean).add_argument("--all", action="store_true", help="also what is in use")
    return top


def on_terminate(_number: int, _frame: FrameType | None) -> None:
    """Turn SIGTERM and SIGHUP into an ordinary exit, so that everything is cleaned up."""
    raise SystemExit(128 + signal.SIGTERM)


def main() -> int:
    """Run one action and map its errors to exit codes."""
    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGHUP, on_terminate)
    args = parser().parse_args()
    try:
        return int(args.action(Lab.from_env(), args))
    except VmLost as exc:
        code, text = EXIT_VM_LOST, str(exc)
    except CommandTimeout as exc:
        code, text = EXIT_TIMEOUT, str(exc)
    except LabError as exc:
        code, text = EXIT_BUILD, str(exc)
    except KeyboardInterrupt:
        code, text = EXIT_INTERRUPTED, "interrupted"
    say(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
