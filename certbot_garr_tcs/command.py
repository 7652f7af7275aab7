"""The command certbot-garr-tcs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.sandbox import cli as sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL_WELL, SOMETHING_WRONG, CALLED_WRONGLY, INTERRUPTED = 0, 1, 2, 130

_VERBS = {"sandbox": sandbox}
"""Each verb's module has HELP, add_arguments(parser) and run(args) -> exit status."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="certbot-garr-tcs", description="Help with Certbot and the GARR TCS certificate service."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in _VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP, description=f"{module.HELP[:1].upper()}{module.HELP[1:]}.")
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 all well, 1 something is wrong, 2 called wrongly (argparse's own)."""
    args = build_parser().parse_args(arguments)
    try:
        status: int = args.run(args)
    except GarrTcsError as error:
        sys.stderr.write(f"certbot-garr-tcs: {error}\n")
        return SOMETHING_WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
