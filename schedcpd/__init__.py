# SPDX-License-Identifier: GPL-2.0-or-later
"""schedcpd: gives each workload on a machine the CPU scheduler that suits it."""

__version__ = "0.2.0"
