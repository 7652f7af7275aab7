"""The sandbox's practice CA with what only tests need: its log by topic, other settings, faults on purpose."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.sandbox import ca
from certbot_garr_tcs.sandbox.settings import PracticeOptions
from certbot_garr_tcs.state import replace_file
from support.needs import need

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certbot_garr_tcs.sandbox.ca import Request

FAULTY_SERVER = Path(__file__).with_name("faulty_server.py")


def need_practice_ca() -> None:
    """Skip or fail the test, as ``need`` does, if acme2certifier is not installed."""
    need(importlib.util.find_spec("acme2certifier") is not None, "acme2certifier (extra: sandbox)")


class PracticeCa(ca.PracticeCa):
    """A practice CA for tests; ``options`` are the fields of ``PracticeOptions``.

    - ``faulty``: ``set_faults`` makes its server fail; see faulty_server.py.
    - ``configuration``: changes to acme2certifier's configuration; ``None`` instead of a section removes it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        faulty: bool = False,
        configuration: Mapping[str, Mapping[str, str] | None] | None = None,
        **options: Any,
    ) -> None:
        self._changes = configuration or {}
        if faulty:
            self.program = (str(FAULTY_SERVER),)
        super().__init__(folder, PracticeOptions(**options))

    def configuration(self) -> dict[str, dict[str, str]]:
        """Return the sandbox's configuration with this CA's changes."""
        sections = super().configuration()
        for name, changes in self._changes.items():
            if changes is None:
                del sections[name]
            else:
                sections[name].update(changes)
        return sections

    def remove_key(self, key_id: str) -> None:
        """Remove an EAB pair: its accounts are blocked at once."""
        self._write_keys({known: key for known, key in self._keys().items() if known != key_id})

    def registrations(self) -> list[Request]:
        """Return all requests for an account (RFC 8555 §7.3), refused ones too."""
        return [request for request in self.requests() if request.path == "/acme/newaccount"]

    def deactivations(self) -> list[Request]:
        """Return all requests that deactivate an account or authorization (RFC 8555 §7.3.6, §7.5.2)."""
        return [request for request in self.requests() if request.payload.get("status") == "deactivated"]


def set_faults(ca: PracticeCa, **faults: Mapping[str, Any]) -> None:
    """Replace the faults of a faulty practice CA; without any it works again (see faulty_server.py)."""
    replace_file(ca.folder / "faults.json", json.dumps(faults).encode())
