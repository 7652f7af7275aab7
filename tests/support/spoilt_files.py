"""Files that went wrong around a secret, and a look for pieces of it."""

from __future__ import annotations

import base64
import random
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs import config
from certbot_garr_tcs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = (
    "[account]\neab-kid = kid-1\neab-hmac-key: SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-keySECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key =\nSECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key =\n    SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key = abc\n    SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key = 'SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key = SECRET!\n",
    "[account]\neab-kid = kid-1\neab-hmac-key-file = SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key-file = /etc/letsencrypt/SECRET\n",
    "[account]\neab-kid = kid-1\neab-hmac-key-file = ~SECRET\n",
    "[account]\neab-kid = SECRET\neab-hmac-key = kid-1\n",
    "[account]\nSECRET = eab-hmac-key\n",
    "[account]\nSECRET\n",
    "[account]\nemail = SECRET\n",
    "[account]\ndirectory-url = SECRET\n",
    "[account]\nca = SECRET\n",
    "[account SECRET]\n",
    "[SECRET]\n",
    "[account]\n[[eab-hmac-key = SECRET]]\n",
    "[eab-hmac-key = SECRET]\n",
    "SECRET",
    "eab-hmac-key = SECRET\n",
    'key "acme" {\n\talgorithm hmac-sha256;\n\tsecret "SECRET";\n};\n',
    '{"account": {"eab-hmac-key": "SECRET"}}\n',
    "account:\n  eab-hmac-key: SECRET\n",
    "[dns-01]\nserver = SECRET\n",
    "[dns-01]\nserver = SECRET:53\n",
    "[dns-01]\nzone = SECRET\n",
    "[dns-01]\ntimeout = SECRET\n",
    "[dns-01]\npropagation = SECRET\n",
    "[dns-01]\npropagation = resolvers SECRET\n",
    "[dns-01]\npropagation = seconds SECRET\n",
    "[dns-01]\ntsig-name = SECRET\ntsig-secret = acme\n",
    "[dns-01]\ntsig-name = acme\ntsig-secret = abc\nSECRET\n",
    "[dns-01]\ntsig-name = acme\ntsig-secret =\n\tSECRET\n",
    "[dns-01]\ntsig-name = acme\ntsig-secret-file = SECRET\n",
    "[dns-01]\ntsig-name = acme\ntsig-secret = c2VjcmV0\ntsig-algorithm = SECRET\n",
    "[dns-01]\ntsig-keyfile = SECRET\n",
    "[dns-01]\ntsig-keyfile = garr-tcs.ini\n# SECRET\n",
    "[dns-01 SECRET]\nserver = ns.example.it\n",
    "[http-01 SECRET]\nvia = webroot\n",
    "[http-01]\nvia = SECRET\n",
    "[http-01]\nvia = webroot\nwebroot-path: SECRET\n",
    "[http-01]\nvia = webroot\nwebroot-path =\nSECRET\n",
    "[deploy SECRET]\nlineage = www\nreload = x\n",
    "[deploy www]\nlineage = SECRET\nreload = x\n",
    "[deploy www]\npreset = SECRET\nlineage = www\n",
    "[deploy www]\nlineage = www\nfullchain = x/SECRET\n",
    "[deploy www]\nlineage = www\nfullchain = /x/SECRET\nkey = /x/SECRET\n",
    "[deploy www]\nlineage = www\nreload = x\nowner = SECRET\n",
    "[deploy www]\nlineage = www\nreload = x\nkey-mode = SECRET\n",
    "[deploy www]\nlineage = www\nreload = x\ncombined-order = SECRET\n",
    "[deploy www]\nlineage = www\nreload = x\nprobe = SECRET\n",
    "[deploy www]\nlineage = www\nreload = x\nprobe-starttls = SECRET\n",
    "[deploy www]\nlineage = www\nreload = 'SECRET' '\n",
    "[deploy www]\nlineage = www\npkcs12 = /x\npkcs12-password-file = xSECRET\n",
    "[deploy www]\nlineage = www\ncommand-timeout = SECRET\nreload = x\n",
)
"""Files that a small mistake made wrong; SECRET stands for the secret."""

_PIECE = 8
"""So many characters of a secret in a row are too many."""

_FILE = """\
# garr-tcs.ini
[account]
directory-url = https://acme-v02.harica.gr/acme/0123abcd-0123-4567-89ab-0123456789ab/directory
eab-kid = kid-1
eab-hmac-key = HMAC
email = ced@example.it
agree-tos = yes

[dns-01 example.it]
server = ns.example.it
tsig-name = acme
tsig-secret = TSIG
propagation = resolvers 192.0.2.1 192.0.2.2

[dns-01 example.com]
via = dns-cloudflare
dns-cloudflare-credentials = /etc/letsencrypt/cloudflare.ini

[deploy www]
preset = nginx
lineage = www.example.it
fullchain = /etc/nginx/tls/www.pem
owner = root:ssl-cert
key-mode = 0640
combined-order = fullchain key
probe = www.example.it:443
"""
_KEY_FILE = 'key "acme" {\n\talgorithm hmac-sha256;\n\tsecret "TSIG";\n};\n'
_FILE_KEYS = ("eab-hmac-key-file", "eab-kid-file", "tsig-secret-file", "tsig-keyfile", "pkcs12-password-file")


def new_secret(rng: random.Random) -> str:
    """Return a secret as portals and tsig-keygen print them."""
    encode = rng.choice((base64.b64encode, base64.urlsafe_b64encode))
    text = encode(rng.randbytes(rng.choice((32, 32, 33, 48, 64)))).decode()
    return text if rng.random() < 0.6 else text.rstrip("=")


def shown(secret: str, text: str) -> str:
    """Return a piece of the secret that is in the text, whatever its case, or nothing."""
    text = text.lower()
    secret = secret.lower()
    pieces = (secret[start : start + _PIECE] for start in range(len(secret) - _PIECE + 1))
    return next((piece for piece in pieces if piece in text), "")


def said(error: BaseException) -> str:
    """Return all that Certbot could show or log of an error and of those before it, except for lines of code."""
    lines = []
    one: BaseException | None = error
    while one is not None:
        lines += [str(one), repr(one), *traceback.format_exception_only(type(one), one)]
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\n".join(lines)


def reading(text: str, path: Path) -> str:
    """Return all that reading a file says, or what messages would show later of one that is right."""
    try:
        loaded = config.parse(text, path)
    except ConfigError as error:
        return said(error)
    return repr([(section.title, section.how) for section in loaded.solvers]) + repr(
        [(target.title, target.lineage, target.owner, target.probes) for target in loaded.targets]
    )


def check_files(seed: int, count: int) -> None:
    """Fail where what is said of a file with mistakes has a piece of a secret, or is long."""
    for text, secrets in files(seed=seed, count=count):
        told = reading(text, Path("/nowhere/garr-tcs.ini"))
        assert not any(shown(secret, told) for secret in secrets), text
        assert len(told) < 20000, text


def spoilt(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """Return a file with one to three mistakes, and the secrets that are in it."""
    hmac, tsig = secrets = new_secret(rng), new_secret(rng)
    text = (_KEY_FILE if rng.random() < 0.02 else _FILE).replace("HMAC", hmac).replace("TSIG", tsig)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        text = rng.choice(_MISTAKES)(rng, text, rng.choice(secrets))
    return text, secrets


def _edited_line(edit: Callable[[random.Random, str, str], str]) -> Callable[[random.Random, str, str], str]:
    """Make a mistake in one line: mostly in one with the secret."""

    def mistake(rng: random.Random, text: str, secret: str) -> str:
        lines = text.split("\n")
        chosen = [number for number, line in enumerate(lines) if secret in line]
        number = rng.choice(chosen) if chosen and rng.random() < 0.7 else rng.randrange(len(lines))
        lines[number] = edit(rng, lines[number], secret)
        return "\n".join(lines)

    return mistake


def _edited_text(edit: Callable[[random.Random, str], str]) -> Callable[[random.Random, str, str], str]:
    return lambda rng, text, _secret: edit(rng, text)


def _cut(rng: random.Random, line: str, secret: str) -> str:
    start = max(line.find(secret), 0)
    place = rng.randint(start, len(line))
    return f"{line[:place]}{rng.choice((chr(10), chr(10) + '  ', chr(92) + chr(10), '=' + chr(10)))}{line[place:]}"


def _key_and_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()


def _swapped_lines(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    (key, value), (other_key, other_value) = _key_and_value(lines[one]), _key_and_value(lines[other])
    lines[one], lines[other] = f"{key} = {other_value}", f"{other_key} = {value}"
    return "\n".join(lines)


def _pasted(rng: random.Random, text: str, secret: str) -> str:
    place = rng.randrange(len(text) + 1)
    return f"{text[:place]}{secret}{text[place:]}"


def _as_value(rng: random.Random, text: str, secret: str) -> str:
    key = rng.choice(re.findall(r"^([a-z0-9-]+) =", text, re.MULTILINE) or ["key"])
    return re.sub(rf"^{key} = .*$", lambda _: f"{key} = {secret}", text, count=1, flags=re.MULTILINE)


def _as_heading(rng: random.Random, text: str, secret: str) -> str:
    heading = rng.choice(
        (f"[{secret}]", f"[dns-01 {secret}]", f"[http-01 {secret}]", f"[deploy {secret}]", f"[account {secret}]")
    )
    return text.replace(rng.choice(re.findall(r"^\[.*\]$", text, re.MULTILINE) or ["["]), heading, 1)


def _lost(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) or 1)
    return text[:place] + text[place + rng.choice((1, 1, 2, 3, 10)) :]


def _doubled(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return "\n".join(lines)


def _strange(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice("[]=:#;\"'{}\\/~\0\x1b\u200b\u00a0,%\r\t*") + text[place:]


_MISTAKES: tuple[Callable[[random.Random, str, str], str], ...] = (
    _edited_line(
        lambda rng, line, _: line.replace("=", rng.choice((":", " ", "", "==", ": =", "→", "-", "=\n", "= \\\n")), 1)
    ),
    _edited_line(lambda rng, line, _: line.replace(" = ", rng.choice((":", ": ", " ", "=", "\t", " := ")), 1)),
    _edited_line(
        lambda rng, line, _: rng.choice(
            ("[{}]", "[[{}]]", "[{}", "{}]", "[dns-01 {}]", "[deploy {}]", "[account {}]")
        ).replace("{}", line)
    ),
    _edited_line(
        lambda rng, line, _: rng.choice(
            ('"{}"', "'{}'", '"{}', "{}'", "'''{}", "export {}", "- {}", "{};", "{},", "--{}", "#{}", "  {}")
        ).replace("{}", line)
    ),
    _edited_line(
        lambda rng, line, _: line.replace(
            " = ", rng.choice(('": "', ' = "', " = '", " = '''", ' = """', " = <", " = ~", " = /", " = file:")), 1
        )
    ),
    _edited_line(lambda _rng, line, secret: line.replace(secret, f"{secret[:20]}#{secret[20:]}")),
    _edited_line(lambda rng, line, _: f"{rng.choice(_FILE_KEYS)} = {_key_and_value(line)[1]}"),
    _edited_line(
        lambda rng, line, _: (
            rng.choice(
                (
                    "server",
                    "zone",
                    "via",
                    "ca",
                    "timeout",
                    "owner",
                    "probe",
                    "mode",
                    "test",
                    "key",
                    "lineage",
                    "preset",
                    "propagation",
                    "email",
                    "key-type",
                    "tsig-name",
                    "tsig-algorithm",
                    "probe-starttls",
                    "agree-tos",
                )
            )
            + f" = {_key_and_value(line)[1]}"
        )
    ),
    _edited_line(lambda _rng, line, _: _key_and_value(line)[1]),
    _edited_line(lambda _rng, line, _: " = ".join(reversed(_key_and_value(line)))),
    _edited_line(lambda _rng, line, _: line.upper() if line.startswith("[") else line),
    _edited_line(_cut),
    _edited_line(_cut),
    _edited_text(_swapped_lines),
    _edited_text(_lost),
    _edited_text(_lost),
    _edited_text(_doubled),
    _edited_text(_strange),
    _edited_text(lambda rng, text: text[: rng.randrange(len(text) + 1)]),
    _edited_text(lambda rng, text: text[rng.randrange(len(text) + 1) :]),
    _edited_text(
        lambda rng, text: text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\\n", " "))),
    ),
    _pasted,
    _pasted,
    _as_value,
    _as_value,
    _as_heading,
)


def files(seed: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return files with mistakes, and their secrets; the same ones for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - the same at every run
    return (spoilt(rng) for _ in range(count))
