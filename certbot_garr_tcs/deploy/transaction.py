"""Change a set of files together: all new after commit, all old after roll back, also by the next process."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.deploy.files import Meta, Seen, complaint, look, make_folder, remove, stage, swap, sync_folder
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certbot_garr_tcs.state import StateFolder


@dataclass(frozen=True)
class Change:
    """Say what one file will be. ``path``: resolved; without ``data`` and ``meta`` the file is removed."""

    path: Path
    data: bytes | None = field(repr=False)
    meta: Meta | None


class Journal:
    """Keep the old files of each target's transaction, below the state folder, for this user's eyes alone.

    ``open/ID.json`` is a transaction that is not over: its presence is what recovery looks for.
    ``last/ID.json`` is the last one committed: what it replaced can be brought back. ``bytes/`` holds old
    files, and documents before they are whole; what no document names is swept away with the next one.
    """

    def __init__(self, state: StateFolder) -> None:
        """Name the folders; touch nothing."""
        self._state = state
        self.open, self.last, self.bytes = (state.path / "journal" / name for name in ("open", "last", "bytes"))

    def make(self) -> None:
        """Create the folders where they are missing."""
        self._state.make()
        for folder in (self.open.parent, self.open, self.last, self.bytes):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
                sync_folder(folder.parent)

    def unfinished(self) -> list[str]:
        """Return the IDs of transactions that are not over, oldest first where the clock did not jump."""
        try:
            names = os.listdir(self.open)  # noqa: PTH208 - asked at each lineage: half the price of Path.iterdir
        except FileNotFoundError:
            return []
        found = [self.open / name for name in names]
        return [path.stem for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return a document of ``open`` or ``last``, or ``None`` where there is none."""
        seen = look(path)
        if seen is None:
            return None
        try:
            document: dict[str, Any] = json.loads(seen.data)
        except ValueError as error:
            raise DeployError(f"cannot read the journal {path}", "Move it away, and run it again.") from error
        return document

    def keep(self, name: str, seen: Seen) -> dict[str, Any]:
        """Store an old file; return what its journal says of it."""
        stage(self.bytes / name, seen.data, _private(self._state.path))
        return {"bytes": name, "sha256": seen.sha256, "meta": asdict(seen.meta)}

    def old(self, entry: dict[str, Any]) -> Seen | None:
        """Return the old file of a journal's entry, or ``None`` where there was none."""
        if entry["old"] is None:
            return None
        kept = look(self.bytes / entry["old"]["bytes"])
        if kept is None or kept.sha256 != entry["old"]["sha256"]:
            raise DeployError(f"the old bytes of {entry['path']} are lost", f"Look into {self.bytes}.")
        return Seen(kept.data, Meta(**entry["old"]["meta"]))

    def write(self, identity: str, tag: str, document: dict[str, Any]) -> None:
        """Put a document into ``open``, whole or not at all."""
        staged = self.bytes / f"{identity}-{tag}-journal"
        sync_folder(self.bytes)  # what the document names must be there before the document is
        stage(staged, json.dumps(document, indent=1).encode(), _private(self._state.path))
        swap(staged, self.open / f"{identity}.json")

    def sweep(self, identity: str) -> None:
        """Remove the old files of this target that no document names any more."""
        named: set[str] = set()
        for folder in (self.open, self.last):
            document = self.read(folder / f"{identity}.json") or {"entries": []}
            named |= {entry["old"]["bytes"] for entry in document["entries"] if entry["old"]}
        for path in self.bytes.glob(f"{identity}-*"):
            if path.name not in named:
                path.unlink()


def _private(folder: Path) -> Meta:
    status = folder.stat()
    return Meta(status.st_uid, status.st_gid, 0o600)


class Transaction:
    """Hold one set of changes between ``begin`` (or ``resume``) and ``commit`` or ``roll_back``."""

    def __init__(self, journal: Journal, identity: str, document: dict[str, Any]) -> None:
        """Take what the journal says; ``begin`` and ``resume`` are the ways in."""
        self._journal = journal
        self._identity = identity
        self._document = document
        self._over = False

    @property
    def about(self) -> dict[str, Any]:
        """Return what ``begin`` was told to remember."""
        about: dict[str, Any] = self._document["about"]
        return about

    @classmethod
    def begin(cls, journal: Journal, identity: str, changes: Sequence[Change], about: dict[str, Any]) -> Transaction:
        """Write down what is there now; after this, and not before, files may change.

        ``identity``: letters and digits, one per target. A former transaction of it must be over.
        """
        tag = secrets.token_hex(4)
        try:
            journal.make()
            entries = []
            for number, change in enumerate(changes):
                seen = look(change.path)
                old = journal.keep(f"{identity}-{tag}-{number}", seen) if seen else None
                temporary = change.path.with_name(f".garr-tcs-{identity}-{tag}-{number}")
                entries.append({"path": str(change.path), "temporary": str(temporary), "old": old})
            parents = {folder for change in changes for folder in change.path.parents if not folder.exists()}
            document = {"about": about, "entries": entries, "folders": sorted(map(str, parents))}
            journal.write(identity, tag, document)
        except (OSError, DeployError) as error:
            with contextlib.suppress(OSError):
                journal.sweep(identity)
            if isinstance(error, DeployError):
                raise
            raise complaint(f"cannot keep a journal in {journal.open.parent}", error) from error
        return cls(journal, identity, document)

    @classmethod
    def resume(cls, journal: Journal, identity: str) -> Transaction | None:
        """Take up a transaction that another process, or an earlier call, left open."""
        document = journal.read(journal.open / f"{identity}.json")
        return None if document is None else cls(journal, identity, document)

    def apply(self, changes: Sequence[Change]) -> None:
        """Write everything beside its place first, then put it there, file by file.

        An error leaves the set as it is: ``roll_back`` is the caller's next call.
        """
        doing = ""
        try:
            for folder in map(Path, self._document["folders"]):
                doing = f"cannot create the folder {folder}"
                make_folder(folder)
            steps = list(zip(changes, (Path(entry["temporary"]) for entry in self._document["entries"])))
            for change, temporary in steps:
                doing = f"cannot write {change.path}"
                if change.data is not None and change.meta is not None:
                    stage(temporary, change.data, change.meta)
            for change, temporary in steps:
                doing = f"cannot replace {change.path}"
                if change.data is None:
                    remove(change.path)
                else:
                    swap(temporary, change.path)
        except OSError as error:
            raise complaint(doing, error) from error

    def mark(self) -> None:
        """Note that the service is about to read the new files: after a crash it has to read the old ones."""
        self.about["reloading"] = True
        try:
            self._journal.write(self._identity, secrets.token_hex(4), self._document)
        except OSError as error:
            raise complaint(f"cannot keep a journal in {self._journal.open}", error) from error

    def commit(self, *, restorable: bool) -> None:
        """End with the new files; keep the old ones for a later ``certbot rollback`` if ``restorable``."""
        document = self._journal.open / f"{self._identity}.json"
        try:
            if restorable:
                document.replace(self._journal.last / document.name)
                sync_folder(self._journal.last)
                sync_folder(self._journal.open)
            else:
                remove(document)
            self._over = True
            self._journal.sweep(self._identity)
        except OSError as error:
            raise complaint(f"cannot close the journal {document}", error) from error

    def roll_back(self) -> None:
        """End with the old files. Repeatable; may follow a crash at any point, its own included.

        After commit it does nothing. Where one file cannot be put back the others are, the transaction stays
        open for the next run, and the error says which file is how.
        """
        if self._over:
            return
        failed = list(filter(None, map(self._tried, reversed(self._document["entries"]))))
        if failed:
            raise DeployError(
                f"cannot put back every file of {self.about.get('title', self._identity)}: {'; '.join(failed)}",
                "Mend that, and run certbot renew: it tries again first of all.",
            )
        for folder in reversed(self._document["folders"]):
            with contextlib.suppress(OSError):  # somebody put something there, or it was never made
                Path(folder).rmdir()
        try:
            remove(self._journal.open / f"{self._identity}.json")
            self._over = True
            self._journal.sweep(self._identity)
        except OSError as error:
            raise complaint(f"cannot close the journal of {self._identity}", error) from error

    def _tried(self, entry: dict[str, Any]) -> str:
        try:
            self._put_back(entry)
        except (OSError, DeployError) as error:
            text = error.message if isinstance(error, DeployError) else error.strerror
            return f"{entry['path']} is {self._how(entry)} ({text})"
        return ""

    def _put_back(self, entry: dict[str, Any]) -> None:
        path, temporary = Path(entry["path"]), Path(entry["temporary"])
        if entry["old"] is None and not path.parent.is_dir():
            return  # a folder that was to be made and never was
        remove(temporary)
        old = self._journal.old(entry)
        if old is None:
            remove(path)
        elif look(path) != old:
            stage(temporary, old.data, old.meta)
            swap(temporary, path)

    def _how(self, entry: dict[str, Any]) -> str:
        try:
            seen = look(Path(entry["path"]))
        except DeployError:
            return "unreadable"
        if seen is None:
            return "missing" if entry["old"] else "absent as before"
        return "old" if entry["old"] and seen.sha256 == entry["old"]["sha256"] else "not the old one"
