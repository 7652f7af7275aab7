"""Compare what a target asks for with what is there; change nothing."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import Meta, Seen, check_folder, complaint, locate, look
from certbot_garr_tcs.deploy.formats import inputs_digest, render
from certbot_garr_tcs.deploy.transaction import Change
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.deploy.ledger import Entry
    from certbot_garr_tcs.deploy.material import Material
    from certbot_garr_tcs.deploy.targets import Output, Target


@dataclass(frozen=True)
class Plan:
    """Say which files have to change, and what the ledger will say of them."""

    changes: tuple[Change, ...]
    inputs: str
    outputs: dict[str, str]


def password_of(target: Target) -> bytes | None:
    """Return the password of a target's keystore, read from its file; ``None`` where it has none."""
    path = target.pkcs12_password_file
    if path is None or all(output.kind != "pkcs12" for output in target.outputs):
        return None
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise DeployError(f"{target.title}: others can read {path}", f"Run: chmod o= {path}")
        password = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise complaint(f"{target.title}: cannot read {path}", error) from error
    if not password:
        raise DeployError(f"{target.title}: {path} is empty", "Write the password of the PKCS#12 file into it.")
    return password


def is_right(target: Target, material: Material, entry: Entry) -> bool:
    """Tell whether a target holds what it should, by the ledger's digests: no certificate is parsed."""
    if entry.reload_owed or entry.failures or not entry.inputs:
        return False
    if entry.inputs != inputs_digest(target, material, password_of(target)):
        return False
    uid, gid = _owner(target)
    for output in target.outputs:
        # Resolving every folder costs more than reading the file; where it leads matters when it is written.
        linked = output.path.is_symlink()
        seen = look(locate(output.path, follow_symlinks=target.follow_symlinks) if linked else output.path)
        if seen is None or seen.sha256 != entry.outputs.get(str(output.path)):
            return False
        if seen.meta.mode != output.mode or uid not in (None, seen.meta.uid) or gid not in (None, seen.meta.gid):
            return False
    return True


def plan(target: Target, material: Material, entry: Entry) -> Plan:
    """Return what has to change, or raise what stands in the way of it. The material has been checked."""
    password = password_of(target)
    inputs = inputs_digest(target, material, password)
    changes = []
    digests = {}
    taken: set[Path] = set()
    forbidden = _folders_of(material)
    for output in target.outputs:
        path = locate(output.path, follow_symlinks=target.follow_symlinks)
        if path in taken or not forbidden.isdisjoint(path.parents):
            whose = "another file of this section" if path in taken else f"lineage {material.lineage} itself"
            raise DeployError(f"{target.title}: {output.path} is {whose}", "Name a path of its own.")
        taken.add(path)
        seen = look(path)
        meta = _meta(target, output, seen)
        _check_place(target, output, path, meta)
        salted = output.kind == "pkcs12" and seen is not None and inputs == entry.inputs
        if seen is not None and salted and seen.sha256 == entry.outputs.get(str(output.path)):
            data = seen.data
        else:
            data = render(target, output, material, password)
        digests[str(output.path)] = hashlib.sha256(data).hexdigest()
        if seen != Seen(data, meta):
            changes.append(Change(path, data, meta))
    return Plan(tuple(changes), inputs, digests)


def _folders_of(material: Material) -> set[Path]:
    """Return where a lineage lives: its folder below ``live``, and that of what its links lead to."""
    live = material.live
    return set() if live is None else {live.resolve(), (live / "cert.pem").resolve().parent}


def _check_place(target: Target, output: Output, path: Path, meta: Meta) -> None:
    folder = path.parent
    if not folder.is_dir() and not (target.mkdir and not folder.exists()):
        raise DeployError(
            f"{target.title}: there is no folder {folder}",
            f"Run: mkdir -p {folder}; or write mkdir = yes into the section.",
        )
    if meta.uid != os.geteuid() != 0:
        raise DeployError(f"{target.title}: only root can give {path} to {target.owner}", "Run Certbot as root.")
    if output.holds_key:
        check_folder(folder, frozenset({0, os.geteuid(), meta.uid}))


def _meta(target: Target, output: Output, seen: Seen | None) -> Meta:
    """Return owner, mode and context that a file shall have; what the section leaves out stays as it is."""
    uid, gid = _owner(target)
    old = seen.meta if seen else Meta(os.geteuid(), os.getegid(), output.mode)
    return Meta(old.uid if uid is None else uid, old.gid if gid is None else gid, output.mode, old.context)


def _owner(target: Target) -> tuple[int | None, int | None]:
    return (
        _number(target, target.owner, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number(target, target.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(target: Target, name: str | None, kind: str, find: _Find) -> int | None:
    if name is None:
        return None
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError as error:
        raise DeployError(
            f"{target.title}: there is no {kind} {name} on this machine", "Correct owner in its section."
        ) from error


if TYPE_CHECKING:
    from collections.abc import Callable

    _Find = Callable[[str], int]
