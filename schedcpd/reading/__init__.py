# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading files of workloads, as the users that they run as, in a process of its own."""
