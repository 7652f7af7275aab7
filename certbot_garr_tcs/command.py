"""The command certbot-garr-tcs."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL_WELL, SOMETHING_WRONG, CALLED_WRONGLY, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141

_VERBS = {
    "status": "certbot_garr_tcs.status.cli",
    "init": "certbot_garr_tcs.init.cli",
    "sandbox": "certbot_garr_tcs.sandbox.cli",
}
"""Each verb's module has HELP, add_arguments(parser) and run(args) -> exit status."""


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs, or of one: then the modules of the others are not imported."""
    parser = argparse.ArgumentParser(
        prog="certbot-garr-tcs", description="Help with Certbot and the GARR TCS certificate service."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in [only] if only else _VERBS:
        module = importlib.import_module(_VERBS[name])
        verb = verbs.add_parser(name, help=module.HELP, description=f"{module.HELP[:1].upper()}{module.HELP[1:]}.")
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 all well, 1 something is wrong, 2 called wrongly (argparse's own)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # LANG=C may know nothing but ASCII
    try:
        args = build_parser(arguments[0] if arguments and arguments[0] in _VERBS else None).parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
    except GarrTcsError as error:
        sys.stderr.write(f"certbot-garr-tcs: {error}\n")
        return SOMETHING_WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has read enough. Python flushes once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status


if __name__ == "__main__":
    sys.exit(main())
