"""Imports run downwards only, and nothing heavy is imported before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import certbot_garr_tcs

ROOT = Path(certbot_garr_tcs.__file__).parent

# A room imports from lower floors; rooms of one floor do not know each other.
FLOORS = (
    {"plugin", "command"},
    {"options", "check", "status", "sandbox"},
    {"deploy_setup", "failure_hints", "revocation"},
    {"config"},
    {"account", "challenges", "deploy", "ini"},
    {"certbot_api", "lineages", "section_reader"},
    {"storage"},
    {"errors"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Which modules may know a package; where it says nothing, none may.
MAY_KNOW = {
    "acme": {"plugin", "failure_hints", "account.connection_failures"},
    "acme2certifier": {"sandbox.handlers", "sandbox.server"},
    "certbot": {"plugin", "options", "certbot_api", "challenges.delegated"},
    "configobj": {"lineages"},
    "cryptography": {"lineages", "sandbox", "deploy"},
    "dns": {"challenges.dns", "challenges.reachability", "challenges.rfc2136", "sandbox.handlers"},
    "requests": {"failure_hints", "account.connection_failures"},  # comes with acme
    "subprocess": {"sandbox.ca", "sandbox.certbot", "sandbox.web_server", "deploy.commands"},
    "typing_extensions": {"sandbox.ca", "deploy.files", "deploy.folders"},  # for type checkers alone
    "zope": {"challenges"},
}


def module_name(path):
    """Return a module's name below our package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Return the full name of everything that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


MODULES = {module_name(path): imports(path) for path in sorted(ROOT.rglob("*.py"))}
OURS = f"{certbot_garr_tcs.__name__}."


def is_in(module, places):
    """Tell whether a module is one of the places, or below one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_the_modules_are_found():
    """The table is compared with the code itself, and not with nothing."""
    assert {"plugin", "account.selection", "challenges.dns.location"} <= MODULES.keys()
    assert f"{OURS}errors.GarrTcsError" in MODULES["certbot_api"]


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_imports_run_downwards(module):
    """A room imports itself and rooms of lower floors; every room has its floor."""
    room = module.split(".")[0]
    assert room in FLOOR_OF, f"say on which floor {room} is"
    imported = {name[len(OURS) :].split(".")[0] for name in MODULES[module] if name.startswith(OURS)} - {room}
    upwards = {other for other in imported if FLOOR_OF.get(other, len(FLOORS)) <= FLOOR_OF[room]}
    assert upwards == set()


@pytest.mark.parametrize("package", MAY_KNOW)
def test_few_rooms_know_a_package(package):
    """Certbot, name servers, programs, other people's code: each has its rooms."""
    knowing = {module for module, names in MODULES.items() if is_in(package, {name.split(".")[0] for name in names})}
    assert {module for module in knowing if not is_in(module, MAY_KNOW[package])} == set()


def test_one_room_knows_certbots_private_modules():
    """What Certbot may change without a word is in certbot_api alone."""
    knowing = {module for module, names in MODULES.items() if any("certbot._internal" in name for name in names)}
    assert knowing == {"certbot_api"}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="only since 3.10 Python tells what belongs to it")
def test_there_is_no_sixth_dependency():
    """What is neither Python's nor ours is in the table."""
    known = {*sys.stdlib_module_names, *MAY_KNOW, OURS[:-1]}
    assert {name.split(".")[0] for names in MODULES.values() for name in names} - known == set()


PROGRAM = """
import sys
import certbot.plugins.common
before = set(sys.modules)
import certbot_garr_tcs.plugin
print(*sorted(set(sys.modules) - before))
import certbot.main
try:
    certbot.main.main(["--version"])
except SystemExit:
    print(*sorted(sys.modules))
"""


def test_certbot_loads_little_of_ours_for_other_people():
    """Importing the plugin adds neither dns nor zope, nor another module of ours; ``--version`` adds the options.

    Certbot imports every plugin at every start, and parses the options of all.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    by_plugin, after_version = set(lines[0].split()), set(lines[-1].split())
    ours = {OURS[:-1], f"{OURS}plugin"}
    assert {name for name in by_plugin if name.split(".")[0] == OURS[:-1]} == ours
    assert {name.split(".")[0] for name in by_plugin} & {"dns", "zope", "configobj", "subprocess"} == set()
    assert {name for name in after_version if name.split(".")[0] == OURS[:-1]} == {*ours, f"{OURS}options"}
