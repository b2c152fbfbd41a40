# SPDX-License-Identifier: GPL-2.0-or-later
"""Secrets are taken out of text, and what is none stays."""

from __future__ import annotations

import base64
import random
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.redaction import Redactor, Secret

REDACTOR = Redactor()
RANDOM = random.Random(7)


def some(alphabet: str, length: int) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(length))


ALNUM = string.ascii_letters + string.digits
BODY = "\n".join(
    base64.b64encode(RANDOM.randbytes(48)).decode() for _ in range(12)
)  # of a private key
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', RANDOM.randbytes(32))
)


def pem(kind: str, body: str = BODY) -> str:
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----"


SECRETS = [
    # what is written, the secret in it, its kind
    *((pem(f"{kind}PRIVATE KEY"), BODY, Secret.PRIVATE_KEY) for kind in ("", "RSA ", "OPENSSH ")),
    (pem("PGP PRIVATE KEY BLOCK"), BODY, Secret.PRIVATE_KEY),
    (f"-----BEGIN EC PRIVATE KEY-----\n{BODY}", BODY, Secret.PRIVATE_KEY),  # cut off
    *(
        (f"key is {token} here", token, Secret.TOKEN)
        for token in (
            "sk-ant-api03-" + some(ALNUM + "-_", 95),
            "sk-proj-" + some(ALNUM, 48),
            "ghp_" + some(ALNUM, 36),
            "github_pat_" + some(ALNUM + "_", 82),
            "glpat-" + some(ALNUM, 20),
            "xoxb-1234567890-" + some(ALNUM, 24),
            "AKIA" + some(string.ascii_uppercase + string.digits, 16),
            "AIza" + some(ALNUM + "-_", 35),
            "ya29." + some(ALNUM, 60),
            "sk_live_" + some(ALNUM, 24),
            "npm_" + some(ALNUM, 36),
            "pypi-" + some(ALNUM, 60),
            "hf_" + some(ALNUM, 34),
            "hvs." + some(ALNUM, 24),
            "AGE-SECRET-KEY-1" + some(string.ascii_uppercase + string.digits, 58),
            JWT,
            "123456789:AA" + some(ALNUM, 33),
        )
    ),
    ("POST https://hooks.slack.com/services/T0AA/B0BB/abcdEFGH1234", "T0AA/B0BB", Secret.TOKEN),
    ("curl -H 'Authorization: Bearer abc.def.ghi1' x", "abc.def.ghi1", Secret.PASSWORD),
    ("Cookie: session=quick; theme=dark", "session=quick; theme=dark", Secret.PASSWORD),
    ("bearer kangaroo99", "kangaroo99", Secret.TOKEN),
    ("postgres://shop:kangaroo@db.local/shop", "shop:kangaroo", Secret.PASSWORD),
    ("git clone https://kangaroo@git.example/x", "kangaroo", Secret.PASSWORD),
    ("password=kangaroo", "kangaroo", Secret.PASSWORD),
    ("  password: kangaroo # ours", "kangaroo", Secret.PASSWORD),
    ('{"db_password": "kangaroo jumps"}', "kangaroo jumps", Secret.PASSWORD),
    ("{'api_key' => 'kangaroo'}", "kangaroo", Secret.PASSWORD),
    ("export AWS_SECRET_ACCESS_KEY='kangaroo'", "kangaroo", Secret.PASSWORD),
    ("PGPASSWORD=kangaroo psql", "kangaroo", Secret.PASSWORD),
    ("DefaultEndpointsProtocol=https;AccountKey=kangaroo;", "kangaroo", Secret.PASSWORD),
    ("client_secret := kangaroo", "kangaroo", Secret.PASSWORD),
    ('"password": "kangaroo', "kangaroo", Secret.PASSWORD),  # the quote is cut off
    ("worker --api-key kangaroo --jobs 4", "kangaroo", Secret.PASSWORD),
    ("worker --db-password=kangaroo", "kangaroo", Secret.PASSWORD),
    ("worker --token 'kangaroo'", "kangaroo", Secret.PASSWORD),
    ("sshpass -p kangaroo ssh host", "kangaroo", Secret.PASSWORD),
    ("mysqldump -h db -pkangaroo shop", "kangaroo", Secret.PASSWORD),
    ("curl -s -u shop:kangaroo https://x", "shop:kangaroo", Secret.PASSWORD),
    ("machine x.example login me password kangaroo", "kangaroo", Secret.PASSWORD),
    (f"me:$6${some(ALNUM, 16)}${some(ALNUM, 86)}:19000:", "$6$", Secret.PASSWORD),
    ("mail jane.doe+x@mail.example.org now", "jane.doe+x@mail.example.org", Secret.EMAIL),
    (f"id {'0123456789abcdef' * 2}", "0123456789abcdef" * 2, Secret.OPAQUE),
    (f"blob {base64.b64encode(bytes(range(60))).decode()}", "AAECAwQ", Secret.OPAQUE),
    (f"x: {some(ALNUM + '+/', 64)}", "", Secret.OPAQUE),
]


@pytest.mark.parametrize(("text", "secret", "kind"), SECRETS)
def test_a_secret_is_taken_out_and_told(text: str, secret: str, kind: Secret) -> None:
    redacted = REDACTOR.redact(text)
    assert f"[removed:{kind}]" in redacted.text
    assert redacted.found[kind] >= 1
    if secret:
        assert secret not in redacted.text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"user": "jane", "password": "kangaroo", "jobs": 4}', ('"user": "jane"', '"jobs": 4')),
        ("worker --api-key kangaroo --jobs 4", ("worker --api-key ", " --jobs 4")),
        ("postgres://shop:kangaroo@db.local/shop", ("postgres://", "@db.local/shop")),
        (f"before\n{pem('PRIVATE KEY')}\nafter", ("before\n", "\nafter")),
    ],
)
def test_what_stands_around_a_secret_stays(text: str, left: tuple[str, ...]) -> None:
    redacted = REDACTOR.redact(text).text
    assert all(part in redacted for part in left)


@pytest.mark.parametrize(
    "text",
    [
        "xz -9 --threads=1 /srv/data/Projects2024/MyGame/textures/Level_07/rock_diffuse_4k.png",
        "gcc -O2 -Wall -I/usr/lib/x86_64-linux-gnu/Qt6Core/include -c mainwindow.cpp -o main.o",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-Firefox2-4711.scope",
        "getty@tty1.service and user@1000.service",
        "jobs: 8\nmax_tokens: 4096\nauthor: Jane\ntokens = 12\n",
        "password: ${DB_PASSWORD}\ntoken: <your token>\npassword=null\nsecret: ****\n",
        "AUTH_FILE=/etc/shop/auth\npassword: /run/credentials/shop/password\n",
        "PWD=/srv/shop/current",
        "enqueue_task_scx_internal_rebalance_domains_and_everything_else_v2",
        "0x7f3a2b1c9d8e 4f2a 123456789012345678901234567",
        "def tokenize(line): return line.split()",
        "3.14159265358979323846",
        "T=2026-11-23T13:17:35+00:00 host=Build-07 took=12.5s",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    redacted = REDACTOR.redact(text)
    assert redacted.text == text
    assert redacted.found == {}


def test_a_public_key_and_a_certificate_are_no_private_keys() -> None:
    assert Secret.PRIVATE_KEY not in REDACTOR.redact(pem("PUBLIC KEY")).found


def test_secrets_are_counted_and_marks_are_left_alone() -> None:
    token = "ghp_" + some(ALNUM, 36)
    once = REDACTOR.redact(f"token={token}\nAuthorization: Bearer {token}\n")
    assert once.found == {Secret.TOKEN: 2, Secret.PASSWORD: 1}
    assert REDACTOR.redact(once.text).text == once.text


def test_patterns_of_the_settings_go_first() -> None:
    redactor = Redactor([re.compile(r"PROJ-\d+"), re.compile("kangaroo")])
    redacted = redactor.redact("password=kangaroo of PROJ-12 and PROJ-13")
    assert redacted.text == "password=[removed:custom] of [removed:custom] and [removed:custom]"
    assert redacted.found == {Secret.CUSTOM: 3}


@given(
    before=st.text(max_size=40),
    after=st.text(max_size=40),
    body=st.text(ALNUM, min_size=40, max_size=60),
)
def test_no_surroundings_hide_a_token(before: str, after: str, body: str) -> None:
    text = f"{before} ghp_{body} {after}"
    assert body not in REDACTOR.redact(text).text


@given(st.text(max_size=300))
def test_any_text_can_be_redacted_again(text: str) -> None:
    once = REDACTOR.redact(text).text
    assert REDACTOR.redact(once).text.count("[removed:") >= once.count("[removed:")


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE KEY-----\n",
        "machine a password ",
        "mysql -h x ",
        "curl -s x ",
        "a@a.a.a.a.a.",
        "eyJeyJeyJ.",
        "http://http://",
        "--api-key-",
        "password",
        "a1B",
        "$6$",
        "Bearer \t",
        "authorization: ",
    ],
)
def test_nobody_can_make_it_slow(piece: str) -> None:
    text = (piece * (256 * 1024 // len(piece) + 1))[: 256 * 1024]
    started = time.process_time()
    REDACTOR.redact(text)
    assert time.process_time() - started < 5.0  # a second, as a rule; a quadratic one takes hours
