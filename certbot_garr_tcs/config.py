"""garr-tcs.ini -> frozen, validated values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from configobj import ConfigObj, ConfigObjError, DuplicateError, NestingError, Section

from certbot_garr_tcs.account.settings import account_from_keys
from certbot_garr_tcs.challenges.parsing import section_from_keys
from certbot_garr_tcs.challenges.sections import DNS_01, HTTP_01
from certbot_garr_tcs.deploy.section import target_from_keys
from certbot_garr_tcs.deploy.targets import clashes
from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.keys import did_you_mean
from certbot_garr_tcs.private import read_private

if TYPE_CHECKING:
    from certbot_garr_tcs.account.settings import AccountSettings
    from certbot_garr_tcs.challenges.sections import SolverSection
    from certbot_garr_tcs.deploy.targets import Target

FILE_NAME = "garr-tcs.ini"
"""The file's name in Certbot's ``--config-dir``, where nobody names another."""

_KINDS = ("account", DNS_01, HTTP_01, "deploy")


@dataclass(frozen=True)
class Configuration:
    """Hold a whole garr-tcs.ini. Without an ``account`` it says nothing about the CA."""

    path: Path
    account: AccountSettings | None = None
    solvers: tuple[SolverSection, ...] = ()
    targets: tuple[Target, ...] = ()


def load(path: Path) -> Configuration:
    """Read and check a garr-tcs.ini; raise one ``ConfigError`` with every problem of it.

    The file must belong to this user and to nobody else (``private.read_private``). No message shows a
    value that could be a secret. ``certbot renew`` asks once for every lineage: a file that has not changed
    meanwhile, nor its owner or mode, is read once in a process.
    """
    try:
        seen = path.stat()
    except OSError:
        return _load(path)  # which says what is wrong
    return _load_once(path, (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))


@lru_cache(maxsize=8)
def _load_once(path: Path, _: tuple[int, ...]) -> Configuration:
    return _load(path)


def _load(path: Path) -> Configuration:
    sections, problems = _sections(read_private(path))
    account: AccountSettings | None = None
    solvers: list[SolverSection] = []
    targets: list[Target] = []
    for title, values in sections:
        kind, _, rest = title.partition(" ")
        rest = rest.strip()
        found: list[str] = []
        if kind == "account" and not rest:
            account, found = account_from_keys(values, path, lambda name: _read_beside(path, name))
        elif kind in (DNS_01, HTTP_01):
            solver, found = section_from_keys(kind, rest, values, path, lambda name: _read_beside(path, name))
            solvers += [solver] if solver else []
        elif kind == "deploy" and rest:
            target, found = target_from_keys(rest, values, path)
            targets += [target] if target else []
        else:
            found = [f"[{title}] {_no_section(kind)}"]
        problems += found
    problems += clashes(targets)
    if problems:
        many = f"{len(problems)} problems: " if len(problems) > 1 else ""
        raise ConfigError(
            f"{path}: {many}{'; '.join(problems)}",
            "Mend the file and run the command again; nothing was sent to the CA.",
        )
    return Configuration(path, account, tuple(solvers), tuple(targets))


def _read_beside(path: Path, name: str) -> str:
    """Read a private file that ``path`` names; a relative name is relative to the folder of ``path``."""
    return read_private(path.parent / Path(name).expanduser())


def _no_section(kind: str) -> str:
    if kind == "deploy":
        return "needs a name: [deploy NAME]"
    if kind == "account":
        return "takes no name: write [account]"
    return f"is no section{did_you_mean(kind, _KINDS) or '; there are [account], [dns-01 …], [http-01 …], [deploy …]'}"


def _sections(text: str) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """Return headings and their keys (dashes, values unquoted), and what is wrong with the text itself."""
    lines = text.splitlines()
    try:
        parsed = ConfigObj(lines, interpolation=False, list_values=False, raise_errors=False)
    except ConfigObjError as error:
        # The library's own texts quote the line, and a line may hold a secret: only its number goes on.
        return [], [_syntax_problem(each) for each in (getattr(error, "errors", None) or [error])]
    problems = [f'"{key}" stands before the first section; put it under [account]' for key in parsed.scalars]
    sections = []
    titles: set[str] = set()
    for heading in parsed.sections:
        section = parsed[heading]
        title = (
            " ".join(heading.split()).rstrip(".").lower()
            if not heading.startswith("deploy")
            else " ".join(heading.split())
        )
        if title in titles:
            problems.append(f"[{heading}] stands there twice")
        titles.add(title)
        problems += [
            f"[[{nested}]] below [{heading}]: sections stand in single brackets" for nested in section.sections
        ]
        values, wrong = _values(section, heading, lines)
        problems += wrong
        sections.append((title, values))
    return sections, problems


def _syntax_problem(error: ConfigObjError) -> str:
    where = f"line {error.line_number}"
    if isinstance(error, DuplicateError):
        return f"{where}: the same key or section stands there twice"
    if isinstance(error, NestingError):
        return f"{where}: the section's brackets do not match"
    return f'{where} is neither "[section]" nor "key = value", or its quotes do not match'


def _values(section: Section, heading: str, lines: list[str]) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    problems: list[str] = []
    for written in section.scalars:
        key = written.lower().replace("_", "-")
        if key in values:
            problems.append(f"[{heading}] {key} stands there twice (dashes and underscores are the same)")
            continue
        value = section[written]
        values[key] = _unquoted(value)
        comment = section.inline_comments[written]
        if comment and any(line.rstrip().endswith(f"{value}{comment}") for line in lines):
            problems.append(
                f"[{heading}] {key} has a # in it that no blank precedes, which would cut the value; put the whole "
                "value in quotes"
            )
        if "\n" in value:
            problems.append(f"[{heading}] {key} goes over several lines; put the value on one")
    return values, problems


def _unquoted(value: str) -> str:
    """Strip one matching pair of outer quotes."""
    pair = 2
    return value[1:-1] if len(value) >= pair and value[0] == value[-1] and value[0] in "\"'" else value


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
        pass  # it may well be there, as for a user who cannot look into config_dir: reading it tells why not
    return load(path)
