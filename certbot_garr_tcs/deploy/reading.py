"""Read what a lineage offers from Certbot's own folders."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from certbot_garr_tcs import lineages
from certbot_garr_tcs.deploy.certificate import CertificateBundle
from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path


class LineageFiles:
    """The files of one lineage: ``live`` is their folder, ``live/NAME``; they are read when they are needed."""

    def __init__(self, name: str, live: Path) -> None:
        """Read nothing yet."""
        self.name = name
        self.live: Path | None = live

    @cached_property
    def bundle(self) -> CertificateBundle:
        """Return certificate, chain and key, each file read once."""
        assert self.live is not None  # noqa: S101 - for type checkers
        try:
            cert, chain, fullchain, key = ((self.live / f"{piece}.pem").read_bytes() for piece in lineages.PIECES)
        except OSError as error:
            hint = f"Look at it with: certbot certificates --cert-name {self.name}"
            raise os_error(f"lineage {self.name}: cannot read {error.filename}", error, hint) from error
        return CertificateBundle(self.name, cert, chain, fullchain, key, live=self.live)


class Lineages:
    """Certbot's lineages, by name: from what Certbot hands over, else from its renewal directory."""

    def __init__(self, renewal_dir: Path, options: str = "-i garr-tcs") -> None:
        """Read nothing yet. ``options``: see ``Installer``."""
        self._renewal_dir = renewal_dir
        self._options = options
        self._live: dict[str, Path] = {}

    def add(self, name: str, live: Path) -> None:
        """Note where a lineage that Certbot hands over has its files."""
        self._live[name] = live

    def find(self, name: str) -> LineageFiles | None:
        """Return a lineage's files; ``None`` where there is no such lineage (any more)."""
        if name in self._live:
            return LineageFiles(name, self._live[name])
        lineage = lineages.read_lineage(self._renewal_dir / f"{name}.conf")
        return None if lineage is None else LineageFiles(name, lineage.certificate.parent)

    def holder_of(self, der: bytes) -> tuple[str, bool] | None:
        """Return the name of the lineage that a certificate is of, and whether it is the current one there."""
        lineage = lineages.holder_of(self._renewal_dir, der)
        return (lineage.name, lineage.is_current(der)) if lineage else None

    def name_of(self, certificate: Path) -> str:
        """Return the name of the lineage that a certificate's path belongs to (``certbot install --cert-path``)."""
        name = certificate.parent.name
        lineage = lineages.read_lineage(self._renewal_dir / f"{name}.conf")
        if lineage is None or lineage.certificate.resolve() != certificate.resolve():
            raise DeployError(
                f"{certificate} is of no lineage, and targets name lineages",
                f"Run: certbot install {self._options} --cert-name NAME (certbot certificates shows the names)",
            )
        return name
