"""Compare what a section asks for with the files that are there; change nothing."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import FileMetadata, acl_shows_to_others, os_error
from certbot_garr_tcs.deploy.folders import administrators, open_location
from certbot_garr_tcs.deploy.formats import inputs_digest, render
from certbot_garr_tcs.deploy.transaction import Change
from certbot_garr_tcs.errors import ConfigError, DeployError
from certbot_garr_tcs.storage import read_opened, user_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from certbot_garr_tcs.deploy.certificate import CertificateBundle
    from certbot_garr_tcs.deploy.files import FileSnapshot
    from certbot_garr_tcs.deploy.folders import FileLocation, FolderReference
    from certbot_garr_tcs.deploy.records import DeploymentRecord
    from certbot_garr_tcs.deploy.settings import Output, Target

_HIGHEST_ID = (1 << 32) - 2  # the one above means "leave it" to chown(2)
_MOST_PASSWORD_BYTES = 4096


class OwnFiles:
    """Files and folders that no target may write to: Certbot's own, garr-tcs.ini, the passwords of keystores.

    They are compared by device and inode, not by path.
    """

    def __init__(self, folders: Iterable[Path], files: Iterable[Path]) -> None:
        self._folders = tuple(folders)
        self._files = tuple(files)

    @cached_property
    def _by_identity(self) -> dict[tuple[int, int], Path]:
        return _identities((*self._folders, *self._files))

    def check(self, path: Path, location: FileLocation, live: Path | None) -> None:
        """Refuse a location that is one of them, or below one; ``live``: the folder of the target's lineage."""
        own = self._by_identity
        if live is not None:
            own = {**own, **_identities((live, (live / "cert.pem").resolve().parent))}
        for identity in location.ancestors & own.keys():
            raise DeployError(f"{path} is below {own[identity]}, which is Certbot's own", "Name a path elsewhere.")
        with contextlib.suppress(OSError):
            status = os.stat(location.name, dir_fd=location.folder.handle, follow_symlinks=False)
            found = None if location.missing else own.get((status.st_dev, status.st_ino))
            if found is not None:
                raise DeployError(f"{path} is {found}, which this program reads", "Name a path of its own.")


def _identities(paths: Iterable[Path]) -> dict[tuple[int, int], Path]:
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            found[status.st_dev, status.st_ino] = path
    return found


@dataclass(frozen=True)
class TargetFile:
    """One file of a target: its location, its current content, and the owner and mode that it must have.

    ``key``: equal for two spellings of one file's path.
    """

    output: Output
    folder: FolderReference
    name: str
    key: tuple[int, int, str]
    current: FileSnapshot | None
    wanted: FileMetadata

    @property
    def path(self) -> Path:
        """Return the path, links resolved."""
        return self.folder.full_path / self.name

    def has_digest(self, sha256: str | None) -> bool:
        """Return whether the file's content has this digest."""
        return self.current is not None and self.current.sha256 == sha256

    def change_to(self, data: bytes | None) -> Change | None:
        """Return the change that gives the file this content (``None`` removes it), or ``None`` where it has it."""
        current = self.current
        if data is None:
            return None if current is None else Change(self.output.kind, self.folder, self.name, None, None)
        if current is not None and current.data == data and current.metadata.satisfies(self.wanted):
            return None
        return Change(self.output.kind, self.folder, self.name, data, self.wanted)


@dataclass(frozen=True)
class Plan:
    """The state of a target, compared with its section; ``inputs`` and ``service`` are digests for its record."""

    target: Target
    files: tuple[TargetFile, ...]
    inputs: str
    service: str
    password: bytes | None
    record: DeploymentRecord

    def _is_as_deployed(self, file: TargetFile) -> bool:
        """Return whether a file has the content written for these inputs, by digest: a keystore is salted."""
        return self.record.inputs == self.inputs and file.has_digest(self.record.outputs.get(str(file.output.path)))

    @property
    def is_up_to_date(self) -> bool:
        """Return whether there is nothing to write, nothing to reload, and no failure to try again."""
        record = self.record
        return (
            not (record.reload_pending or record.failures)
            and record.inputs == self.inputs
            and record.service in ("", self.service)
            and all(
                self._is_as_deployed(file) and file.current is not None and file.current.metadata.satisfies(file.wanted)
                for file in self.files
            )
        )

    def changes(self, bundle: CertificateBundle) -> tuple[list[Change], dict[str, str]]:
        """Return the files that change, and the digest of every file by path; the bundle has been checked."""
        changes, digests = [], {}
        for file in self.files:
            deployed = file.current.data if file.current is not None and self._is_as_deployed(file) else None
            data = deployed or render(self.target, file.output, bundle, self.password)
            digests[str(file.output.path)] = hashlib.sha256(data).hexdigest()
            change = file.change_to(data)
            if change is not None:
                changes.append(change)
        return changes, digests


def make_plan(target: Target, bundle: CertificateBundle, record: DeploymentRecord, own_files: OwnFiles) -> Plan:
    """Compare a target with its files, its record and the lineage; raise where it cannot be deployed."""
    password = password_of(target)
    files = tuple(inspect(target, own_files, bundle.live))
    return Plan(target, files, inputs_digest(target, bundle, password), service_digest(target), password, record)


def service_digest(target: Target) -> str:
    """Return a digest of how the service is tested, reloaded and probed, without the time limits."""
    probes = [(probe.host, probe.port, probe.starttls, probe.server_name) for probe in target.probes]
    return hashlib.sha256(repr((target.tests, target.reloads, probes)).encode()).hexdigest()


def trusted_uids(target: Target) -> frozenset[int]:
    """Return who may own the folders of a target: root, the running user, and the owner that the section names."""
    owner = _owner(target)[0]
    return administrators() if owner is None else administrators() | {owner}


def password_of(target: Target) -> bytes | None:
    """Return the password of a target's keystore, read from its file; ``None`` where it has none."""
    path = target.pkcs12_password_file
    if path is None or all(output.kind != "pkcs12" for output in target.outputs):
        return None
    hint = "Write the keystore's password into it, mode 0600; pkcs12-password-file names it."
    try:
        with open_location(path, trusted_uids(target), follow_symlinks=True) as location:
            if location.missing:
                raise DeployError(f"cannot read {path}: there is no folder {path.parent}", hint)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            handle = os.open(location.name, flags, dir_fd=location.folder.handle)
        try:
            owners = (os.geteuid(), *trusted_uids(target))
            content = read_opened(handle, path, owners=owners, forbidden=0o027, most_bytes=_MOST_PASSWORD_BYTES)
        finally:
            os.close(handle)
    except ConfigError as error:
        raise DeployError(error.message, error.hint) from error
    except OSError as error:
        raise os_error(f"cannot read {path}", error, hint) from error
    password = content.rstrip(b"\r\n")
    if not password:
        raise DeployError(f"{path} is empty", hint)
    return password


def inspect(target: Target, own_files: OwnFiles, live: Path | None) -> list[TargetFile]:
    """Open the location of each file of a target, and read the file; raise where it cannot be written safely."""
    files: list[TargetFile] = []
    for output in target.outputs:
        with open_location(output.path, trusted_uids(target), follow_symlinks=target.follow_symlinks) as location:
            own_files.check(output.path, location, live)
            if any(file.key == location.key for file in files):
                raise DeployError(f"{output.path} is another file of this section", "Name a path of its own.")
            if location.missing and not target.mkdir:
                folder = location.reference.full_path
                raise DeployError(
                    f"there is no folder {folder}", f"Run: mkdir -p {folder}; or write mkdir = yes into the section."
                )
            current = None if location.missing else location.folder.read(location.name)
            wanted = _wanted_metadata(target, output, current)
            files.append(TargetFile(output, location.reference, location.name, location.key, current, wanted))
    return files


def file_conflicts(targets: Iterable[Target], own_files: OwnFiles) -> dict[str, str]:
    """Return the problem of each target that shares a file with another, by heading.

    Files are compared by device and inode; ``settings.path_conflicts`` compares the paths as written.
    """
    wanted_by: dict[tuple[int, int, str], list[tuple[Target, Path]]] = {}
    for target in targets:
        try:
            files = inspect(target, own_files, None)
        except (DeployError, OSError):
            continue  # its own deployment meets the same error, and reports it
        for file in files:
            wanted_by.setdefault(file.key, []).append((target, file.output.path))
    return {
        target.title: f"{path} is written by {' and '.join(other.title for other, _ in wanting)}"
        for wanting in wanted_by.values()
        if len(wanting) > 1
        for target, path in wanting
    }


def _wanted_metadata(target: Target, output: Output, current: FileSnapshot | None) -> FileMetadata:
    """Return owner, mode and attributes that a file must have.

    Without ``owner`` in the section, only an administrator's file is accepted: another user may have created it to be
    given the key.
    """
    uid, gid = _owner(target)
    old = current.metadata if current else FileMetadata(os.geteuid(), os.getegid(), output.mode)
    if uid is None and old.uid not in administrators():
        whose = user_name(old.uid)
        raise DeployError(
            f"{output.path} belongs to {whose}, whom the section does not name",
            f"Write owner = {whose} into the section if it is to be given to this user; if not, remove the file.",
        )
    uid = old.uid if uid is None else uid
    if uid != os.geteuid() != 0:
        raise DeployError(
            f"only root can give {output.path} to {target.owner or user_name(uid)}", "Run Certbot as root."
        )
    if output.has_private_key and old.acl is not None and acl_shows_to_others(old.acl, output.mode):
        raise DeployError(
            f"{output.path} has an ACL that lets others read the private key",
            f"Run: setfacl -b {output.path}; owner and key-mode of the section say who may read it.",
        )
    if gid is None:
        gid = old.gid if old.uid in {*administrators(), uid} else os.getegid()
    return FileMetadata(uid, gid, output.mode, old.attributes)


def _owner(target: Target) -> tuple[int | None, int | None]:
    return (
        _number(target.owner, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number(target.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str | None, kind: str, find: Callable[[str], int]) -> int | None:
    if name is None:
        return None
    with contextlib.suppress(KeyError):
        number = int(name) if name.isdecimal() else find(name)
        if number <= _HIGHEST_ID:
            return number
    raise DeployError(f"there is no {kind} {name} on this machine", "Correct owner in its section.")
