"""Read, write and replace files in an open folder; a new file has its owner and mode before its first byte."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.storage import read_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

MOST_BYTES = 1 << 20  # no certificate, key or keystore comes near; a path by mistake may
PERMISSIONS = 0o777  # set-user-ID and the like are never given
ACL = "system.posix_acl_access"
_KEPT = (ACL, "security.selinux", "security.SMACK64")
_KEPT_PREFIX = "user."

_HINTS = {
    errno.ENOSPC: "Free some space there, and run certbot renew again.",
    errno.EDQUOT: "Free some space there, and run certbot renew again.",
    errno.EROFS: "Mount the file system for writing, or name another path.",
    errno.EPERM: "Look whether the file is immutable (lsattr), and who runs Certbot.",
    errno.EACCES: "Run Certbot as a user who may write there.",
    errno.ENOENT: "Create the folder, or write mkdir = yes into the section.",
    errno.ENOTDIR: "Name a path below a folder.",
    errno.ENAMETOOLONG: "Name a shorter path: a name has 255 bytes at most.",
    errno.ENOTCONN: "Mount that file system again, and run certbot renew.",
    errno.ESTALE: "Mount that file system again, and run certbot renew.",
    errno.EIO: "Look at that disk (dmesg), and run certbot renew again.",
}


def os_error(doing: str, error: OSError, hint: str = "") -> DeployError:
    """Return an error of the operating system as one with a next step."""
    hint = hint or _HINTS.get(error.errno or 0, "Correct that, and run certbot renew again.")
    return DeployError(f"{doing}: {error.strerror or error}", hint)


@dataclass(frozen=True)
class FileMetadata:
    """Owner, group and permissions of a file, and its attributes: ACL, SELinux context, ``user.*`` (xattr(7))."""

    uid: int
    gid: int
    mode: int
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def acl(self) -> bytes | None:
        """Return the POSIX ACL (acl(5)), in the kernel's form; ``None`` where there is only the mode."""
        text = dict(self.attributes).get(ACL)
        return None if text is None else bytes.fromhex(text)

    def satisfies(self, wanted: FileMetadata) -> bool:
        """Return whether nothing has to change; where there is an ACL, the mode's group bits are its mask."""
        compared = 0o7707 if self.acl is not None else 0o7777
        return (self.uid, self.gid, self.mode & compared) == (wanted.uid, wanted.gid, wanted.mode & compared)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FileMetadata:
        """Read the metadata in a journal; the version before wrote ``context`` (SELinux's) for the attributes."""
        attributes = {str(name): str(value) for name, value in document.get("attributes", ())}
        if document.get("context") is not None:
            attributes["security.selinux"] = document["context"].encode("latin-1").hex()
        mode = int(document["mode"]) & PERMISSIONS
        return cls(int(document["uid"]), int(document["gid"]), mode, tuple(sorted(attributes.items())))


@dataclass(frozen=True)
class FileSnapshot:
    """A file as it was at one moment."""

    data: bytes = field(repr=False)
    metadata: FileMetadata

    @property
    def sha256(self) -> str:
        """Return the digest of its bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


class Folder:
    """An open folder. Everything is done relative to its handle; no path is resolved again.

    ``path``: where it was found, for messages and for opening it again.
    """

    def __init__(self, path: str, handle: int, status: os.stat_result | None = None) -> None:
        """``handle``: closed by ``close``."""
        status = status or os.fstat(handle)
        self.text = path  # hundreds of times at each timer: a Path costs more than opening the folder
        self.handle = handle
        self.device, self.inode = status.st_dev, status.st_ino
        self.owner, self.mode = status.st_uid, stat.S_IMODE(status.st_mode)

    @classmethod
    def root(cls) -> Folder:
        """Open /."""
        return cls("/", os.open("/", os.O_PATH | os.O_DIRECTORY))

    @classmethod
    def private(cls, path: Path) -> Folder:
        """Open a folder of our own, below the state folder, in which nobody else can do anything."""
        return cls(str(path), os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW))

    @property
    def path(self) -> Path:
        """Return where the folder was found."""
        return Path(self.text)

    def path_of(self, name: str) -> str:
        """Return the path of a file in it."""
        return f"{self.text.rstrip('/')}/{name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def is_same(self, other: Folder) -> bool:
        """Return whether two handles are of one folder."""
        return (self.device, self.inode) == (other.device, other.inode)

    def read(self, name: str) -> FileSnapshot | None:
        """Read a regular file; ``None`` where there is nothing; refuse anything else."""
        path = self.path_of(name)
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DeployError(f"{path} is a symbolic link", "Remove the link.") from error
            raise os_error(f"cannot read {path}", error) from error
        try:
            status = os.fstat(handle)
            self._check_file(path, status)
            data = read_all(handle, MOST_BYTES)
            attributes = _attributes(handle)
        except OSError as error:
            raise os_error(f"cannot read {path}", error) from error
        finally:
            os.close(handle)
        if len(data) > MOST_BYTES:
            raise DeployError(
                f"{path} holds more than {MOST_BYTES} bytes", "Name a path that is for this target alone."
            )
        return FileSnapshot(data, FileMetadata(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), attributes))

    def _check_file(self, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise DeployError(f"{path} is {kind}", "Name the path of a file, or remove what is there.")
        if status.st_nlink > 1 and self.owner not in {0, os.geteuid()}:
            # The owner of a folder may have linked somebody else's file into it.
            raise DeployError(f"{path} is a file that has {status.st_nlink} names (hard links)", f"Remove {path}.")

    def stage(self, name: str, data: bytes, metadata: FileMetadata) -> None:
        """Create a file with owner, mode and attributes first, then its bytes; on disk when this returns.

        A file system that does not store owner and mode is refused: others could read the file there.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.handle)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(name, flags, 0o600, dir_fd=self.handle)
        with os.fdopen(handle, "wb", buffering=0) as file:
            status = os.fstat(handle)
            if (status.st_uid, status.st_gid) != (metadata.uid, metadata.gid):
                os.fchown(handle, metadata.uid, metadata.gid)
            self._set_attributes(handle, metadata)
            self._check_stored(handle, metadata)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(handle)

    @staticmethod
    def _set_attributes(handle: int, metadata: FileMetadata) -> None:
        if metadata.acl is None:
            with contextlib.suppress(OSError):  # one that the folder gives by default; most have none
                os.removexattr(handle, ACL)
        os.fchmod(handle, metadata.mode & PERMISSIONS)
        for attribute, value in metadata.attributes:
            os.setxattr(handle, attribute, bytes.fromhex(value))

    def _check_stored(self, handle: int, metadata: FileMetadata) -> None:
        status = os.fstat(handle)
        actual = FileMetadata(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), _attributes(handle))
        if actual.satisfies(metadata) and actual.acl == metadata.acl:
            return
        how = f"{actual.mode:04o} of {actual.uid}:{actual.gid}"
        raise DeployError(
            f"the file system of {self.path} keeps no owners and modes: {metadata.mode:04o} of "
            f"{metadata.uid}:{metadata.gid} was asked for, and {how} it is",
            "Name a path on another file system, or mount this one so that only the owner can read it.",
        )

    def replace(self, staged: str, name: str) -> None:
        """Rename a staged file over another, atomically."""
        os.replace(staged, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        self.sync()

    def remove(self, name: str) -> None:
        """Remove a file if it is there: on a read-only file system, a missing one is no error."""
        if self.has(name):
            os.unlink(name, dir_fd=self.handle)
            self.sync()

    def has(self, name: str) -> bool:
        """Return whether there is something of this name, of any kind."""
        try:
            os.stat(name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def open_folder(self, name: str) -> Folder | None:
        """Open a folder in it, and no link to one; ``None`` where there is nothing."""
        try:
            handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(f"cannot open the folder {self.path_of(name)}", error) from error
        return Folder(self.path_of(name), handle)

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Make a folder with this mode, regardless of the umask; leave one that is there as it is.

        Nothing is changed afterwards: by then, the user of the service may have put another folder there.
        """
        umask = os.umask(0)
        try:
            os.mkdir(name, mode, dir_fd=self.handle)
        except FileExistsError:
            return
        finally:
            os.umask(umask)
        self.sync()

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder in it."""
        os.rmdir(name, dir_fd=self.handle)
        self.sync()

    def sync(self) -> None:
        """Write the folder's own entries to disk (fsync(2)), so that they survive a power failure."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.handle)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _attributes(handle: int) -> tuple[tuple[str, str], ...]:
    """Return those attributes of a file, in hex, that the file that replaces it gets too."""
    try:
        names = os.listxattr(handle)
    except OSError:  # a file system without any
        return ()
    found = {}
    for name in names:
        if name in _KEPT or name.startswith(_KEPT_PREFIX):
            with contextlib.suppress(OSError):  # gone meanwhile
                found[name] = os.getxattr(handle, name).hex()
    return tuple(sorted(found.items()))


_ACL_HEADER_BYTES, _ACL_ENTRY_BYTES = 4, 8
_ACL_USER, _ACL_GROUP_OWNER, _ACL_GROUP, _ACL_MASK, _ACL_READ = 0x02, 0x04, 0x08, 0x10, 0x4


def acl_shows_to_others(acl: bytes, mode: int) -> bool:
    """Return whether an ACL (acl(5), Linux's posix_acl_xattr) lets somebody read whom ``mode`` does not."""
    entries = []
    for start in range(_ACL_HEADER_BYTES, len(acl), _ACL_ENTRY_BYTES):
        entry = acl[start : start + _ACL_ENTRY_BYTES]
        entries.append((int.from_bytes(entry[:2], "little"), int.from_bytes(entry[2:4], "little")))
    mask = next((permissions for tag, permissions in entries if tag == _ACL_MASK), 0o7)
    if not mask & _ACL_READ:
        return False
    named = any(tag in (_ACL_USER, _ACL_GROUP) and permissions & _ACL_READ for tag, permissions in entries)
    group = any(tag == _ACL_GROUP_OWNER and permissions & _ACL_READ for tag, permissions in entries)
    return named or (group and not mode & 0o040)
