"""The Certbot commands that our messages name: found in the source, and how each is typed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import certbot_garr_tcs

PROSE = {"issue", "command", "-c"}
"""What follows "certbot" where no command is meant: its issue tracker, the program, a comment in a file of ours."""

COMMANDS = {
    "certificates": ["certificates"],
    "certificates --cert-name {}": ["certificates", "--cert-name", "LINEAGE"],
    "certonly --garr-tcs --cert-name {} --force-renewal -d …": [
        *("certonly", "--garr-tcs", "--cert-name", "LINEAGE", "--force-renewal", "-d", "LINEAGE")
    ],
    "--help {}": ["--help", "standalone"],
    "install {} --cert-name NAME": ["install", "INSTALLER", "--cert-name", "LINEAGE"],
    "install {} --cert-name {}": ["install", "INSTALLER", "--cert-name", "LINEAGE"],
    "install --garr-tcs{} --cert-name {}": ["install", "--garr-tcs", "FILE", "--cert-name", "LINEAGE"],
    "plugins": ["plugins"],
    "register --garr-tcs": ["register", "--garr-tcs"],
    "register --staging --garr-tcs": ["register", "--staging", "--garr-tcs"],
    "renew": ["renew"],
    "renew --cert-name {}": ["renew", "--cert-name", "LINEAGE"],
    "renew --force-renewal --cert-name NAME": ["renew", "--force-renewal", "--cert-name", "LINEAGE"],
    "renew --force-renewal --cert-name NAME --authenticator %s": [
        *("renew", "--force-renewal", "--cert-name", "LINEAGE", "--authenticator", "garr-tcs")
    ],
    "renew --force-renewal --cert-name NAME --key-type rsa --rsa-key-size 3072": [
        *("renew", "--force-renewal", "--cert-name", "LINEAGE", "--key-type", "rsa", "--rsa-key-size", "3072")
    ],
    "renew --force-renewal --cert-name {}": ["renew", "--force-renewal", "--cert-name", "LINEAGE"],
    "renew --force-renewal --cert-name {} --key-type {}": [
        *("renew", "--force-renewal", "--cert-name", "LINEAGE", "--key-type", "ecdsa")
    ],
    "rollback {}": ["rollback", "INSTALLER"],
    "run --garr-tcs{} --cert-name {} -d {}": [
        *("run", "--garr-tcs", "FILE", "--cert-name", "LINEAGE", "-d", "LINEAGE")
    ],
}
"""Each with its words as they are typed. INSTALLER: ``-i garr-tcs`` and FILE; FILE: ``--garr-tcs-config`` where the
file is not the usual one, else nothing; LINEAGE: the name of a lineage, and its only DNS name."""


def text_of(node: ast.AST) -> str | None:
    """Return the text of a string that is written out, with {} for each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) or "{}" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        texts = text_of(node.left), text_of(node.right)
        return None if texts == (None, None) else "".join(text or "{}" for text in texts)
    return None


def texts(node: ast.AST) -> list[str]:
    """Return every text below a node that is no docstring."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []
    text = text_of(node)
    if text is not None:
        return [text]
    return [text for child in ast.iter_child_nodes(node) for text in texts(child)]


def named_in(text: str) -> list[str]:
    """Return the commands that a text names: ``certbot``, a verb, options with their values, and placeholders."""
    found = []
    for rest in re.split(r"(?<![\w./-])certbot (?=[a-z-])", text)[1:]:
        command: list[str] = []
        for word in rest.split():
            bare = word.rstrip(".,;:)?")
            is_value = bool(command) and command[-1].startswith("-") and command[-1] in VALUED
            if command and not (is_value or bare.startswith(("-", "{}"))):
                break
            command.append(bare)
            if bare != word:
                break
        if command[0] not in PROSE:
            found.append(" ".join(command))
    return found


VALUED = {"--cert-name", "-d", "--key-type", "--rsa-key-size", "--authenticator", "--checkpoints", "-i", "--help"}
"""Options with a value, among those that messages name."""


def named_commands() -> set[str]:
    """Return every command that the package's messages name."""
    files = Path(certbot_garr_tcs.__file__).parent.rglob("*.py")
    return {
        command for file in files for text in texts(ast.parse(file.read_text("utf-8"))) for command in named_in(text)
    }
