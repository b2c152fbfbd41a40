# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: what commands there are, and how they are parsed."""
