# SPDX-License-Identifier: GPL-2.0-or-later
"""What a language model can do with the daemon: one catalogue, for the agent and for MCP."""
