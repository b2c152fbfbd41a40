# SPDX-License-Identifier: GPL-2.0-or-later
"""``org.schedcp.Daemon1.Policy``: an installed policy, its card and its token."""

from schedcpd.bus import names
from schedcpd.bus.conversion import policy_values
from schedcpd.bus.members import ValuesInterface, shown
from schedcpd.model import Policy


class PolicyInterface(ValuesInterface):
    """One installed policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy.card.name
        super().__init__(names.POLICY, names.policy_path(self.policy), policy_values(policy))

    Name = shown("Name", "s")
    Version = shown("Version", "s")
    Title = shown("Title", "s")
    Summary = shown("Summary", "s")
    Suits = shown("Suits", "as")
    Fails = shown("Fails", "as")
    Honours = shown("Honours", "as")
    Ignores = shown("Ignores", "as")
    MinKernel = shown("MinKernel", "s")
    TimeoutMs = shown("TimeoutMs", "u")
    Targeted = shown("Targeted", "b")
    Sha256 = shown("Sha256", "s")
    Admissible = shown("Admissible", "b")
    Token = shown("Token", "s")
    Enrolled = shown("Enrolled", "b")
    Kind = shown("Kind", "s")
    Program = shown("Program", "s")
    Tunables = shown("Tunables", "a(sssvvvssas)")
    Counters = shown("Counters", "a{ss}")
