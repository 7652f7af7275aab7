"""Read and check garr-tcs.ini."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs import ini
from certbot_garr_tcs.account.settings import KEYS as ACCOUNT_KEYS
from certbot_garr_tcs.account.settings import read_account
from certbot_garr_tcs.challenges.settings import DNS_01, HTTP_01, read_solver_section
from certbot_garr_tcs.challenges.settings import KEYS as SOLVER_KEYS
from certbot_garr_tcs.deploy.settings import KEYS as TARGET_KEYS
from certbot_garr_tcs.deploy.settings import path_conflicts, read_target
from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.section_reader import MOST_PROBLEMS, could_be_secret, heading, nearest
from certbot_garr_tcs.storage import read_private

if TYPE_CHECKING:
    from certbot_garr_tcs.account.settings import AccountSettings
    from certbot_garr_tcs.challenges.settings import SolverSection
    from certbot_garr_tcs.deploy.settings import Target
    from certbot_garr_tcs.section_reader import Section

FILE_NAME = "garr-tcs.ini"
"""The file's name in Certbot's ``--config-dir``, where nobody names another."""

_KINDS = ("account", DNS_01, HTTP_01, "deploy")
_KEYS = frozenset({*ACCOUNT_KEYS, *SOLVER_KEYS, *TARGET_KEYS})
_LONGEST_NAME = 253  # of a DNS name, as text without the last dot (RFC 1035 §2.3.4)
_LONGEST_PATH = 1024


@dataclass(frozen=True)
class Configuration:
    """A whole garr-tcs.ini, checked. Without ``account``, another source decides the CA."""

    path: Path
    account: AccountSettings | None = None
    solvers: tuple[SolverSection, ...] = ()
    targets: tuple[Target, ...] = ()


def load(path: Path) -> Configuration:
    """Read and check a garr-tcs.ini; raise one ``ConfigError`` with every problem of it.

    The file must belong to this user and to nobody else (``storage.read_private``). No message shows what could be a
    secret (rule: ``section_reader.could_be_secret``). ``certbot renew`` calls this once for every lineage: a file that
    has not changed meanwhile, nor its owner or mode, is read once in a process.
    """
    try:
        seen = path.stat()
    except OSError:
        return _load(path)  # which raises what is wrong
    return _load_once(path, (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


@lru_cache(maxsize=8)
def _load_once(path: Path, _: tuple[int, ...]) -> Configuration:
    return _load(path)


def _load(path: Path) -> Configuration:
    return parse(read_private(path), path)


def parse(text: str, path: Path) -> Configuration:
    """Check the text of the file ``path``; raises as ``load`` does."""
    sections, problems = ini.split(text, _KEYS)
    account: AccountSettings | None = None
    solvers: list[SolverSection] = []
    targets: list[Target] = []
    seen: set[tuple[str, str]] = set()

    def read(name: str) -> str:
        return _read_beside(path, name)

    for section in sections:
        if len(problems) > MOST_PROBLEMS:
            break
        problem = _heading_problem(section, seen)
        found = [f"line {section.line}{problem}"] if problem else []
        if found:
            pass
        elif section.kind == "account":
            account, found = read_account(section, path, read)
        elif section.kind == "deploy":
            target, found = read_target(section, path)
            targets += [target] if target else []
        else:
            solver, found = read_solver_section(section, path, read)
            solvers += [solver] if solver else []
        problems += found
    problems += path_conflicts(targets)
    if problems:
        raise _refused(path, problems)
    return Configuration(path, account, tuple(solvers), tuple(targets))


def _heading_problem(section: Section, seen: set[tuple[str, str]]) -> str | None:
    """Return what is wrong with a section's heading, and add it to those that were ``seen``."""
    kind, name = section.kind, section.name
    if kind not in _KINDS:
        near = nearest(kind, _KINDS)
        if near:
            return f': [{kind}] is no section; did you mean "{near}"?'
        return " begins no section; there are [account], [dns-01 …], [http-01 …], [deploy …]"
    same = (kind, name if kind == "deploy" else name.lower().rstrip("."))
    if same in seen:
        return f": {heading(kind, name)} stands there twice"
    seen.add(same)
    if kind == "deploy" and not name:
        return ": [deploy] needs a name: [deploy NAME]"
    return _name_problem(kind, name)


def _name_problem(kind: str, name: str) -> str | None:
    if kind == "account" and name:
        return ": [account] takes no name; write [account]"
    if len(name) > _LONGEST_NAME:
        return f": the name of this [{kind} …] is longer than {_LONGEST_NAME} octets; no DNS name is"
    if could_be_secret(name):
        return f": the name of this [{kind} …] looks like a key or a password, and would be shown; choose another one"
    return None


def _refused(path: Path, problems: list[str]) -> ConfigError:
    count = len(problems)
    many = f"{count} problems: " if count > 1 else ""
    if count > MOST_PROBLEMS:
        many = f"more than {MOST_PROBLEMS} problems, of which these are the first: "
    return ConfigError(
        f"{path}: {many}{'; '.join(problems[:MOST_PROBLEMS])}",
        "Correct the file and run the command again; nothing was sent to the CA.",
    )


def _read_beside(path: Path, name: str) -> str:
    """Read a private file that ``path`` names; a relative name is relative to the folder of ``path``."""
    named = Path(os.path.join(path.parent, os.path.expanduser(name)))  # noqa: PTH111, PTH118 - a Path raises for ~nobody
    looks_like_a_path = "/" in name and len(name) <= _LONGEST_PATH and not could_be_secret(name)
    if not looks_like_a_path and not os.path.lexists(named):
        raise ConfigError(
            "there is no such file" if "/" in name else f"there is no such file in {path.parent}",
            "Give the path of a file that holds the secret, not the secret itself.",
        )
    return read_private(named)


def default_path(config_dir: str) -> Path:
    """Return where the file is looked for where nobody names it."""
    return Path(config_dir) / FILE_NAME


def load_named(named: str | None, config_dir: str) -> Configuration | None:
    """Load the file that the user named, or the one in ``config_dir``; ``None`` where neither is there.

    A named file that is missing is an error.
    """
    if named:
        return load(Path(named))
    path = default_path(config_dir)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may well be there, as for a user who cannot look into config_dir: reading it shows why not
    return load(path)
