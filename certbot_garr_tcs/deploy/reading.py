"""Read what a lineage offers from Certbot's own folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs import lineages
from certbot_garr_tcs.deploy.files import complaint
from certbot_garr_tcs.deploy.material import Material
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path


def read_material(renewal_dir: Path, name: str) -> Material | None:
    """Return the material of a lineage; ``None`` where there is no such lineage (any more)."""
    lineage = lineages.read_lineage(renewal_dir / f"{name}.conf")
    return None if lineage is None else material_at(name, lineage.certificate)


def material_at(name: str, certificate: Path) -> Material:
    """Return the material of a lineage whose ``live/NAME/cert.pem`` is known, each file read once."""
    live = certificate.parent
    try:
        cert, chain, fullchain, key = ((live / f"{piece}.pem").read_bytes() for piece in lineages.PIECES)
    except OSError as error:
        raise complaint(f"lineage {name}: cannot read {error.filename}", error) from error
    return Material(name, cert, chain, fullchain, key, live=live)


def lineage_of(certificate: Path, renewal_dir: Path) -> str:
    """Return the name of the lineage that a certificate's path belongs to (``certbot install --cert-path``)."""
    name = certificate.parent.name
    lineage = lineages.read_lineage(renewal_dir / f"{name}.conf")
    if lineage is None or lineage.certificate.resolve() != certificate.resolve():
        raise DeployError(
            f"{certificate} is of no lineage, and targets name lineages",
            "Run: certbot install --cert-name NAME (certbot certificates shows the names)",
        )
    return name
