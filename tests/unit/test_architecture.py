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
    {"options", "check", "status", "init", "sandbox"},
    {"account_setup", "ca_directory", "deploy_setup", "failure_hints", "revocation"},
    {"config"},
    {"account", "challenges", "deploy", "ini"},
    {"compat", "lineages", "state", "keys", "private", "certbot_log", "findings"},
    {"atomic_file", "certbot_folders", "renewal_schedule"},
    {"errors"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Which modules may know a package; where it says nothing, none may.
MAY_KNOW = {
    "acme": {"plugin", "ca_directory", "failure_hints", "account.connection_failures"},
    "acme2certifier": {"sandbox.issuing", "sandbox.server", "sandbox.validating"},
    "certbot": {"plugin", "options", "compat", "challenges.delegated", "renewal_schedule"},
    "configobj": {"lineages"},
    "cryptography": {"lineages", "sandbox", "deploy"},
    "dns": {"challenges.dns", "challenges.reachability", "challenges.rfc2136", "sandbox.validating"},
    "requests": {"ca_directory", "failure_hints", "account.connection_failures"},  # comes with acme
    "subprocess": {"sandbox.demo", "sandbox.practice_ca", "sandbox.runner", "deploy.services"},
    "typing_extensions": {"sandbox.practice_ca", "deploy.files", "deploy.folders"},  # for type checkers alone
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
    assert {"plugin", "account.selection", "challenges.dns.zones"} <= MODULES.keys()
    assert f"{OURS}errors.GarrTcsError" in MODULES["compat"]


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
    """What Certbot may change without a word is in compat alone."""
    knowing = {module for module, names in MODULES.items() if any("certbot._internal" in name for name in names)}
    assert knowing == {"compat"}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="only since 3.10 Python tells what belongs to it")
def test_there_is_no_sixth_dependency():
    """What is neither Python's nor ours is in the table."""
    known = {*sys.stdlib_module_names, *MAY_KNOW, OURS[:-1]}
    assert {name.split(".")[0] for names in MODULES.values() for name in names} - known == set()


def loaded_after(first, then):
    """Return what ``then`` adds to sys.modules after ``first``, in a fresh interpreter."""
    program = f"import sys\n{first}\nbefore = set(sys.modules)\n{then}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_plugin_imports_nothing_heavy():
    """Certbot imports every plugin at every start: ours adds neither dns nor zope, and no other room."""
    loaded = loaded_after("import certbot.plugins.common", "import certbot_garr_tcs.plugin")
    assert {name for name in loaded if name.split(".")[0] == OURS[:-1]} == {OURS[:-1], f"{OURS}plugin"}
    assert {name.split(".")[0] for name in loaded} & {"dns", "zope", "configobj", "subprocess"} == set()


def test_parsing_somebody_elses_command_line_imports_the_options_alone():
    """``certbot --version`` loads no room but the plugin and its options."""
    start = "try:\n    certbot.main.main(['--version'])\nexcept SystemExit:\n    pass"
    loaded = loaded_after("import certbot.main", start)
    assert {name for name in loaded if name.startswith(OURS)} == {f"{OURS}plugin", f"{OURS}options"}


def test_one_verb_imports_no_other():
    """``status`` runs every few minutes: it loads neither the sandbox nor Certbot nor what only ``init`` needs."""
    run = "command.main(['status', '--config-dir', '/nowhere', '--work-dir', '/nowhere', '--logs-dir', '/nowhere'])"
    loaded = loaded_after("from certbot_garr_tcs import command", f"{run}\nprint()")
    assert {f"{OURS}status.collect", f"{OURS}lineages"} <= loaded
    heavy = (
        "certbot.configuration",
        "certbot_garr_tcs.init",
        "certbot_garr_tcs.sandbox",
        "cryptography",
        "dns",
        "requests",
    )
    assert {name for name in loaded if is_in(name, heavy)} == set()
