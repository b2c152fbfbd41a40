# SPDX-License-Identifier: GPL-2.0-or-later
"""Broken and sound policies, and what the verifier makes of them."""
