# SPDX-License-Identifier: GPL-2.0-or-later
"""The few words of JSON Schema that the tools use, and arguments checked against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from schedclient.tools.tool import Arguments, Schema
from schedcpd.fields import BadField, Fields

INT64_MAX = 2**63 - 1
MOST_PARAMETERS = 64


def text(description: str, most: int, **more: Any) -> Schema:
    """Text of at most ``most`` characters."""
    return {"type": "string", "description": description, "maxLength": most, **more}


def choice(description: str, choices: Iterable[str], **more: Any) -> Schema:
    """One of some texts."""
    return {"type": "string", "description": description, "enum": list(choices), **more}


def integer(description: str, low: int, high: int, **more: Any) -> Schema:
    """A whole number."""
    return {
        "type": "integer",
        "description": description,
        "minimum": low,
        "maximum": high,
        **more,
    }


def integers(description: str) -> Schema:
    """A table of whole numbers, which may be left out."""
    inside = {"type": "integer", "minimum": -INT64_MAX - 1, "maximum": INT64_MAX}
    return {
        "type": "object",
        "description": description,
        "additionalProperties": inside,
        "maxProperties": MOST_PARAMETERS,
        "default": {},
    }


def arguments(**properties: Schema) -> Schema:
    """A table of arguments; those without a default must be given."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, one in properties.items() if "default" not in one],
        "additionalProperties": False,
    }


# What arguments of several tools are

WORKLOAD = text(
    "the workload: its number from list_workloads, or a unit name such as nginx.service",
    4096,
    minLength=1,
)
POLICY_PATTERN = "^scx_[a-z0-9_]{1,11}$"
POLICY = text("the policy's name, such as scx_batch", 15, pattern=POLICY_PATTERN)
DEPLOYMENT = integer("the number of the deployment", 1, INT64_MAX)
REASON = text("why, in one sentence; people read it in the history", 200, minLength=1)
CURSOR = text(
    "the cursor of the answer before, for what comes next", 9, pattern="^[0-9]*$", default=""
)

# What results are made of

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
TABLE: Schema = {"type": "object"}
STRINGS: Schema = {"type": "array", "items": STRING}


def said(kind: Schema, description: str) -> Schema:
    """The same kind of value, with what it means."""
    return {**kind, "description": description}


def rows(description: str, item: Schema) -> Schema:
    """A list of values of a kind."""
    return {"type": "array", "description": description, "items": item}


def record(properties: Mapping[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """A table with exactly these fields, of which the optional ones may be missing."""
    may_miss = set(optional)
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in may_miss],
        "additionalProperties": False,
    }


def result(properties: Mapping[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """What a tool answers; the cursor is there when there is more."""
    cursor = said(STRING, "give it to the same tool for what comes next; missing at the end")
    return record({**properties, "cursor": cursor}, (*optional, "cursor"))


EXCERPT = result(
    {
        "total_characters": said(INTEGER, "of the whole text"),
        "offset": said(INTEGER, "of this part"),
        "untrusted_text": STRING,
    }
)

# Checking


def checked(schema: Schema, given: object) -> Arguments:
    """The arguments with the defaults of those left out; raises BadField, which names the field."""
    fields = Fields({} if given is None else given)
    properties: Mapping[str, Schema] = schema["properties"]
    fields.only(*properties)
    present = set(fields)
    return {
        name: one["default"]
        if name not in present and "default" in one
        else _value(fields, name, one)
        for name, one in properties.items()
    }


def _value(fields: Fields, name: str, schema: Schema) -> Any:
    match schema["type"]:
        case "integer":
            return fields.integer(name, schema["minimum"], schema["maximum"])
        case "object":
            return _table(fields, name, schema)
    if "enum" in schema:
        return fields.choice(name, schema["enum"])
    return _text(fields, name, schema)


def _text(fields: Fields, name: str, schema: Schema) -> str:
    value = fields.text(name, schema["maxLength"])
    if len(value) < schema.get("minLength", 0):
        raise BadField(f"{name} is empty")
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        raise BadField(f"{name} must be {schema['description']}")
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise BadField(f"{name} has a character in it that is no text")  # D-Bus carries none
    return value


def _table(fields: Fields, name: str, schema: Schema) -> dict[str, int]:
    inside = schema["additionalProperties"]
    table = fields.table(name)
    if len(set(table)) > schema["maxProperties"]:
        raise BadField(f"{name} has more than {schema['maxProperties']} entries")
    return {key: table.integer(key, inside["minimum"], inside["maximum"]) for key in table}
