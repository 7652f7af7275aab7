"""Build the installer of a garr-tcs.ini from Certbot's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import config as configuration
from certbot_garr_tcs.deploy.environment import Environment
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.plan import OwnFiles
from certbot_garr_tcs.deploy.reading import Lineages

if TYPE_CHECKING:
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.state import StateFolder


class CertbotInstaller(Installer):
    """The installer, and the lineages that Certbot hands it."""

    def __init__(
        self, config: Any, settings: Configuration | None, state: StateFolder, notify: Callable[[str], None]
    ) -> None:
        """Take a file's targets; without a file, or targets in it, nothing is ever done."""
        targets = settings.targets if settings else ()
        own = [Path(config.config_dir), Path(config.work_dir), Path(config.logs_dir)]
        read = [path for target in targets for path in (target.source, target.pkcs12_password_file) if path]
        options = "-i garr-tcs"
        if settings is not None and settings.path != configuration.default_path(config.config_dir):
            options += f" --garr-tcs-config {settings.path}"
        self.lineages = Lineages(Path(config.renewal_configs_dir))
        super().__init__(
            state, targets, self.lineages.find, Environment(notify), own_files=OwnFiles(own, read), options=options
        )

    def add(self, lineage: Any) -> str:
        """Note where a lineage of Certbot's has its files; return its name."""
        name = str(lineage.lineagename)
        self.lineages.add(name, Path(lineage.cert_path).parent)
        return name


_SHARED: dict[tuple[str | None, ...], CertbotInstaller] = {}


def shared_installer(key: tuple[str | None, ...], build: Callable[[], CertbotInstaller]) -> CertbotInstaller:
    """Return the installer that all lineages of one file share where Certbot has renewed none of them.

    ``certbot renew`` comes by once for every lineage, each time with a new plugin; the file (``key`` says which,
    and in which of Certbot's folders) is read at the first. For nothing else than converging: an installer that has
    failed to reload does no more in its process.
    """
    if key not in _SHARED:
        _SHARED[key] = build()
        _SHARED[key].forget_removed()
    return _SHARED[key]
