# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages and the socket they go through: what dbus-next reads and writes with, made safe."""

import socket
from collections.abc import Callable
from io import BufferedIOBase
from struct import pack_into, unpack_from
from typing import Any

from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.constants import MessageFlag, MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message

LARGEST_BODY = 65536  # bytes; what callers may rightly send has less than 1000, but for policies
# Bytes of a body of one text, a line of a bundle, or of three: a policy's name, card and source.
LARGEST_TEXTS = 384 * 1024

# The signatures "s" and "sss" as they stand in the header of a message: field 8, a variant of type
# g. No name or path has such bytes.
_TEXTS = (b"\x08\x01g\x00\x01s\x00", b"\x08\x01g\x00\x03sss\x00")


class PatientSocket:
    """A socket for the writer, which waits until it can write again after a short write."""

    def __init__(self, socket: socket.socket) -> None:
        self._socket = socket

    def send(self, data: memoryview) -> int:
        """Send what there is room for now; returns its length, possibly 0."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


class BoundedUnmarshaller(Unmarshaller):
    """Reads a message whose body is too large as one without a body, and none without room."""

    def __init__(self, stream: BufferedIOBase, has_room: Callable[[], bool]) -> None:
        super().__init__(stream)  # type: ignore[no-untyped-call]
        self._has_room = has_room

    def unmarshall(self) -> Message | None:
        """The message, or None while there is not all of it, or no room."""
        if not self._has_room():
            return None
        message: Message | None = super().unmarshall()  # type: ignore[no-untyped-call]
        return message

    def _unmarshall(self) -> None:
        self.offset = 0
        self.read(16, prefetch=True)  # type: ignore[no-untyped-call]
        order = "<" if self.buf[0:1] == b"l" else ">"
        (body_length,) = unpack_from(f"{order}I", self.buf, 4)
        if body_length > LARGEST_BODY:
            (fields_length,) = unpack_from(f"{order}I", self.buf, 12)
            header_length = 16 + fields_length + (-fields_length) % 8
            length = header_length + body_length
            self.read(length, prefetch=True)  # type: ignore[no-untyped-call]
            # Three texts of any length are three elements to unpack, and quick.
            header = bytes(self.buf[:header_length])
            texts = any(signature in header for signature in _TEXTS)
            if not (texts and body_length <= LARGEST_TEXTS):
                del self.buf[header_length:]
                pack_into("<I", self.buf, 4, 0)
        super()._unmarshall()  # type: ignore[no-untyped-call]


def no_reply(
    destination: str, path: str, interface: str, member: str, signature: str, body: list[Any]
) -> Message:
    """A method call whose reply nobody waits for."""
    return Message(
        destination=destination,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=body,
        flags=MessageFlag.NO_REPLY_EXPECTED,
    )


def result_of(reply: Message | None) -> Any:
    """The first value of a reply (None without one); raises DBusError for an error."""
    assert reply is not None  # dbus-next gives none only for a call without a reply
    if reply.message_type is MessageType.ERROR:
        detail = reply.body[0] if reply.body else reply.error_name
        raise DBusError(reply.error_name, str(detail), reply)
    return reply.body[0] if reply.body else None
