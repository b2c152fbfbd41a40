# SPDX-License-Identifier: GPL-2.0-or-later
"""How well the repository's search does on the questions of ``queries.toml``, printed.

PYTHONPATH=tests:. .venv/bin/python -m unit.repository.recall
"""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from unit.repository.samples import remembered

HERE = Path(__file__).parent
SHOWN = 3


@dataclass(frozen=True)
class Asked:
    """A question, the right answers, and what was answered."""

    ask: str
    right: tuple[str, ...]
    held_out: bool
    found: tuple[str, ...]

    @property
    def recall(self) -> float:
        """The part of the right answers that is among the first."""
        return len(set(self.right) & set(self.found)) / len(self.right)


def ask_all(folder: Path) -> tuple[Asked, ...]:
    """Every question, asked of a repository below ``folder``."""
    questions = tomllib.loads((HERE / "queries.toml").read_text())["query"]
    with remembered(folder) as repository:
        return tuple(
            Asked(
                one["ask"],
                tuple(one["right"]),
                one.get("held_out", False),
                tuple(f"{hit.kind}/{hit.name}" for hit in repository.search(one["ask"], "", SHOWN)),
            )
            for one in questions
        )


def mean(asked: tuple[Asked, ...], held_out: bool) -> float:
    """The mean recall of the questions that were tuned on, or of those that were not."""
    recalls = [one.recall for one in asked if one.held_out is held_out]
    return sum(recalls) / len(recalls)


def main() -> None:
    """Print what was missed, and the figures."""
    with tempfile.TemporaryDirectory() as folder:
        asked = ask_all(Path(folder))
    for one in asked:
        if one.recall < 1:
            print(f"missed{' (held out)' if one.held_out else ''}: {one.ask}")
            print(f"  wanted {', '.join(one.right)}\n  found  {', '.join(one.found)}")
    number = sum(not one.held_out for one in asked)
    print(f"recall at {SHOWN}: {mean(asked, False):.3f} of {number} questions tuned on, ", end="")
    print(f"{mean(asked, True):.3f} of {len(asked) - number} held out")


if __name__ == "__main__":
    main()
