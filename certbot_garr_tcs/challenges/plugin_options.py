"""Set another plugin's options from the keys of a section, with the types that the plugin declares."""

from __future__ import annotations

import argparse
import copy
from typing import TYPE_CHECKING, Any, NoReturn

from certbot_garr_tcs.challenges.settings import KEYS
from certbot_garr_tcs.section_reader import NO, YES, could_be_secret, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class _RejectedError(Exception):
    """argparse rejected a value."""


class _Parser(argparse.ArgumentParser):
    """A parser that records what a plugin declares, and raises where argparse would end the program."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        self.declared: dict[str, argparse.Action] = {}

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        action = super().add_argument(*args, **kwargs)
        for option in action.option_strings:
            if option.startswith("--"):
                self.declared[option[2:]] = action
        return action

    def error(self, message: str) -> NoReturn:
        raise _RejectedError(message)


def apply_options(
    plugin: str, plugin_class: Any, options: Mapping[str, str], namespace: argparse.Namespace
) -> list[str]:
    """Set ``options`` on ``namespace`` with the types and actions that the plugin declares; return every problem.

    Certbot's own ``http-01-port`` and ``http-01-address`` are accepted too. What the section does not name stays as
    Certbot has it. No problem quotes what ``keys.could_be_secret``.
    """
    parser = _Parser()
    plugin_class.inject_parser_options(parser, plugin)
    required = _lift_required(parser)
    own = set(parser.declared)
    parser.add_argument("--http-01-port", dest="http01_port", type=_port, default=argparse.SUPPRESS)
    parser.add_argument("--http-01-address", dest="http01_address", default=argparse.SUPPRESS)
    given = {key.replace("_", "-"): value for key, value in options.items()}
    problems = []
    if plugin == "webroot" and own & given.keys():
        _reset(namespace, *(parser.declared[key] for key in own))
    for position, (key, value) in enumerate(given.items(), 1):
        action = parser.declared.get(key)
        if action is None:
            problems.append(_unknown(plugin, key, position, parser.declared))
        else:
            problems.extend(_apply(parser, key, action, value, namespace))
    parser.parse_args([], namespace)  # what Certbot's own parser has not set gets its default
    problems.extend(f"{key} is missing" for key in required if key not in given)
    if plugin == "webroot" and not problems and not (namespace.webroot_path or namespace.webroot_map):
        problems.append("webroot-path is missing")
    return problems


def _apply(parser: _Parser, key: str, action: argparse.Action, value: str, namespace: argparse.Namespace) -> list[str]:
    arguments = [f"--{key}={value}"]
    if action.nargs == 0:
        if value.lower() not in YES | NO:
            return [f"{key} is yes or no"]
        arguments = [f"--{key}"] if value.lower() in YES else []
    if key not in ("webroot-path", "webroot-map"):  # these two act together, and are reset together
        _reset(namespace, action)
    try:
        parser.parse_args(arguments, namespace)
    except _RejectedError:
        return [f"{key} is not {_wanted(action)}"]
    except Exception as error:  # noqa: BLE001 - the action is the other plugin's code
        return [f"{key}: {without_secrets(str(error), [value]) or type(error).__name__}"]
    return []


def _reset(namespace: argparse.Namespace, *actions: argparse.Action) -> None:
    for action in actions:
        if action.default is not argparse.SUPPRESS:
            setattr(namespace, action.dest, copy.deepcopy(action.default))


def _lift_required(parser: _Parser) -> list[str]:
    """Make required options optional, so that each can be parsed alone; return their keys."""
    keys = [key for key, action in parser.declared.items() if action.required]
    for key in keys:
        parser.declared[key].required = False
    return keys


def without_secrets(text: str, values: Iterable[str]) -> str:
    """Replace those values that could be secrets in another plugin's text."""
    for value in values:
        if could_be_secret(value):
            text = text.replace(value, "…")
    return text


def _unknown(plugin: str, key: str, position: int, declared: Mapping[str, argparse.Action]) -> str:
    if f"{plugin}-{key}" in declared:
        return f"{key} is written in full as {plugin}-{key}"
    near = did_you_mean(key, declared)
    return f"{key if near or key in KEYS else f'option {position}'} is no option of {plugin}{near}"


def _wanted(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"one of {', '.join(str(choice) for choice in action.choices)}"
    if action.type is int:
        return "a whole number"
    return f"a {getattr(action.type, '__name__', 'usable value').strip('_')}"


def _port(text: str) -> int:
    if not 0 < int(text) < 65536:  # noqa: PLR2004 - sixteen bits
        raise ValueError(text)
    return int(text)
