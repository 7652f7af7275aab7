"""Open folders by handle, from / downwards, so that only an administrator determines where a file is written.

The user of a service owns its folder, and may put links, pipes and other folders there at any moment. Paths are
therefore followed once, component by component, relative to the handle of the folder before; what was opened is
what is written to, even if its path leads elsewhere later.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import Folder, os_error
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.storage import user_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

_MOST_LINKS = 40  # as Linux itself (path_resolution(7))


def administrators() -> frozenset[int]:
    """Return the users that are trusted everywhere: root, and whoever runs Certbot."""
    return frozenset({0, os.geteuid()})


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the ID of this boot of the machine (random(4)); empty where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class FolderReference:
    """Path and identity of a folder, to open the same one again; ``make``: folders below it that were missing.

    ``inode`` is ``None`` where the version before wrote the journal. Device numbers are given anew at each boot.
    """

    path: str
    device: int | None = None
    inode: int | None = None
    owner: int | None = None
    boot: str = ""
    make: tuple[str, ...] = ()

    @property
    def full_path(self) -> Path:
        """Return the path of the folder with what was missing below it."""
        return Path(self.path, *self.make)

    @contextlib.contextmanager
    def opened(self, trusted_uids: frozenset[int], *, make: bool = False) -> Iterator[Folder | None]:
        """Open the same folder again, or refuse; ``None`` where a folder that was to be made is not there.

        ``make``: make what is missing, 0755.
        """
        with contextlib.ExitStack() as handles:
            folder: Folder | None = handles.enter_context(open_folder(Path(self.path), trusted_uids))
            if folder is not None and not self._is(folder):
                raise DeployError(
                    f"{self.path} is not the folder any more that it was when this deployment began",
                    "Look who replaced it; its old files are where the old folder is now.",
                )
            for name in self.make:
                if folder is None:
                    break
                if make:
                    folder.make_folder(name)
                folder = folder.open_folder(name)
                if folder is not None:
                    handles.enter_context(folder)
                    if folder.owner != os.geteuid():
                        raise DeployError(
                            f"{folder.path} was made by {user_name(folder.owner)} and not by us",
                            "Remove it, or name another path.",
                        )
            yield folder

    def _is(self, folder: Folder) -> bool:
        if self.inode is None:
            return True
        same_device = self.boot != boot_id() or self.device == folder.device
        return same_device and (self.inode, self.owner) == (folder.inode, folder.owner)


@dataclass(frozen=True)
class FileLocation:
    """Where a file is or will be: an open folder, the folders that are missing below it, and the file's name.

    ``ancestors``: device and inode of every folder from / to it.
    """

    folder: Folder
    missing: tuple[str, ...]
    name: str
    ancestors: frozenset[tuple[int, int]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.close()

    @property
    def key(self) -> tuple[int, int, str]:
        """Return a key that is equal for two spellings of one file's path."""
        return self.folder.device, self.folder.inode, "/".join((*self.missing, self.name))

    @property
    def reference(self) -> FolderReference:
        """Return the file's folder, for opening it again."""
        folder = self.folder
        return FolderReference(folder.text, folder.device, folder.inode, folder.owner, boot_id(), self.missing)


def open_location(path: Path, trusted_uids: frozenset[int], *, follow_symlinks: bool = False) -> FileLocation:
    """Resolve ``path``, links included, and open the folder that the file is in.

    ``trusted_uids``: who may own the folders above the file; others must not be able to write there. A link is
    followed if an administrator made it where nobody else can; one at the end of the path leads into another folder
    only with ``follow_symlinks``.
    """
    with _PathResolver(path, trusted_uids) as resolver:
        return resolver.file_location(follow_symlinks=follow_symlinks)


def open_folder(path: Path, trusted_uids: frozenset[int]) -> Folder:
    """Open a folder by the same rules."""
    with _PathResolver(path, trusted_uids) as resolver:
        return resolver.folder()


class _PathResolver:
    """Follows a path from /, component by component: the open folders, and the components that are left."""

    def __init__(self, path: Path, trusted_uids: frozenset[int]) -> None:
        self._path = path
        self._trusted_uids = trusted_uids
        self._remaining: list[str] = []
        self._folders: list[Folder] = []
        self._links = 0
        self._prepend(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._folders:
            folder.close()

    def file_location(self, *, follow_symlinks: bool) -> FileLocation:
        link: tuple[Folder, str] | None = None
        while True:
            name = self._next()
            if name is None:
                raise DeployError(f"{self._path} is a link that leads to no file", "Remove the link.")
            here, is_last = self._folders[-1], not self._remaining
            kind, text = self._step(name, is_file=is_last)
            if kind == "link":
                if is_last and link is None:
                    link = here, text
                continue
            if kind == "missing" or is_last:
                break
        missing = (name, *reversed(self._remaining))
        if os.pardir in missing:
            raise DeployError(
                f"{self._path} leads through {here.path_of(name)}, which is not there", "Correct the path."
            )
        if link and not follow_symlinks and (missing[:-1] or not link[0].is_same(here)):
            raise DeployError(
                f"{self._path} is a symbolic link to {text if link is None else link[1]}",
                "Remove the link, name that path, or write follow-symlinks = yes into the section.",
            )
        ancestors = frozenset((folder.device, folder.inode) for folder in self._folders)
        return FileLocation(self._folders.pop(), missing[:-1], missing[-1], ancestors)

    def folder(self) -> Folder:
        name = self._next()
        while name is not None:
            kind, _ = self._step(name, is_file=False)
            if kind == "missing":
                raise DeployError(f"there is no folder {self._path}", f"Run: mkdir -p {self._path}")
            name = self._next()
        self._check(self._folders[-1], is_file=True)
        return self._folders.pop()

    def _next(self) -> str | None:
        while self._remaining:
            name = self._remaining.pop()
            if name != os.pardir:
                return name
            if len(self._folders) > 1:  # the folder that we came from, not the one that .. would be by now
                self._folders.pop().close()
        return None

    def _prepend(self, path: Path) -> None:
        if path.is_absolute():
            for folder in self._folders:
                folder.close()
            self._folders = [Folder.root()]
        self._remaining += [part for part in reversed(path.parts) if part != path.anchor]

    def _step(self, name: str, *, is_file: bool) -> tuple[str, str]:
        """Open one component: go into a folder, put a link's components before those that are left."""
        here = self._folders[-1]
        self._check(here, is_file=is_file)
        try:
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=here.handle)
        except FileNotFoundError:
            return "missing", ""
        except OSError as error:
            raise os_error(f"cannot reach {self._path}", error) from error
        try:
            status = os.fstat(handle)
            if stat.S_ISLNK(status.st_mode):
                text = self._link(here, name, status, handle)
                self._prepend(Path(text))
                return "link", text
            if is_file:
                return "there", ""
            if not stat.S_ISDIR(status.st_mode):
                raise DeployError(f"{here.path_of(name)} is no folder", "Name a path below a folder.")
            self._folders.append(Folder(here.path_of(name), handle, status))
            handle = -1
            return "there", ""
        finally:
            if handle >= 0:
                os.close(handle)

    def _check(self, folder: Folder, *, is_file: bool) -> None:
        """Refuse a folder in which somebody untrusted could put things, or from which he could take them."""
        if folder.owner not in self._trusted_uids:
            raise DeployError(
                f"{self._path} is not safe: {folder.path} belongs to {user_name(folder.owner)}, who is neither "
                "root nor the owner that the section names",
                f"Write owner = {user_name(folder.owner)} into the section, or run: chown root {folder.path}",
            )
        # In a sticky folder, as /tmp is, nobody can replace what others own: good above a folder, not above a file.
        if folder.mode & 0o022 and (is_file or not folder.mode & stat.S_ISVTX):
            raise DeployError(
                f"{self._path} is not safe: others can write to {folder.path} "
                f"({stat.filemode(stat.S_IFDIR | folder.mode)})",
                "Name a path in a folder of its own."
                if folder.mode & stat.S_ISVTX
                else f"Run: chmod go-w {folder.path}",
            )

    def _link(self, folder: Folder, name: str, status: os.stat_result, handle: int) -> str:
        """Return where a link leads; refuse one that an untrusted user could have made, or put there."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise DeployError(f"{self._path} is a symbolic link that leads nowhere", "Remove the link.")
        trusted = administrators()
        if status.st_uid not in trusted or folder.owner not in trusted or folder.mode & 0o022:
            whose = user_name(folder.owner if status.st_uid in trusted else status.st_uid)
            raise DeployError(
                f"{folder.path_of(name)} is a symbolic link, which {whose} can change",
                "Name the path that it leads to, or remove the link.",
            )
        return os.readlink("", dir_fd=handle)
