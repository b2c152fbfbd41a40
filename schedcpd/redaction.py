# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes secrets out of text that leaves the machine, or goes to somebody who need not know them.

What is taken out is replaced by a mark that says of which kind it was. It is a net, not a proof: a
password that stands alone and looks like a word is not recognised. All patterns are bounded, so the
time is proportional to the length of the text whoever wrote it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType


class Secret(StrEnum):
    """What kind of secret it was."""

    PRIVATE_KEY = "private-key"
    TOKEN = "token"  # of a known form
    PASSWORD = "password"  # what is assigned to something called so
    EMAIL = "email"
    OPAQUE = "opaque"  # long, and looks random: a key, a digest, a session
    CUSTOM = "custom"  # by a pattern of the settings


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without secrets, and how many of each kind there were."""

    text: str
    found: Mapping[Secret, int]


@dataclass(frozen=True, slots=True)
class _Rule:
    """What matches is taken out: the group ``secret`` where the pattern has one."""

    secret: Secret
    pattern: re.Pattern[str]
    is_one: Callable[[str], bool] = lambda _: True


# A long run of characters looks random from this many bits a character on; words have less.
_RANDOM_BITS = 4.4
_LONGEST_FOLDER = 20  # base64 has a slash too, but seldom
# What stands for a secret in a file, and is none.
_PLACEHOLDER = re.compile(
    r"(?i)null|none|nil|true|false|\$\{?\w+\}?|<[^<>]*>|x+|\*+|\.+|(?:/[\w.@-]+){2,}"  # a path
)
_MARKED = re.compile(r"\[removed:[a-z-]{1,16}\]?")
_NAMES = (
    r"(?:pass(?:word|wd|phrase|code)|(?<![a-z])(?:pass|pwd|auth)|secret|token|credentials?|cookie"
    r"|(?:api|access|secret|private|account|signing|encryption|master|session)[_-]?(?:key|id))"
)
_VALUE = (
    r"""(?:"(?P<double>[^"\n]{1,512})|'(?P<single>[^'\n]{1,512})"""
    r"""|(?P<plain><[^<>\n]{1,80}>|[^\s"',;&|)\]}]{1,512}))"""
)


def _value(name: str, separator: str) -> re.Pattern[str]:
    """Something called ``name``, and what is assigned to it."""
    return re.compile(rf"(?i){name}[\"']?{separator}{_VALUE}")


def _looks_random(text: str) -> bool:
    mixed = all(any(test(one) for one in text) for test in (str.islower, str.isupper, str.isdigit))
    if not mixed or max(map(len, text.split("/"))) < _LONGEST_FOLDER:
        return False
    counts, length = Counter(text).values(), len(text)
    bits = -sum(count / length * math.log2(count / length) for count in counts)
    return bits >= _RANDOM_BITS


def _is_value(text: str) -> bool:
    return not (_PLACEHOLDER.fullmatch(text) or _MARKED.match(text))


_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,256}"  # Anthropic, OpenAI
    r"|gh[opusr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}"
    r"|gl(?:pat|dt|rt|cbt|ptt|oas|ft)-[A-Za-z0-9_.-]{16,255}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,255}|xapp-[A-Za-z0-9-]{10,255}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"
    r"|AIza[A-Za-z0-9_-]{30,64}|ya29\.[A-Za-z0-9_.-]{16,512}|GOCSPX-[A-Za-z0-9_-]{20,64}"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,255}|whsec_[A-Za-z0-9+/=]{16,128}"
    r"|npm_[A-Za-z0-9]{30,64}|pypi-[A-Za-z0-9_-]{30,512}|hf_[A-Za-z0-9]{20,128}"
    r"|do[opr]_v1_[a-f0-9]{40,128}|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}"
    r"|hv[sbr]\.[A-Za-z0-9_-]{20,512}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{20,80}"
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{4,8192}(?:\.[A-Za-z0-9_-]{0,4096})?"  # JWT
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{32,36}"  # Telegram
    r")"
)
_UNITS = "service|scope|slice|socket|target|mount|timer|device|swap|path|automount"
_RULES = (
    _Rule(
        Secret.PRIVATE_KEY,
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
        ),
    ),
    _Rule(Secret.TOKEN, _TOKENS),
    _Rule(Secret.TOKEN, re.compile(r"hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/]{10,128})")),
    # The header of a request, to the end of its line.
    _Rule(
        Secret.PASSWORD,
        re.compile(
            r"(?i)\b(?:proxy-)?(?:authorization|set-cookie|cookie|x-api-key|x-auth-token)"
            r"[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?(?P<secret>[^\s\"'][^\n\"']{0,2000})"
        ),
        _is_value,
    ),
    _Rule(
        Secret.TOKEN, re.compile(r"(?i)\bbearer[ \t]{1,8}(?P<secret>[A-Za-z0-9._~+/=-]{8,4096})")
    ),
    # The user's part of an address.
    _Rule(
        Secret.PASSWORD,
        re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}://(?P<secret>[^\s/@\"'<>]{1,256})@"),
    ),
    # Assignments in files, in JSON, in environments and on command lines.
    _Rule(
        Secret.PASSWORD,
        _value(_NAMES, r"[ \t]{0,8}(?:=>|:=|[:=])[ \t]{0,8}"),
        _is_value,
    ),
    _Rule(
        Secret.PASSWORD,
        _value(rf"--?(?:[a-z0-9]{{1,20}}-){{0,3}}{_NAMES}", r"[ \t]{1,4}"),
        _is_value,
    ),
    _Rule(Secret.PASSWORD, _value(r"\bsshpass[ \t]{1,4}-p", r"[ \t]{0,4}"), _is_value),
    _Rule(Secret.PASSWORD, _value(r"\bmysql[a-z]{0,8}\b[^\n]{0,200}?[ \t]-p", r""), _is_value),
    _Rule(
        Secret.PASSWORD, _value(r"\bcurl\b[^\n]{0,400}?[ \t](?:-u|--user)", r"[ =]{0,4}"), _is_value
    ),
    # netrc
    _Rule(
        Secret.PASSWORD,
        re.compile(
            r"(?i)\bmachine\s{1,8}\S{1,256}\s[^\n]{0,200}?password\s{1,8}(?P<secret>\S{1,256})"
        ),
        _is_value,
    ),
    # crypt(3), as in shadow(5) and htpasswd
    _Rule(
        Secret.PASSWORD, re.compile(r"\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2id?)\$[^\s:\"']{8,256}")
    ),
    _Rule(
        Secret.EMAIL,
        re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}"
            rf"(?!(?:{_UNITS})\b)[A-Za-z][A-Za-z0-9-]{{1,62}}(?![\w-])"
        ),
    ),
    _Rule(Secret.OPAQUE, re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{32,}(?![A-Za-z0-9])")),
    _Rule(
        Secret.OPAQUE,
        re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{36,}={0,2}"),
        _looks_random,
    ),
)


class Redactor:
    """Takes out what every text may have, and what ``custom`` patterns match as a whole."""

    def __init__(self, custom: Iterable[re.Pattern[str]] = ()) -> None:
        own = tuple(_Rule(Secret.CUSTOM, pattern) for pattern in custom)
        self._rules = (*own, *_RULES)

    def redact(self, text: str) -> Redacted:
        """The text without secrets."""
        found: Counter[Secret] = Counter()
        for rule in self._rules:
            text = rule.pattern.sub(partial(_without, rule, found), text)
        return Redacted(text, MappingProxyType(dict(found)))


def _without(rule: _Rule, found: Counter[Secret], match: re.Match[str]) -> str:
    """What is left of a match: all of it where it was no secret after all."""
    name = next((name for name, value in match.groupdict().items() if value is not None), None)
    whole, start = match[0], match.start()
    first, last = match.span(name) if name else match.span()
    if first == last or not rule.is_one(match[name] if name else whole):
        return whole
    found[rule.secret] += 1
    return f"{whole[: first - start]}[removed:{rule.secret}]{whole[last - start :]}"
