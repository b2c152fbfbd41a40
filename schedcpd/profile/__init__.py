# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 2: what a workload is and what it needs."""
