# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf through ctypes, as far as the loaders of policies and of the probes need it.

No Python binding of libbpf's object API is in Debian. Only the loaders' children import this.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

MINIMUM = (1, 4)  # the first that gives access to a struct_ops map before it is loaded
MAP_TYPE_STRUCT_OPS = 26
MAP_TYPES_HASH = (1, 9)  # BPF_MAP_TYPE_HASH and BPF_MAP_TYPE_LRU_HASH
MAP_TYPES_PER_CPU = (5, 6)  # BPF_MAP_TYPE_PERCPU_HASH and BPF_MAP_TYPE_PERCPU_ARRAY
BTF_KIND_STRUCT = 4
BTF_MEMBERS = 0xFFFF  # in a type's info: how many there are
PRINT_WARN = 0
PRINT_LINES = 200
PRINT_LINE_BYTES = 4096
# The kernel keeps the end of a log that is longer; pages that it does not write cost nothing.
KERNEL_LOG_BYTES = 16 << 20

PrintCallback = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


class LibbpfError(Exception):
    """A libbpf call failed: what was tried, and its errno (0 when there is none)."""

    def __init__(self, tried: str, code: int) -> None:
        self.tried = tried
        self.code = code
        super().__init__(f"{tried}: {errno.errorcode.get(code, code)}")


class OpenOptions(ctypes.Structure):
    """``struct bpf_object_open_opts``; ``sz`` tells libbpf how much of it is there."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("reserved", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


class BtfType(ctypes.Structure):
    """``struct btf_type``; the ``struct btf_member`` that follow it are of the same size."""

    _fields_ = (("name", c_uint32), ("info", c_uint32), ("size", c_uint32))


FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_set_print": (c_void_p, (PrintCallback,)),
    "bpf_object__open_mem": (c_void_p, (c_void_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__update_elem": (
        c_int,
        (c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_uint64),
    ),
    "bpf_map__lookup_elem": (
        c_int,
        (c_void_p, c_char_p, c_size_t, c_void_p, c_size_t, c_uint64),
    ),
    "bpf_map__get_next_key": (c_int, (c_void_p, c_char_p, c_void_p, c_size_t)),
    "bpf_map__delete_elem": (c_int, (c_void_p, c_char_p, c_size_t, c_uint64)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, ctypes.POINTER(c_size_t))),
    "bpf_map__attach_struct_ops": (c_void_p, (c_void_p,)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "btf__free": (None, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__detach": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
}


class Libbpf:
    """The library, with its messages captured; LibbpfError when it is missing or too old."""

    def __init__(self, soname: str = "libbpf.so.1") -> None:
        try:
            self.lib = ctypes.CDLL(soname, use_errno=True)
            for name, (result, arguments) in FUNCTIONS.items():
                function = getattr(self.lib, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as exc:
            raise LibbpfError(f"opening {soname}: {exc}", 0) from exc
        version = (self.lib.libbpf_major_version(), self.lib.libbpf_minor_version())
        if version < MINIMUM:
            wanted, found = (".".join(map(str, pair)) for pair in (MINIMUM, version))
            raise LibbpfError(f"libbpf {wanted} or newer is needed, this is {found}", 0)
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.restype = c_int
        self._vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)
        self.lines: list[str] = []
        # libbpf keeps the bare pointer: the callback must live as long as this object.
        self._print = PrintCallback(self._on_print)
        self.lib.libbpf_set_print(self._print)

    def _on_print(self, level: int, template: bytes, arguments: int) -> int:
        if level == PRINT_WARN and len(self.lines) < PRINT_LINES:
            line = ctypes.create_string_buffer(PRINT_LINE_BYTES)
            self._vsnprintf(line, PRINT_LINE_BYTES, template, arguments)
            self.lines.append(line.value.decode("utf-8", "replace").rstrip())
        return 0

    def kernel_members(self, struct: str) -> frozenset[str]:
        """The members of a structure of the running kernel; none when it has no such structure."""
        ctypes.set_errno(0)
        btf = self.lib.btf__load_vmlinux_btf()
        if not btf:
            raise LibbpfError("reading the kernel's types", ctypes.get_errno())
        try:
            number = self.lib.btf__find_by_name_kind(btf, struct.encode(), BTF_KIND_STRUCT)
            if number < 0:
                return frozenset()
            found = BtfType.from_address(self.lib.btf__type_by_id(btf, number))
            members = BtfType * (found.info & BTF_MEMBERS)
            names = members.from_address(ctypes.addressof(found) + ctypes.sizeof(BtfType))
            return frozenset(
                self.lib.btf__name_by_offset(btf, one.name).decode("ascii", "replace")
                for one in names
            )
        finally:
            self.lib.btf__free(btf)

    def open(self, data: bytes, name: str) -> BpfObject:
        """Open an object from memory; ``name`` (15 characters at most) prefixes its maps."""
        return BpfObject(self, data, name)


class BpfObject:
    """One opened object; it lives until the process ends, and so do the views of its maps."""

    def __init__(self, libbpf: Libbpf, data: bytes, name: str) -> None:
        self._lib = libbpf.lib
        self._data = data
        self._log = ctypes.create_string_buffer(KERNEL_LOG_BYTES)
        options = OpenOptions(
            sz=ctypes.sizeof(OpenOptions),
            object_name=name.encode(),
            kernel_log_buf=ctypes.addressof(self._log),
            kernel_log_size=KERNEL_LOG_BYTES,
        )
        ctypes.set_errno(0)
        self._object = self._lib.bpf_object__open_mem(data, len(data), ctypes.byref(options))
        if not self._object:
            raise LibbpfError("opening the object", ctypes.get_errno())

    @property
    def kernel_log(self) -> str:
        """What the verifier wrote."""
        return self._log.value.decode("utf-8", "replace")

    def struct_ops(self) -> list[int]:
        """The struct_ops maps, as libbpf's pointers."""
        return [
            pointer
            for pointer in self._maps()
            if self._lib.bpf_map__type(pointer) == MAP_TYPE_STRUCT_OPS
        ]

    def _maps(self) -> Iterator[int]:
        pointer = self._lib.bpf_object__next_map(self._object, None)
        while pointer:
            yield pointer
            pointer = self._lib.bpf_object__next_map(self._object, pointer)

    def area(self, section: str) -> memoryview:
        """The memory of the map of a data section, shared with the kernel once it is loaded."""
        return self.value(self._map(section))

    def _map(self, name: str) -> int:
        pointer: int | None = self._lib.bpf_object__find_map_by_name(self._object, name.encode())
        if not pointer:
            raise LibbpfError(f"the object has no map {name}", errno.ENOENT)
        return pointer

    def map_fd(self, name: str) -> int:
        """The descriptor of a map of a loaded object; it stays libbpf's to close."""
        fd: int = self._lib.bpf_map__fd(self._map(name))
        if fd < 0:
            raise LibbpfError(f"the map {name} is not in the kernel", -fd)
        return fd

    def hash_sizes(self, name: str) -> tuple[int, int]:
        """The sizes of keys and values of a hash map in bytes; LibbpfError when it is none."""
        pointer = self._map(name)
        if self._lib.bpf_map__type(pointer) not in MAP_TYPES_HASH:
            raise LibbpfError(f"the map {name} is no hash map", errno.EINVAL)
        return self._lib.bpf_map__key_size(pointer), self._lib.bpf_map__value_size(pointer)

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Write an entry of a map of a loaded object, which it may have already or not."""
        pointer = self._map(name)
        if code := self._lib.bpf_map__update_elem(pointer, key, len(key), value, len(value), 0):
            raise LibbpfError(f"writing to the map {name}", -code)

    def lookup(self, name: str, key: bytes, size: int) -> bytes:
        """The entry of a map, whose values have ``size`` bytes; of a map for each CPU, all."""
        pointer, kept = self._map(name), size
        if self._lib.bpf_map__type(pointer) in MAP_TYPES_PER_CPU:
            kept *= int(self._lib.libbpf_num_possible_cpus())
        value = ctypes.create_string_buffer(kept)
        if code := self._lib.bpf_map__lookup_elem(pointer, key, len(key), value, kept, 0):
            raise LibbpfError(f"reading the map {name}", -code)
        return value.raw

    def keys(self, name: str, size: int, most: int) -> list[bytes]:
        """At most ``most`` keys, of ``size`` bytes, of a hash map that does not change any more."""
        pointer, found = self._map(name), list[bytes]()
        key = ctypes.create_string_buffer(size)
        before = None
        while len(found) < most:
            code = self._lib.bpf_map__get_next_key(pointer, before, key, size)
            if code == -errno.ENOENT:
                break
            if code:
                raise LibbpfError(f"reading the keys of the map {name}", -code)
            before = key.raw
            found.append(before)
        return found

    def delete(self, name: str, key: bytes) -> None:
        """Take an entry out of a map of a loaded object; none is as well."""
        code = self._lib.bpf_map__delete_elem(self._map(name), key, len(key), 0)
        if code not in (0, -errno.ENOENT):
            raise LibbpfError(f"deleting from the map {name}", -code)

    def value(self, map_pointer: int) -> memoryview:
        """The initial value of a map, writable until the object is loaded."""
        size = c_size_t(0)
        address = self._lib.bpf_map__initial_value(map_pointer, ctypes.byref(size))
        if not address:
            raise LibbpfError("a map has no memory of its own", errno.EINVAL)
        return memoryview((ctypes.c_ubyte * size.value).from_address(address)).cast("B")

    def load(self) -> None:
        """Have the kernel verify and load all programs and maps."""
        if code := self._lib.bpf_object__load(self._object):
            raise LibbpfError("loading the object", -code)

    def attach(self, map_pointer: int) -> Link:
        """Attach a loaded struct_ops map; the policy then runs, or has been ejected already."""
        ctypes.set_errno(0)
        pointer = self._lib.bpf_map__attach_struct_ops(map_pointer)
        if not pointer:
            raise LibbpfError("attaching", ctypes.get_errno())
        return self._link(pointer)

    def attach_programs(self) -> list[Link]:
        """Attach each program of a loaded object to what its section names."""
        links = []
        for program in self._programs():
            ctypes.set_errno(0)
            pointer = self._lib.bpf_program__attach(program)
            if not pointer:
                raise LibbpfError("attaching a program", ctypes.get_errno())
            links.append(self._link(pointer))
        return links

    def _programs(self) -> Iterator[int]:
        pointer = self._lib.bpf_object__next_program(self._object, None)
        while pointer:
            yield pointer
            pointer = self._lib.bpf_object__next_program(self._object, pointer)

    def _link(self, pointer: int) -> Link:
        link = Link(self._lib, pointer)
        if link.fileno() < 0:
            link.destroy()
            raise LibbpfError("attaching gave no link to hold", errno.EINVAL)
        return link


class Link:
    """What keeps BPF attached: when its last holder lets go, a policy or program is out."""

    def __init__(self, lib: ctypes.CDLL, pointer: int) -> None:
        self._lib = lib
        self._pointer: int | None = pointer

    def fileno(self) -> int:
        """The link's descriptor, which stays libbpf's to close; negative when there is none."""
        return int(self._lib.bpf_link__fd(self._pointer))

    def detach(self) -> None:
        """Take a policy out, whoever else may hold a descriptor of its link, and let go.

        Returns when the kernel's own scheduler has all tasks again.
        """
        if self._pointer is not None:
            self._lib.bpf_link__detach(self._pointer)
        self.destroy()

    def destroy(self) -> None:
        """Let go."""
        if self._pointer is not None:
            self._lib.bpf_link__destroy(self._pointer)
            self._pointer = None
