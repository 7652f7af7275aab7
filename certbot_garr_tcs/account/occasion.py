"""What Certbot is about to do (data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import compat

if TYPE_CHECKING:
    from certbot_garr_tcs.account.selection import Run


@dataclass(frozen=True)
class Occasion:
    """Say what Certbot is about to do.

    ``typed``: whether the user set an option of that name. ``notify``: shows one sentence to the user.
    ``registers``: whether Certbot would register an account where there is none; such a run alone writes down which
    key ID made which account. ``wants_new_account``: one is asked for although there may be others. ``register``
    registers one beside others, now or when Certbot gets there, and calls back with its ID.
    """

    run: Run
    typed: Callable[[str], bool]
    notify: Callable[[str], None]
    registers: bool = True
    new_lineage: bool = False
    wants_new_account: bool = False
    register: Callable[[Any, Callable[[str], None]], None] = lambda config, done: done(compat.register_account(config))
