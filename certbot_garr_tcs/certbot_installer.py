"""The installer of a garr-tcs.ini, built from Certbot's configuration, and the lineages that it deploys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import config as configuration
from certbot_garr_tcs import lineages
from certbot_garr_tcs.deploy.certificate import LineageFiles
from certbot_garr_tcs.deploy.environment import Environment
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.plan import OwnFiles
from certbot_garr_tcs.errors import DeployError, GarrTcsError
from certbot_garr_tcs.section_reader import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.storage import StateFolder


class CertbotInstaller(Installer):
    """The installer for Certbot's configuration; without a garr-tcs.ini, or targets in it, it deploys nothing."""

    def __init__(
        self, config: Any, settings: Configuration | None, state: StateFolder, notify: Callable[[str], None]
    ) -> None:
        targets = settings.targets if settings else ()
        own = [Path(config.config_dir), Path(config.work_dir), Path(config.logs_dir)]
        read = [path for target in targets for path in (target.source, target.pkcs12_password_file) if path]
        default = configuration.default_path(config.config_dir)
        self._file = settings.path if settings else default
        self._file_option = "" if self._file == default else f" --garr-tcs-config {self._file}"
        options = f"-i garr-tcs{self._file_option}"
        self._renewal_dir = Path(config.renewal_configs_dir)
        self._notify = notify
        self._added: list[str] = []
        self.lineages = Lineages(self._renewal_dir, options)
        environment = Environment(notify, lineage_of=self.lineages.holder_of)
        super().__init__(
            state, targets, self.lineages.find, environment, own_files=OwnFiles(own, read), options=options
        )

    def add(self, lineage: Any) -> str:
        """Add a lineage of Certbot's; return its name."""
        name = str(lineage.lineagename)
        self.lineages.add(name, Path(lineage.cert_path).parent)
        self._added.append(name)
        return name

    def save_and_store(self, installer: str, own_file: str | None, *, is_all: bool) -> None:
        """Write and test for the lineages that Certbot is installing, and store the installer for their renewals.

        Certbot stores ``installer``, and the file that the user named, with a new certificate alone, not where the
        present one stays. ``is_all``: the user asked for nothing else.
        """
        for name in self.selected:
            if name in self.target_lineages:
                self._store(name, installer, own_file)
                continue
            why = f"no [deploy …] section of {self._file} names lineage {name}"
            if is_all:
                hint = f"Write one with lineage = {name}, and run the command again."
                raise DeployError(f"nothing was deployed: {why}", hint)
            if self.target_lineages:
                self._notify(f"Nothing was deployed: {why}.")
        self.save()

    def _store(self, name: str, installer: str, own_file: str | None) -> None:
        conf = self._renewal_dir / f"{name}.conf"
        before = lineages.read_lineage(conf)
        params = {"installer": installer, **({"garr_tcs_config": own_file} if own_file else {})}
        if lineages.store(conf, **params):
            former = before.installer if before else None
            instead = f", instead of running installer {former}" if former not in {None, installer} else ""
            self._notify(f"From now on, renewals of lineage {name} deploy to its [deploy …] sections{instead}.")

    def store_installer(self, lineage: Any, installer: str) -> None:
        """Store our installer for a lineage that was renewed without one."""
        lineages.store(self._renewal_dir / f"{lineage.lineagename}.conf", installer=installer)

    def missing_names(self, asked: Iterable[str]) -> GarrTcsError | None:
        """Return an error where the certificate of this run lacks names that were asked for.

        ``asked``: where empty, the names of the certificate before. Certbot does not compare; and as it renews for the
        names of the last certificate, a name that the CA left out once is lost.
        """
        from certbot_garr_tcs.deploy.certificate import is_covered  # noqa: PLC0415  (mostly nothing was issued)

        lineage = self._issued()
        if lineage is None:
            return None
        names = lineage.names()
        wanted = sorted(name.lower() for name in list(asked) or lineage.former_names())
        missing = [name for name in wanted if not is_covered(name, names)]
        if not names or not missing:
            return None
        return GarrTcsError(
            f"the certificate of lineage {lineage.name} was issued without {', '.join(missing)}, and is in use: its "
            "renewals do not ask for the missing names again",
            f"See in the CA's portal why, then run: certbot run --garr-tcs{self._file_option} "
            f"--cert-name {lineage.name} -d {','.join(wanted)}",
        )

    def _issued(self) -> lineages.Lineage | None:
        """Return the lineage that this run issued for: Certbot has just written its renewal file."""
        name = next(reversed([*self.selected, *self._added]), None)
        if name is not None:
            return lineages.read_lineage(self._renewal_dir / f"{name}.conf")
        files = list(self._renewal_dir.glob("*.conf"))
        return lineages.read_lineage(max(files, key=lambda file: file.stat().st_mtime_ns)) if files else None


def idle_sections(settings: Configuration, config_dir: Path, installer: str) -> Iterator[str]:
    """Yield a message for sections that do nothing: their lineage is missing, or does not use this installer."""
    titles: dict[str, list[str]] = {}
    for target in settings.targets:
        titles.setdefault(target.lineage, []).append(target.title)
    renewal_dir = config_dir / "renewal"
    default = configuration.default_path(str(config_dir))
    for name, which in titles.items():
        sections = f"{', '.join(which)} of {settings.path}"
        conf = renewal_dir / f"{name}.conf"
        if not conf.exists():
            known = did_you_mean(name, (file.name[: -len(".conf")] for file in renewal_dir.glob("*.conf")))
            yield f"{sections}: nothing is deployed, because there is no lineage {name}{known}"
            continue
        lineage = lineages.read_lineage(conf)
        if lineage is None:
            continue  # Certbot reports that itself
        if lineage.installer != installer:
            named = "" if settings.path == default else f" --garr-tcs-config {settings.path}"
            why = f"its installer is {lineage.installer}" if lineage.installer else "no installer is stored with it"
            yield (
                f"{sections}: renewals of lineage {name} do not deploy, because {why}. Run once: "
                f"certbot install --garr-tcs{named} --cert-name {name}"
            )
        elif Path(lineage.config_file or default).resolve() != settings.path.resolve():
            yield (
                f"{sections}: renewals of lineage {name} do not deploy, because they use "
                f"{lineage.config_file or default}. Move the section there."
            )


_SHARED: dict[tuple[str | None, ...], CertbotInstaller] = {}


def shared_installer(key: tuple[str | None, ...], build: Callable[[], CertbotInstaller]) -> CertbotInstaller:
    """Return the one installer of this process for ``key``, the file and Certbot's folders, where nothing is issued.

    ``certbot renew`` makes a new plugin for every lineage; this way the file is read once. It is for ``converge``
    alone: an installer that has failed to reload does nothing more in its process.
    """
    if key not in _SHARED:
        _SHARED[key] = build()
        _SHARED[key].remove_orphans()
    return _SHARED[key]


class Lineages:
    """Certbot's lineages by name: those that Certbot passed to us, else those of its renewal directory."""

    def __init__(self, renewal_dir: Path, options: str = "-i garr-tcs") -> None:
        """``options``: see ``Installer``."""
        self._renewal_dir = renewal_dir
        self._options = options
        self._live: dict[str, Path] = {}

    def add(self, name: str, live: Path) -> None:
        """Add a lineage that Certbot passed to us; ``live``: the folder of its files."""
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
