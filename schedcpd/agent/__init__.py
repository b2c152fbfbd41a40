# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent: a language model that plans for workloads, as a service of its own without rights."""
