"""Change a set of files together: all new after commit, all old after rollback, which the next process can do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.deploy.files import FileMetadata, FileSnapshot, Folder, os_error
from certbot_garr_tcs.deploy.folders import FolderReference
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from certbot_garr_tcs.storage import StateFolder


@dataclass(frozen=True)
class Change:
    """The new content of one file; without ``data`` and ``metadata`` it is removed. ``kind``: as in ``Output``."""

    kind: str
    folder: FolderReference
    name: str
    data: bytes | None = field(repr=False)
    metadata: FileMetadata | None

    @property
    def path(self) -> Path:
        """Return the file's path, links resolved."""
        return self.folder.full_path / self.name


@dataclass(frozen=True)
class JournalEntry:
    """One file of a transaction in the journal: where it is, the name it is staged under, and its old content.

    ``old``: name and digest of the old bytes in the journal, and the file's metadata; ``None`` where there was no file.
    ``new``: digest of the new bytes, ``None`` where the file is removed; ``kind`` and ``new`` are empty in journals of
    the version before.
    """

    kind: str
    folder: FolderReference
    name: str
    temporary: str
    old: dict[str, Any] | None
    new: str | None

    @property
    def path(self) -> Path:
        """Return the file's path."""
        return self.folder.full_path / self.name

    @classmethod
    def from_document(cls, document: dict[str, Any], made: Sequence[str] = ()) -> JournalEntry:
        """Read one entry. The version before wrote paths alone, and ``made``: the folders that it would make."""
        if "folder" in document:
            written = {**document["folder"], "make": tuple(document["folder"]["make"])}
            return cls(**{**document, "folder": FolderReference(**written)})
        path, temporary = Path(document["path"]), Path(document["temporary"])
        base = path.parent
        missing: list[str] = []
        while str(base) in made:
            missing.insert(0, base.name)
            base = base.parent
        folder = FolderReference(str(base), make=tuple(missing))
        return cls("", folder, path.name, temporary.name, document["old"], "")


class Journal:
    """The old files of each target's transactions, below the state folder, readable by this user alone.

    ``open/ID.json``: a transaction that is not finished; recovery rolls it back. ``last/ID.json``: the last one that
    was committed; ``certbot rollback`` restores what it replaced. ``bytes/``: old files, and documents while they are
    written; what no document names is removed with the next transaction.
    """

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self.open, self.last, self.bytes = (state.path / "journal" / name for name in ("open", "last", "bytes"))

    def ensure(self) -> None:
        """Create the folders where they are missing."""
        above = Folder.private(self._state.ensure())
        for folder in (self.open.parent, self.open, self.last, self.bytes):
            with above if folder == self.open.parent else Folder.private(folder.parent) as parent:
                if not parent.has(folder.name):
                    parent.make_folder(folder.name, 0o700)

    def unfinished(self) -> list[str]:
        """Return the IDs of transactions that are not finished, oldest first where the clock did not jump."""
        names = _names(self.open)
        return [path.stem for path in sorted((self.open / name for name in names), key=_changed_ns)] if names else []

    def restorable(self) -> list[str]:
        """Return the IDs of the targets whose last deployment can be undone."""
        return [Path(name).stem for name in _names(self.last)]

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return a document of ``open`` or ``last``, or ``None`` where there is none."""
        try:
            with Folder.private(path.parent) as folder:
                found = folder.read(path.name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(f"cannot read the journal {path}", error, f"Look at: ls -ld {path.parent}") from error
        if found is None:
            return None
        try:
            document: dict[str, Any] = json.loads(found.data)
            document["entries"] = [
                JournalEntry.from_document(entry, document.get("folders", ())) for entry in document["entries"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeployError(
                f"cannot read the journal {path}", "Move it away, and run certbot renew again."
            ) from error
        return document

    def last_committed(self, identity: str) -> dict[str, Any] | None:
        """Return the document of a target's last deployment."""
        return self.read(self.last / f"{identity}.json")

    def store_old(self, name: str, old: FileSnapshot) -> dict[str, Any]:
        """Store an old file; return its description for the journal."""
        with Folder.private(self.bytes) as folder:
            folder.stage(name, old.data, _private(folder))
        metadata = FileMetadata.from_document(asdict(old.metadata))
        return {"bytes": name, "sha256": old.sha256, "meta": asdict(metadata)}

    def old(self, entry: JournalEntry) -> FileSnapshot | None:
        """Return the old file of an entry, or ``None`` where there was none."""
        if entry.old is None:
            return None
        with Folder.private(self.bytes) as folder:
            stored = folder.read(entry.old["bytes"])
        if stored is None or stored.sha256 != entry.old["sha256"]:
            raise DeployError(f"the old bytes of {entry.path} are lost", f"Look into {self.bytes}.")
        return FileSnapshot(stored.data, FileMetadata.from_document(entry.old["meta"]))

    def write(self, identity: str, tag: str, document: dict[str, Any]) -> None:
        """Write a document to ``open``, atomically."""
        entries = [asdict(entry) for entry in document["entries"]]
        text = json.dumps({**document, "entries": entries}, indent=1)
        staged = f"{identity}-{tag}-journal"
        with Folder.private(self.bytes) as folder, Folder.private(self.open) as opened:
            folder.sync()  # what the document names must be there before the document is
            folder.stage(staged, text.encode(), _private(folder))
            os.replace(staged, f"{identity}.json", src_dir_fd=folder.handle, dst_dir_fd=opened.handle)
            opened.sync()

    def sweep(self, identity: str) -> None:
        """Remove the old files of this target that no document names any more."""
        named: set[str] = set()
        for folder in (self.open, self.last):
            document = self.read(folder / f"{identity}.json") or {"entries": []}
            named |= {entry.old["bytes"] for entry in document["entries"] if entry.old}
        for path in self.bytes.glob(f"{identity}-*"):
            if path.name not in named:
                path.unlink()

    def remove_last(self, identity: str) -> None:
        """Remove the old files that the last deployment to a target replaced."""
        with Folder.private(self.last) as folder:
            folder.remove(f"{identity}.json")
        self.sweep(identity)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - asked at each lineage: half the price of Path.iterdir
    except FileNotFoundError:
        return []
    except OSError as error:
        raise os_error(f"cannot read the journal {folder}", error, f"Look at: ls -ld {folder}") from error


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # another process has finished it meanwhile


def _private(folder: Folder) -> FileMetadata:
    return FileMetadata(folder.owner, os.fstat(folder.handle).st_gid, 0o600)


class Transaction:
    """One set of changes, from ``begin`` (or ``resume``) to ``commit``, ``roll_back`` or ``abandon``.

    ``unremoved``: temporary files that ``roll_back`` could not remove.
    """

    def __init__(self, journal: Journal, identity: str, document: dict[str, Any]) -> None:
        self._journal = journal
        self._identity = identity
        self._document = document
        self._is_over = False
        self.unremoved: list[str] = []

    @property
    def about(self) -> dict[str, Any]:
        """Return what was given to ``begin``, and ``tag``."""
        about: dict[str, Any] = self._document["about"]
        return about

    @property
    def title(self) -> str:
        """Return the heading of the target's section."""
        return str(self.about.get("title", self._identity))

    @property
    def entries(self) -> list[JournalEntry]:
        """Return the journal's entry of each file."""
        entries: list[JournalEntry] = self._document["entries"]
        return entries

    @property
    def _trusted_uids(self) -> frozenset[int]:
        return frozenset(self._document["trusted"])

    @classmethod
    def begin(
        cls,
        journal: Journal,
        identity: str,
        changes: Sequence[Change],
        about: dict[str, Any],
        trusted_uids: frozenset[int],
    ) -> Transaction:
        """Write the old files and the journal; after this, and not before, files may change.

        ``identity``: letters and digits, one per target; a former transaction of it must be finished. ``trusted_uids``:
        who may own the folders. ``about`` also gets ``tag``, which no other transaction has.
        """
        tag = secrets.token_hex(8)
        try:
            journal.ensure()
            entries = []
            for number, change in enumerate(changes):
                with change.folder.opened(trusted_uids) as folder:
                    old = folder.read(change.name) if folder else None
                stored = journal.store_old(f"{identity}-{tag}-{number}", old) if old else None
                new = None if change.data is None else hashlib.sha256(change.data).hexdigest()
                temporary = f".garr-tcs-{identity}-{tag}-{number}"
                entries.append(JournalEntry(change.kind, change.folder, change.name, temporary, stored, new))
            document = {"about": {**about, "tag": tag}, "trusted": sorted(trusted_uids), "entries": entries}
            journal.write(identity, tag, document)
        except (OSError, DeployError) as error:
            with contextlib.suppress(OSError, DeployError):
                journal.sweep(identity)
            if isinstance(error, DeployError):
                raise
            raise os_error(f"cannot keep a journal in {journal.open.parent}", error) from error
        return cls(journal, identity, document)

    @classmethod
    def resume(cls, journal: Journal, identity: str, trusted_uids: frozenset[int]) -> Transaction | None:
        """Return a transaction that another process, or an earlier call, left open.

        ``trusted_uids``: for a journal of the version before, which names none.
        """
        document = journal.read(journal.open / f"{identity}.json")
        return None if document is None else cls(journal, identity, {"trusted": sorted(trusted_uids), **document})

    def apply(self, changes: Sequence[Change]) -> None:
        """Write every file under a temporary name in its folder first, then rename one after the other.

        After an error the files stay as they are: the caller then calls ``roll_back``.
        """
        doing = ""
        try:
            with contextlib.ExitStack() as handles:
                steps = []
                for change, entry in zip(changes, self.entries):
                    doing = f"cannot create the folder {change.path.parent}"
                    folder = handles.enter_context(change.folder.opened(self._trusted_uids, make=True))
                    if folder is None:
                        raise DeployError(f"{doing}: somebody removes it", "Look who does, and run certbot renew.")
                    steps.append((change, folder, entry.temporary))
                for change, folder, temporary in steps:
                    doing = f"cannot write {change.path}"
                    if change.data is not None and change.metadata is not None:
                        folder.stage(temporary, change.data, change.metadata)
                for change, folder, temporary in steps:
                    doing = f"cannot replace {change.path}"
                    if change.data is None:
                        folder.remove(change.name)
                    else:
                        folder.replace(temporary, change.name)
        except OSError as error:
            raise os_error(doing, error) from error

    def mark_reloading(self) -> None:
        """Record that the service is about to read the new files: after a crash it has to read the old ones again."""
        self.about["reloading"] = True
        try:
            self._journal.write(self._identity, secrets.token_hex(8), self._document)
        except OSError as error:
            raise os_error(f"cannot keep a journal in {self._journal.open}", error) from error

    def commit(self, *, restorable: bool) -> None:
        """Finish with the new files; the old ones stay for ``certbot rollback`` if ``restorable``."""
        name = f"{self._identity}.json"
        try:
            with Folder.private(self._journal.open) as opened, Folder.private(self._journal.last) as last:
                if restorable:
                    os.replace(name, name, src_dir_fd=opened.handle, dst_dir_fd=last.handle)
                    last.sync()
                    opened.sync()
                else:
                    opened.remove(name)
            self._is_over = True
            self._journal.sweep(self._identity)
        except OSError as error:
            raise os_error(f"cannot close the journal {self._journal.open / name}", error) from error

    def roll_back(self) -> None:
        """Finish with the old files. Repeatable, also after a crash at any point, even in this method.

        After commit it does nothing. Where one file cannot be restored the others are, the transaction stays open for
        the next run, and the error gives the state of each file that is not restored.
        """
        if self._is_over:
            return
        failed = list(filter(None, map(self._restore_error, reversed(self.entries))))
        if failed:
            raise DeployError(
                f"cannot put back every file of {self.title}: {'; '.join(failed)}",
                "Correct that, and run certbot renew: it tries again first of all.",
            )
        self._remove_made_folders()
        self.abandon()

    def abandon(self) -> None:
        """Finish with the files as they are, and remove the old ones from the journal."""
        try:
            with Folder.private(self._journal.open) as folder:
                folder.remove(f"{self._identity}.json")
            self._is_over = True
            self._journal.sweep(self._identity)
        except OSError as error:
            raise os_error(f"cannot close the journal of {self._identity}", error) from error

    def is_applied(self) -> bool:
        """Return whether every file has its new content; ``False`` where the journal has no digest of it."""
        for entry in self.entries:
            if entry.new == "":
                return False
            try:
                with self._opened(entry) as folder:
                    found = folder.read(entry.name) if folder else None
            except (DeployError, OSError):
                return False
            if (found.sha256 if found else None) != entry.new:
                return False
        return True

    def old_data(self, entry: JournalEntry) -> bytes | None:
        """Return the old bytes of an entry's file; ``None`` where there was none."""
        old = self._journal.old(entry)
        return None if old is None else old.data

    @contextlib.contextmanager
    def _opened(self, entry: JournalEntry) -> Iterator[Folder | None]:
        with entry.folder.opened(self._trusted_uids) as folder:
            yield folder

    def _remove_made_folders(self) -> None:
        """Remove the folders that were made, innermost first, unless they contain something."""
        made = sorted({entry.folder for entry in self.entries if entry.folder.make}, key=lambda each: len(each.make))
        for folder in reversed(made):
            for depth in reversed(range(len(folder.make))):
                above = FolderReference(**{**folder.__dict__, "make": folder.make[:depth]})
                with contextlib.suppress(OSError, DeployError), above.opened(self._trusted_uids) as parent:
                    if parent is not None:
                        parent.remove_folder(folder.make[depth])

    def _restore_error(self, entry: JournalEntry) -> str:
        """Restore a file; return what went wrong, with the file's state, or nothing."""
        try:
            self._restore(entry)
        except (OSError, DeployError) as error:
            text = error.message if isinstance(error, DeployError) else error.strerror
            return f"{entry.path} is {self._state_of(entry)} ({text})"
        return ""

    def _restore(self, entry: JournalEntry) -> None:
        with self._opened(entry) as folder:
            if folder is None:
                return  # a folder that was to be made and never was
            old = self._journal.old(entry)
            found = None
            with contextlib.suppress(DeployError):  # no file, or none that may be read: it is replaced, never opened
                found = folder.read(entry.name)
            if old is None:
                folder.remove(entry.name)
            elif found is None or found.data != old.data or not found.metadata.satisfies(old.metadata):
                folder.stage(entry.temporary, old.data, old.metadata)
                folder.replace(entry.temporary, entry.name)
            try:
                folder.remove(entry.temporary)
            except OSError as error:  # a disk that is read-only by now; or a folder, and then it is not ours
                self.unremoved.append(f"{folder.path / entry.temporary} ({error.strerror})")

    def _state_of(self, entry: JournalEntry) -> str:
        try:
            with self._opened(entry) as folder:
                found = folder.read(entry.name) if folder else None
        except (DeployError, OSError):
            return "unreadable"
        if found is None:
            return "missing" if entry.old else "absent as before"
        return "old" if entry.old and found.sha256 == entry.old["sha256"] else "not the old one"
