# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage 5: a policy gets into the kernel, is held there, and gets out again."""
