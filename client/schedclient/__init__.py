# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon as its clients see it: schedctl, the MCP server and the agent."""
