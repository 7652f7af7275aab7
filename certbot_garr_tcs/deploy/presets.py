"""The usual paths, owners and commands of common services (data, each with its source)."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEBIAN = "debian"
RHEL = "rhel"


@dataclass(frozen=True)
class Preset:
    """The keys of a service that a section need not write, for each family of distributions.

    Values are as a user would write them; ``{lineage}`` stands for the section's ``lineage``. ``source``: what they
    were compared with: the packages of Debian 12 (their files, maintainer scripts and units), those of RHEL 9 as
    published for its rebuilds, Fedora's for what RHEL has from EPEL, or else a manual. Every folder belongs to root,
    so that the service's user cannot change where a file is written.
    """

    source: str
    common: Mapping[str, str] = field(default_factory=dict)
    debian: Mapping[str, str] = field(default_factory=dict)
    rhel: Mapping[str, str] = field(default_factory=dict)

    def keys_for(self, family: str, lineage: str) -> dict[str, str]:
        """Return the preset's keys on a machine of this family."""
        merged = {**self.common, **(self.rhel if family == RHEL else self.debian)}
        return {key: value.replace("{lineage}", lineage) for key, value in merged.items()}


def family_of(os_release: str) -> str:
    """Return ``rhel`` or ``debian`` by the text of os-release(5); anything else counts as Debian."""
    words: set[str] = set()
    for line in os_release.splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words.update(value.strip("\"'").lower().split())
    return RHEL if words & {"rhel", "fedora", "centos"} else DEBIAN


@functools.cache
def this_family() -> str:
    """Return the family of the machine that we run on (os-release(5))."""
    try:
        return family_of(Path("/etc/os-release").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return DEBIAN


_DEBIAN_CERT = "/etc/ssl/certs/{lineage}.crt"
_DEBIAN_KEY = "/etc/ssl/private/{lineage}.key"
_RHEL_CERT = "/etc/pki/tls/certs/{lineage}.crt"
_RHEL_KEY = "/etc/pki/tls/private/{lineage}.key"
_DEBIAN_FILES = {"fullchain": _DEBIAN_CERT, "key": _DEBIAN_KEY}
_RHEL_FILES = {"fullchain": _RHEL_CERT, "key": _RHEL_KEY}


def _reload(unit: str) -> dict[str, str]:
    """Reload a unit that is running; a stopped one stays stopped, and reads its files when it starts."""
    return {"reload": f"systemctl try-reload-or-restart {unit}"}


def _restart(unit: str) -> dict[str, str]:
    """Restart a unit that is running, where the service reads its certificate only when it starts."""
    return {"reload": f"systemctl try-restart {unit}"}


_DEBIAN_APACHE = {"test": "apache2ctl configtest", **_reload("apache2")}
_RHEL_APACHE = {"test": "httpd -t", **_reload("httpd")}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "nginx": Preset(
            "packages nginx of Debian 12 and RHEL 9; nginx(8) -t; its master reads the key as root",
            {"test": "nginx -t", **_reload("nginx")},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "apache": Preset(
            "packages apache2 of Debian 12, httpd of RHEL 9; mod_ssl: the parent process reads the key as root",
            {},
            {**_DEBIAN_FILES, **_DEBIAN_APACHE},
            {**_RHEL_FILES, **_RHEL_APACHE},
        ),
        "haproxy": Preset(
            "packages haproxy of Debian 12 and RHEL 9, whose unit reads conf.d too; HAProxy's manual on bind … crt: "
            "one PEM, files that begin with a dot are skipped",
            {"combined": "/etc/haproxy/certs/{lineage}.pem", "mkdir": "yes", **_reload("haproxy")},
            {"test": "haproxy -c -q -f /etc/haproxy/haproxy.cfg"},
            {"test": "haproxy -c -q -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/conf.d"},
        ),
        "postfix": Preset(
            "packages postfix of Debian 12 and RHEL 9; postconf(5) smtpd_tls_chain_files: read as root",
            {"test": "postfix check", **_reload("postfix")},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "dovecot": Preset(
            "packages dovecot-core of Debian 12, dovecot of RHEL 9; Dovecot's manual: ssl_key is read as root",
            {"test": "doveconf -n", **_reload("dovecot")},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "exim": Preset(
            "packages exim4-config of Debian 12 (MAIN_TLS_CERTIFICATE, MAIN_TLS_PRIVATEKEY), exim of Fedora",
            {"key-mode": "0640"},
            {
                "fullchain": "/etc/exim4/exim.crt",
                "key": "/etc/exim4/exim.key",
                "owner": "root:Debian-exim",
                "test": "exim4 -bV",
                **_reload("exim4"),
            },
            {
                "fullchain": "/etc/pki/tls/certs/exim.pem",
                "key": "/etc/pki/tls/private/exim.pem",
                "owner": "root:exim",
                "test": "exim -bV",
                **_reload("exim"),
            },
        ),
        "slapd": Preset(
            "packages slapd of Debian 12, openldap-servers of RHEL 8; slapd reads its files as its own user, at start",
            {"test": "slaptest -Q -u", **_restart("slapd")},
            {
                "fullchain": "/etc/ldap/{lineage}.crt",
                "key": "/etc/ldap/{lineage}.key",
                "owner": "openldap:openldap",
            },
            {
                "fullchain": "/etc/openldap/certs/{lineage}.crt",
                "key": "/etc/openldap/certs/{lineage}.key",
                "owner": "ldap:ldap",
            },
        ),
        "postgresql": Preset(
            "packages postgresql-common of Debian 12 (postgres is in ssl-cert), postgresql-server of RHEL 9; "
            "PostgreSQL's manual: a key of root's may be 0640",
            {"key-mode": "0640", **_reload("postgresql")},
            {**_DEBIAN_FILES, "owner": "root:ssl-cert"},
            {**_RHEL_FILES, "owner": "root:postgres"},
        ),
        "mariadb": Preset(
            "packages mariadb-server of Debian 12 (names of 50-server.cnf) and RHEL 9; MariaDB's manual, FLUSH SSL",
            {"key-mode": "0640", "owner": "root:mysql", "reload": "mariadb -e 'FLUSH SSL'"},
            {"fullchain": "/etc/mysql/server-cert.pem", "key": "/etc/mysql/server-key.pem"},
            _RHEL_FILES,
        ),
        "freeradius": Preset(
            "packages freeradius-config of Debian 12 (freerad is in ssl-cert), freeradius of RHEL 9; at HUP it does "
            "not read certificates; -C alone prints nothing where the log is a file",
            {"key-mode": "0640"},
            {
                **_DEBIAN_FILES,
                "owner": "root:ssl-cert",
                "test": "freeradius -Cx -lstdout",
                **_restart("freeradius"),
            },
            {**_RHEL_FILES, "owner": "root:radiusd", "test": "radiusd -Cx -lstdout", **_restart("radiusd")},
        ),
        "mosquitto": Preset(
            "packages mosquitto of Debian 12 and Fedora; its change log 2.0: reads as its own user, again at HUP",
            {"key-mode": "0640", "owner": "root:mosquitto", **_reload("mosquitto")},
            {
                "fullchain": "/etc/mosquitto/certs/{lineage}.crt",
                "key": "/etc/mosquitto/certs/{lineage}.key",
            },
            _RHEL_FILES,
        ),
        "ejabberd": Preset(
            "packages ejabberd of Debian 12 (certfiles of its ejabberd.yml) and Fedora, whose folder is ejabberd's own",
            {"key-mode": "0640", "owner": "root:ejabberd", **_reload("ejabberd")},
            {"combined": "/etc/ejabberd/ejabberd.pem"},
            {"combined": "/etc/pki/tls/private/ejabberd.pem"},
        ),
        "stunnel": Preset(
            "packages stunnel4 of Debian 12, stunnel of RHEL 9; with setuid it reads as that user at HUP",
            {"combined": "/etc/stunnel/{lineage}.pem"},
            {"owner": "root:stunnel4", "key-mode": "0640", **_reload("stunnel4")},
            _reload("stunnel@stunnel"),
        ),
        "vsftpd": Preset(
            "packages vsftpd of Debian 12 and RHEL 9; tried: it reads its certificate as root, at start, not at HUP",
            _restart("vsftpd"),
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "proftpd": Preset(
            "packages proftpd-core of Debian 12 and proftpd of Fedora; tried: mod_tls reads the key as root, and of "
            "TLSRSACertificateFile serves the first certificate alone; the chain has a file of its own",
            {"test": "proftpd -t", **_reload("proftpd")},
            {**_DEBIAN_FILES, "chain": "/etc/ssl/certs/{lineage}.chain.crt"},
            {**_RHEL_FILES, "chain": "/etc/pki/tls/certs/{lineage}.chain.crt"},
        ),
        "cups": Preset(
            "packages cups-daemon of Debian 12, cups of RHEL 9; tried: named after ServerName, read at each connection",
            {
                "fullchain": "/etc/cups/ssl/{lineage}.crt",
                "key": "/etc/cups/ssl/{lineage}.key",
                "test": "cupsd -t",
            },
        ),
        "cockpit": Preset(
            "packages cockpit-ws of Debian 12 and RHEL 9; cockpit-tls(8); tried: read as root, when the unit starts",
            {
                "fullchain": "/etc/cockpit/ws-certs.d/{lineage}.crt",
                "key": "/etc/cockpit/ws-certs.d/{lineage}.key",
                **_restart("cockpit"),
            },
            {"test": "/usr/lib/cockpit/cockpit-certificate-ensure --check"},
            {"test": "/usr/libexec/cockpit-certificate-ensure --check"},
        ),
        "jetty": Preset(
            "package jetty9 of Debian 12 (jetty.base is /usr/share/jetty9, its etc a link); RHEL 9 has no Jetty",
            {"key-mode": "0600", "owner": "jetty:jetty"},
            {"pkcs12": "/etc/jetty9/keystore.p12", **_restart("jetty9")},
            {"pkcs12": "/etc/jetty/keystore.p12", **_restart("jetty")},
        ),
        "tomcat": Preset(
            "packages tomcat10 of Debian 12, tomcat of RHEL 9; Tomcat's SSL/TLS how-to, certificateKeystoreFile",
            {"key-mode": "0600", "owner": "tomcat:tomcat"},
            {"pkcs12": "/etc/tomcat10/keystore.p12", **_restart("tomcat10")},
            {"pkcs12": "/etc/tomcat/keystore.p12", **_restart("tomcat")},
        ),
        "shibboleth-host": Preset(
            "IDEM's how-to for Shibboleth IdP and SP hosts: Apache in front, key 0400, chain in ACME-CA.pem",
            {"key-mode": "0400"},
            {
                "cert": _DEBIAN_CERT,
                "chain": "/etc/ssl/certs/ACME-CA.pem",
                "key": _DEBIAN_KEY,
                **_DEBIAN_APACHE,
            },
            {"cert": _RHEL_CERT, "chain": "/etc/pki/tls/certs/ACME-CA.pem", "key": _RHEL_KEY, **_RHEL_APACHE},
        ),
        "grid-host": Preset(
            "Grid Community Toolkit administrator's guide: /etc/grid-security/host{cert,key}.pem, key 0400",
            {
                "fullchain": "/etc/grid-security/hostcert.pem",
                "key": "/etc/grid-security/hostkey.pem",
                "key-mode": "0400",
                "mkdir": "yes",
            },
        ),
        "xrootd": Preset(
            "XRootD configuration reference, xrd.tls; package xrootd-server of Debian 12: reads its files as its own "
            "user, and again by itself",
            {
                "fullchain": "/etc/grid-security/xrd/xrdcert.pem",
                "key": "/etc/grid-security/xrd/xrdkey.pem",
                "owner": "xrootd:xrootd",
                "key-mode": "0400",
                "mkdir": "yes",
            },
        ),
        "storm": Preset(
            "StoRM WebDAV installation guide: host credentials in /etc/grid-security/storm-webdav",
            {
                "fullchain": "/etc/grid-security/storm-webdav/hostcert.pem",
                "key": "/etc/grid-security/storm-webdav/hostkey.pem",
                "owner": "storm:storm",
                "key-mode": "0400",
                "mkdir": "yes",
                **_restart("storm-webdav"),
            },
        ),
    }
)
"""``preset =`` of a section; every value can be overridden by the section's own key."""
