"""Imports run downwards only, and nothing heavy is imported before it is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import certbot_garr_tcs

ROOT = Path(certbot_garr_tcs.__file__).parent
ROOT_OF_PROJECT = Path(__file__).parents[2]

PAGE = ROOT_OF_PROJECT / "docs" / "architecture.md"


def rows(heading):
    """Return the rows of the table below a heading of the page, cell by cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}")[2].partition("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return table[2:]


# A module imports from lower layers; packages of one layer do not import each other.
LAYERS = [set(re.findall(r"`(\w+)`", names)) for _, names in rows("Layers")]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

# Which modules may import a package; no other may.
MAY_IMPORT = {
    "acme": {"plugin", "ca_directory", "failure_hints", "account.connection_failures"},
    "acme2certifier": {"sandbox.handlers", "sandbox.server"},
    "certbot": {"plugin", "options", "certbot_api", "challenges.delegated", "renewal_schedule"},
    "configobj": {"lineages"},
    "cryptography": {"lineages", "sandbox", "deploy"},
    "dns": {"challenges.dns", "challenges.reachability", "challenges.rfc2136", "sandbox.handlers"},
    "requests": {"ca_directory", "failure_hints", "account.connection_failures"},  # comes with acme
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
    """A module imports its own package and lower layers; the page names the layer of each."""
    own = module.split(".")[0]
    assert own in LAYER_OF, f"write into docs/architecture.md in which layer {own} is"
    imported = {name[len(OURS) :].split(".")[0] for name in MODULES[module] if name.startswith(OURS)} - {own}
    upwards = {other for other in imported if LAYER_OF.get(other, len(LAYERS)) <= LAYER_OF[own]}
    assert upwards == set()


@pytest.mark.parametrize(
    ("file", "function"),
    [
        tuple(cell.strip("`") for cell in row[1:3])
        for heading in re.findall(r"\n## (A (?:certificate|renewal) .*)", PAGE.read_text(encoding="utf-8"))
        for row in rows(heading)
    ],
)
def test_each_step_on_the_page_is_in_the_code(file, function):
    """A reader who follows a trace finds each function in its file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_traces_are_short():
    """Twelve steps at most; the test above has found both."""
    traces = re.findall(r"\n## (A (?:certificate|renewal) .*)", PAGE.read_text(encoding="utf-8"))
    assert [0 < len(rows(trace)) <= 12 for trace in traces] == [True, True]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_few_modules_import_a_package(package):
    """Certbot, name servers, programs, other people's code: each is imported by few modules."""
    importing = {module for module, names in MODULES.items() if is_in(package, {name.split(".")[0] for name in names})}
    assert {module for module in importing if not is_in(module, MAY_IMPORT[package])} == set()


def test_one_module_imports_certbots_private_modules():
    """What Certbot may change without notice is in certbot_api alone."""
    importing = {module for module, names in MODULES.items() if any("certbot._internal" in name for name in names)}
    assert importing == {"certbot_api"}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="only since 3.10 Python tells what belongs to it")
def test_there_is_no_sixth_dependency():
    """What is neither Python's nor ours is in the table."""
    known = {*sys.stdlib_module_names, *MAY_IMPORT, OURS[:-1]}
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


def test_one_verb_imports_no_other():
    """``status`` runs every few minutes: it loads neither the sandbox nor Certbot nor what only ``init`` needs."""
    run = "command.main(['status', '--config-dir', '/nowhere', '--work-dir', '/nowhere', '--logs-dir', '/nowhere'])"
    program = f"import sys\nfrom certbot_garr_tcs import command\n{run}\nprint()\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
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
