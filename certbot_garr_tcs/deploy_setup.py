"""Set the rollout up with Certbot's folders and lineages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import lineages
from certbot_garr_tcs.deploy.delivery import Hands
from certbot_garr_tcs.deploy.material import Material
from certbot_garr_tcs.deploy.rollout import Rollout
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.state import StateFolder


def rollout_of(
    config: Any, settings: Configuration | None, state: StateFolder, notify: Callable[[str], None]
) -> Rollout:
    """Return the rollout of the file's targets; without a file, or targets, it does nothing."""
    live, renewal_dir = Path(config.live_dir), Path(config.renewal_configs_dir)
    return Rollout(
        state,
        settings.targets if settings else (),
        lambda name: material(live, renewal_dir, name),
        Hands(notify),
    )


def material(live: Path, renewal_dir: Path, name: str) -> Material | None:
    """Read what the lineage called ``name`` offers; ``None`` where there is none (any more).

    The renewal file says where its files are, but for nearly all of them that is below ``live``, and parsing it
    would be most of what a timer's run costs where nothing is to be done.
    """
    if not (renewal_dir / f"{name}.conf").exists():
        return None
    files = {kind: live / name / f"{kind}.pem" for kind in lineages.FILES}
    if not files["cert"].exists():
        lineage = lineages.read_lineage(renewal_dir / f"{name}.conf")
        if lineage is None or len(lineage.files) < len(lineages.FILES):
            return None
        files = dict(lineage.files)
    try:
        cert, chain, fullchain, key = (files[kind].read_bytes() for kind in lineages.FILES)
    except OSError as error:
        raise DeployError(
            f"cannot read lineage {name}: {error.filename}: {error.strerror}",
            f"Look at it with: certbot certificates --cert-name {name}",
        ) from error
    folders = (files["cert"].parent, files["cert"].resolve().parent)
    return Material(name, cert, chain, fullchain, key, folders=folders)


def lineage_of(config: Any, cert_path: str) -> str:
    """Return the name of the lineage whose certificate Certbot is installing.

    Raises ``DeployError`` for ``certbot install --cert-path`` of a file that is of no lineage.
    """
    live = Path(config.live_dir)
    path = Path(cert_path)
    if path.parent.parent.resolve() == live.resolve():
        return path.parent.name
    raise DeployError(
        f"{cert_path} is of no lineage below {live}, and a target names a lineage",
        "Run: certbot install --cert-name NAME",
    )
