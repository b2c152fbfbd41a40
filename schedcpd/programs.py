# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs whose names tell what a workload does; globs for comm, which has 15 characters."""

from __future__ import annotations

import re
from fnmatch import translate

# They serve clients with many processes, and often on sockets that cannot be seen from outside (not
# TCP, or in a container). Just started and under load they look like a batch.
SERVERS = (
    "php-fpm*", "apache2*", "httpd*", "nginx*", "lighttpd*", "postgres*", "mysqld*", "mariadbd*",
    "gunicorn*", "uwsgi*", "unicorn*", "puma*", "passenger*", "celery*", "haproxy*", "varnishd*",
    "squid*", "exim4*", "smtpd*", "dovecot*", "imap*", "spamd*", "named*", "smbd*", "nfsd*",
)  # fmt: skip

# They turn one source into one object and end.
COMPILERS = (
    "cc1", "cc1plus", "cc1obj", "lto1", "lto1-*", "collect2", "as", "ld", "ld.*", "gcc*", "g++*",
    "cc", "c++", "clang", "clang-[0-9]*", "clang++*", "lld", "mold", "rustc", "gnat1", "gfortran*",
    "f951", "d21", "go1", "compile", "javac", "kotlinc", "scalac", "ghc*", "ocamlopt*", "swiftc",
    "swift-frontend", "nvcc", "cicc", "ptxas", "cudafe++", "tcc", "zig", "nim", "x86_64-*-gcc*",
    "aarch64-*-gcc*", "arm-*-gcc*", "moc", "uic", "ccache", "sccache", "distcc", "icecc",
)  # fmt: skip

# They start the others of a build.
BUILDERS = (
    "make", "gmake", "ninja", "samu", "cargo", "cmake", "meson", "bazel*", "buck2*", "scons",
    "xmake", "waf", "gradle*", "mvn*", "msbuild*", "dpkg-buildpacka", "rpmbuild", "debuild",
    "sbuild", "emerge", "makepkg", "nix-build", "go", "tup", "b2", "bjam", "redo",
)  # fmt: skip


def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs))


_SERVER, _COMPILER, _BUILDER = _any_of(SERVERS), _any_of(COMPILERS), _any_of(BUILDERS)


def serves(comm: str) -> bool:
    """Whether a program of this name waits for clients."""
    return bool(_SERVER.fullmatch(comm))


def compiles(comm: str) -> bool:
    """Whether a program of this name is a part of a compiler."""
    return bool(_COMPILER.fullmatch(comm))


def builds(comm: str) -> bool:
    """Whether a program of this name starts the compilers of a build."""
    return bool(_BUILDER.fullmatch(comm))
