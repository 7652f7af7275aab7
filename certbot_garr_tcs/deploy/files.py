"""Look at one file, and replace it in one instant: owner, mode and context are right before the first byte."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from certbot_garr_tcs.errors import DeployError

_SELINUX = "security.selinux"
_BIGGEST_BYTES = 1 << 20  # no certificate, key or keystore comes near; a path by mistake may

_HINTS = {
    errno.ENOSPC: "Free some space there, and run certbot renew again.",
    errno.EDQUOT: "Free some space there, and run certbot renew again.",
    errno.EROFS: "Mount the file system for writing, or name another path.",
    errno.EPERM: "Look whether the file is immutable (lsattr), and who runs Certbot.",
    errno.EACCES: "Run Certbot as a user who may write there.",
    errno.ENOENT: "Create the folder, or write mkdir = yes into the section.",
    errno.ENOTDIR: "Name a path below a folder.",
}


def complaint(doing: str, error: OSError) -> DeployError:
    """Turn what the system says into an error with a next step."""
    hint = _HINTS.get(error.errno or 0, "Mend that, and run certbot renew again.")
    return DeployError(f"{doing}: {error.strerror or error}", hint)


@dataclass(frozen=True)
class Meta:
    """Say who owns a file, who may read it, and its SELinux context where there is one."""

    uid: int
    gid: int
    mode: int
    context: str | None = None


@dataclass(frozen=True)
class Seen:
    """Hold a file as it was at one moment."""

    data: bytes = field(repr=False)
    meta: Meta

    @property
    def sha256(self) -> str:
        """Return the digest of its bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


def locate(path: Path, *, follow_symlinks: bool) -> Path:
    """Return where a write to ``path`` ends: folders resolved, a symbolic link followed.

    A link may lead to another name in the same folder; elsewhere only with ``follow_symlinks``.
    """
    folder = Path(os.path.realpath(path.parent))
    spot = folder / path.name
    if not spot.is_symlink():
        return spot
    end = Path(os.path.realpath(spot))
    if end.is_symlink():
        raise DeployError(f"{path} is a symbolic link that leads nowhere", "Remove the link.")
    if end.parent != folder and not follow_symlinks:
        raise DeployError(
            f"{path} is a symbolic link to {end}",
            "Remove the link, name that path, or write follow-symlinks = yes into the section.",
        )
    return end


def look(path: Path) -> Seen | None:
    """Return the regular file at ``path``, or ``None`` where there is nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise complaint(f"cannot read {path}", error) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise DeployError(f"{path} is {kind}", "Name the path of a file, or remove what is there.")
        if status.st_size > _BIGGEST_BYTES:
            raise DeployError(f"{path} holds {status.st_size} bytes", "Name a path that is for this target alone.")
        context = None
        with contextlib.suppress(OSError):  # no such attribute, or a file system without any
            context = os.getxattr(handle, _SELINUX).decode("latin-1")
        meta = Meta(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), context)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return Seen(file.read(), meta)
    finally:
        os.close(handle)


def check_folder(folder: Path, trusted_uids: frozenset[int]) -> None:
    """Refuse a folder for keys in which anybody but ``trusted_uids`` could put things, or swap it whole.

    The folder itself must not be writable for group or others; those above it may be, if they are sticky as
    /tmp is. Whoever may write there can read every later key by replacing what the service trusts.
    """
    for step in (folder, *folder.parents):
        try:
            status = step.stat()
        except FileNotFoundError:
            continue  # it will be made by us
        except OSError as error:
            raise complaint(f"cannot look at {step}", error) from error
        sticky = step != folder and status.st_mode & stat.S_ISVTX
        if status.st_uid not in trusted_uids or (status.st_mode & 0o022 and not sticky):
            others = f"others than its key's owner can write to {step} ({stat.filemode(status.st_mode)})"
            raise DeployError(f"no key is put into {folder}: {others}", f"Run: chown root {step}; chmod go-w {step}")


def sync_folder(folder: Path) -> None:
    """Make names in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make one folder, 0755 whatever the umask says; leave one that is there as it is."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(handle, 0o755)
    finally:
        os.close(handle)
    sync_folder(folder.parent)


def stage(path: Path, data: bytes, meta: Meta) -> None:
    """Create ``path`` with owner, mode and context first, then its bytes, on disk when this returns."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as file:
        status = os.fstat(handle)
        if (status.st_uid, status.st_gid) != (meta.uid, meta.gid):
            os.fchown(handle, meta.uid, meta.gid)
        os.fchmod(handle, meta.mode)
        if meta.context is not None:
            os.setxattr(handle, _SELINUX, meta.context.encode("latin-1"))
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(handle)


def swap(staged: Path, path: Path) -> None:
    """Put a staged file in the place of ``path``, in one instant."""
    staged.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)
