"""Postfix and Dovecot serve what their target says, behind STARTTLS and directly."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from support.daemons import Site, foreground
from support.folders import open_folder
from support.needs import need_program, need_root

from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {command_directory}
daemon_directory = {daemon_directory}
meta_directory = {meta_directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = www.example.it
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
smtpd_tls_chain_files = {chain}
smtpd_tls_security_level = may
"""

MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
"""

DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
ssl = yes
{version}
service imap-login {{
  inet_listener imap {{
    {address} = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    {address} = 127.0.0.1
    port = {tls_port}
  }}
}}
"""

DOVECOT_2_3 = """
ssl_cert = <{cert}
ssl_key = <{key}
mail_location = maildir:{folder}/mail
passdb {{
  driver = static
  args = password=none
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={folder}
}}
"""

DOVECOT_2_4 = """
dovecot_storage_version = 2.4.0
ssl_server_cert_file = {cert}
ssl_server_key_file = {key}
mail_driver = maildir
mail_path = {folder}/mail
passdb static {{
  password = none
}}
userdb static {{
  fields {{
    uid = 65534
    gid = 65534
    home = {folder}
  }}
}}
"""


def dovecot_configuration(program, **values):
    """Write the configuration in the words of the installed version: Debian 12 has 2.3, Debian 13 has 2.4."""
    asked = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    major, minor = (int(part) for part in asked.split(".")[:2])
    if (major, minor) < (2, 4):
        return DOVECOT.format(version=DOVECOT_2_3.format(**values), address="address", **values)
    # The version of the configuration comes first; nothing may stand before it.
    rest = DOVECOT.format(version=DOVECOT_2_4.format(**values), address="listen", **values)
    return f"dovecot_config_version = 2.4.0\n{rest}"


@contextlib.contextmanager
def postfix():
    need_root()
    program = need_program("postfix")
    with open_folder() as folder:
        site = Site(folder, free_port())
        both = site.tls / "smtpd.pem"
        etc = folder / "etc"
        for path in (etc, folder / "queue", folder / "data"):
            path.mkdir(mode=0o755)
        names = ("daemon_directory", "meta_directory", "command_directory")
        asked = [need_program("postconf"), "-d", "-h", *names]
        told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
        (etc / "main.cf").write_text(MAIN_CF.format(folder=folder, chain=both, **dict(zip(names, told))))
        (etc / "master.cf").write_text(MASTER_CF.format(port=site.port))
        command = f"{program} -c {etc}"
        site.section(
            combined=both,
            combined_order="key fullchain",
            test=f"{command} check",
            reload=f"{command} reload",
            probe_starttls="smtp",
        )
        site.write_first()
        subprocess.run(["chown", "postfix", folder / "data"], check=True)
        with foreground(*command.split(), "start-fg", port=site.port, log=folder / "log"):
            try:
                yield site
            finally:
                subprocess.run([*command.split(), "stop"], check=False, capture_output=True)


@contextlib.contextmanager
def dovecot(*, starttls):
    need_root()
    program, config_tool, admin = need_program("dovecot"), need_program("doveconf"), need_program("doveadm")
    with open_folder() as folder:
        ports = free_port(), free_port()
        site = Site(folder, ports[0] if starttls else ports[1])
        cert, key = site.tls / "dovecot.pem", site.tls / "dovecot.key"
        config = folder / "dovecot.conf"
        places = {"folder": folder, "cert": cert, "key": key, "port": ports[0], "tls_port": ports[1]}
        config.write_text(dovecot_configuration(program, **places))
        site.section(
            fullchain=cert,
            key=key,
            test=f"{config_tool} -c {config} -n",
            reload=f"{admin} -c {config} reload",
            probe_starttls="imap" if starttls else "none",
        )
        site.write_first()
        with foreground(program, "-F", "-c", config, port=site.port, log=folder / "log"):
            yield site


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(postfix, id="postfix-starttls"),
        pytest.param(lambda: dovecot(starttls=True), id="dovecot-starttls"),
        pytest.param(lambda: dovecot(starttls=False), id="dovecot-imaps"),
    ],
)
def test_each_renewal_is_served(service):
    """Two renewals are seen on the wire, with keys of both kinds."""
    with service() as site:
        for kind in ("rsa", "ec"):
            new = site.renew(kind=kind)
            site.deploy()
            assert site.served() == new.fingerprint
