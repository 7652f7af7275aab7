"""The usual places, owners and commands of common services (data, each with its source)."""

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
    """Give the keys that a section does not write itself, for one family of distributions each.

    Values are as a user would write them; ``{lineage}`` stands for the section's ``lineage``.
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
    """Tell ``rhel`` from ``debian`` by the text of os-release(5); anything else counts as Debian."""
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
_DEBIAN_APACHE = {"test": "apache2ctl configtest", "reload": "systemctl reload apache2"}
_RHEL_APACHE = {"test": "httpd -t", "reload": "systemctl reload httpd"}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "nginx": Preset(
            "nginx(8) -t and the unit of Debian and RHEL; its master reads the key as root",
            {"test": "nginx -t", "reload": "systemctl reload nginx"},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "apache": Preset(
            "apache2ctl(8), mod_ssl; its parent process reads the key as root",
            {},
            {**_DEBIAN_FILES, **_DEBIAN_APACHE},
            {**_RHEL_FILES, **_RHEL_APACHE},
        ),
        "haproxy": Preset(
            "HAProxy configuration manual, bind … crt: one PEM; files that begin with a dot are skipped",
            {
                "combined": "/etc/haproxy/certs/{lineage}.pem",
                "mkdir": "yes",
                "test": "haproxy -c -q -f /etc/haproxy/haproxy.cfg",
                "reload": "systemctl reload haproxy",
            },
        ),
        "postfix": Preset(
            "postconf(5) smtpd_tls_chain_files, smtpd_tls_key_file: read as root, privileges dropped later",
            {"test": "postfix check", "reload": "systemctl reload postfix"},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "dovecot": Preset(
            "Dovecot manual, SSL configuration: ssl_cert and ssl_key are read as root",
            {"test": "doveconf -n", "reload": "systemctl reload dovecot"},
            _DEBIAN_FILES,
            _RHEL_FILES,
        ),
        "exim": Preset(
            "Debian README.Debian of exim4 (MAIN_TLS_CERTIFICATE, MAIN_TLS_PRIVATEKEY); EPEL's exim.conf",
            {"key-mode": "0640"},
            {
                "fullchain": "/etc/exim4/exim.crt",
                "key": "/etc/exim4/exim.key",
                "owner": "root:Debian-exim",
                "test": "exim4 -bV",
                "reload": "systemctl reload exim4",
            },
            {
                "fullchain": "/etc/pki/tls/certs/exim.pem",
                "key": "/etc/pki/tls/private/exim.pem",
                "owner": "root:exim",
                "test": "exim -bV",
                "reload": "systemctl reload exim",
            },
        ),
        "slapd": Preset(
            "slapd-config(5) olcTLSCertificateFile; slapd reads its files as its own user, once, at start",
            {"test": "slaptest -Q -u"},
            {
                "fullchain": "/etc/ldap/{lineage}.crt",
                "key": "/etc/ldap/{lineage}.key",
                "owner": "openldap:openldap",
                "reload": "systemctl restart slapd",
            },
            {
                "fullchain": "/etc/openldap/certs/{lineage}.crt",
                "key": "/etc/openldap/certs/{lineage}.key",
                "owner": "ldap:ldap",
                "reload": "systemctl restart slapd",
            },
        ),
        "postgresql": Preset(
            "PostgreSQL manual, Secure TCP/IP Connections with SSL: key 0600 of its user, or 0640 of root's",
            {"reload": "systemctl reload postgresql"},
            {**_DEBIAN_FILES, "owner": "root:ssl-cert", "key-mode": "0640"},
            {
                "fullchain": "/var/lib/pgsql/data/server.crt",
                "key": "/var/lib/pgsql/data/server.key",
                "owner": "postgres:postgres",
            },
        ),
        "freeradius": Preset(
            "FreeRADIUS mods-available/eap; HUP does not read certificates again, so it is restarted",
            {"key-mode": "0640"},
            {
                "fullchain": "/etc/freeradius/3.0/certs/{lineage}.crt",
                "key": "/etc/freeradius/3.0/certs/{lineage}.key",
                "owner": "freerad:freerad",
                "test": "freeradius -C",
                "reload": "systemctl restart freeradius",
            },
            {
                **_RHEL_FILES,
                "owner": "root:radiusd",
                "test": "radiusd -C",
                "reload": "systemctl restart radiusd",
            },
        ),
        "jetty": Preset(
            "Jetty operations guide, jetty.sslContext.keyStorePath; package jetty9 of Debian",
            {"key-mode": "0600", "owner": "jetty:jetty"},
            {"pkcs12": "/etc/jetty9/keystore.p12", "reload": "systemctl restart jetty9"},
            {"pkcs12": "/etc/jetty/keystore.p12", "reload": "systemctl restart jetty"},
        ),
        "tomcat": Preset(
            "Apache Tomcat SSL/TLS how-to, certificateKeystoreFile; packages tomcat10 and tomcat",
            {"key-mode": "0600", "owner": "tomcat:tomcat"},
            {"pkcs12": "/etc/tomcat10/keystore.p12", "reload": "systemctl restart tomcat10"},
            {"pkcs12": "/etc/tomcat/keystore.p12", "reload": "systemctl restart tomcat"},
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
            },
        ),
        "xrootd": Preset(
            "XRootD configuration reference, xrd.tls: reads its files as its own user, and again by itself",
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
                "reload": "systemctl restart storm-webdav",
            },
        ),
    }
)
"""``preset =`` of a section; every value can be overridden by the section's own key."""
