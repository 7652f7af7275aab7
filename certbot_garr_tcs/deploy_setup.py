"""Build the installer of a garr-tcs.ini from Certbot's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import config as configuration
from certbot_garr_tcs import lineages
from certbot_garr_tcs.deploy.environment import Environment
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.plan import OwnFiles
from certbot_garr_tcs.deploy.reading import Lineages
from certbot_garr_tcs.errors import DeployError, GarrTcsError
from certbot_garr_tcs.section_reader import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.storage import StateFolder


class CertbotInstaller(Installer):
    """The installer, and the lineages that Certbot hands it."""

    def __init__(
        self, config: Any, settings: Configuration | None, state: StateFolder, notify: Callable[[str], None]
    ) -> None:
        """Take a file's targets; without a file, or targets in it, nothing is ever deployed."""
        targets = settings.targets if settings else ()
        own = [Path(config.config_dir), Path(config.work_dir), Path(config.logs_dir)]
        read = [path for target in targets for path in (target.source, target.pkcs12_password_file) if path]
        default = configuration.default_path(config.config_dir)
        self._file = settings.path if settings else default
        self._file_option = "" if self._file == default else f" --garr-tcs-config {self._file}"
        options = f"-i garr-tcs{self._file_option}"
        self._renewal_dir = Path(config.renewal_configs_dir)
        self._notify = notify
        self._handed: list[str] = []
        self.lineages = Lineages(self._renewal_dir, options)
        environment = Environment(notify, lineage_of=self.lineages.holder_of)
        super().__init__(
            state, targets, self.lineages.find, environment, own_files=OwnFiles(own, read), options=options
        )

    def add(self, lineage: Any) -> str:
        """Note where a lineage of Certbot's has its files; return its name."""
        name = str(lineage.lineagename)
        self.lineages.add(name, Path(lineage.cert_path).parent)
        self._handed.append(name)
        return name

    def save_and_store(self, installer: str, own_file: str | None, *, is_all: bool) -> None:
        """Write and test for the lineages that Certbot is installing.

        Their renewals shall go on with it: Certbot stores ``installer``, and the file that the user named, with a
        new certificate, but not where the one that is there stays. ``is_all``: the user asked for nothing else.
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

    def keep_installer(self, lineage: Any, installer: str) -> None:
        """Store our installer with a lineage that was renewed without one."""
        lineages.store(self._renewal_dir / f"{lineage.lineagename}.conf", installer=installer)

    def missing_names(self, asked: Iterable[str]) -> GarrTcsError | None:
        """Return which of the names that were asked for the certificate of this run has not; ``None``: it has all.

        ``asked`` may be empty: then as many as before were asked for. Certbot does not compare; and as it renews
        for the names of the last certificate, a name that the CA left out once is lost.
        """
        from certbot_garr_tcs.deploy.certificate import covered  # noqa: PLC0415  (mostly nothing was issued)

        lineage = self._issued()
        if lineage is None:
            return None
        names = lineage.names()
        wanted = sorted(name.lower() for name in list(asked) or lineage.former_names())
        missing = [name for name in wanted if not covered(name, names)]
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
        name = next(reversed([*self.selected, *self._handed]), None)
        if name is not None:
            return lineages.read_lineage(self._renewal_dir / f"{name}.conf")
        files = list(self._renewal_dir.glob("*.conf"))
        return lineages.read_lineage(max(files, key=lambda file: file.stat().st_mtime_ns)) if files else None


def idle_sections(settings: Configuration, config_dir: Path, installer: str) -> Iterator[str]:
    """Say which [deploy] sections do nothing, and how that is put right: their lineage is not there, or not ours."""
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
    """Return the installer that all lineages of one file share where Certbot has renewed none of them.

    ``certbot renew`` comes by once for every lineage, each time with a new plugin; the file (``key`` says which,
    and in which of Certbot's folders) is read at the first. For nothing else than converging: an installer that has
    failed to reload does no more in its process.
    """
    if key not in _SHARED:
        _SHARED[key] = build()
        _SHARED[key].forget_removed()
    return _SHARED[key]
