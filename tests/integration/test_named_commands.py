"""Every Certbot command that a message of ours names works when it is typed, with the usual file and with another."""

from __future__ import annotations

import shutil

import pytest
from support.certbot_runner import CertbotRunner
from support.folders import open_folder
from support.named_commands import COMMANDS
from support.practice_ca import PracticeCa

from certbot_garr_tcs.sandbox.certbot import find_certbot

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
DEPLOYING = {"certonly", "install", "renew", "run"}


class Site:
    """Hold a Certbot whose lineage was deployed twice to one file; ``file``: the option that names garr-tcs.ini."""

    def __init__(self, folder, ca, staging, *, is_usual):
        self.certbot = CertbotRunner(find_certbot(), folder / "certbot")
        self.certbot.trust(staging)
        self.target = folder / "www.pem"
        self.certbot.use(
            ca,
            f"staging-directory-url = {staging.directory_url}\nstaging-eab-kid = {staging.eab_kid}\n"
            f"staging-eab-hmac-key = {staging.eab_hmac_key}\n"
            f"[deploy www]\nlineage = {NAME}\ncombined = {self.target}\n",
        )
        self.file = []
        if not is_usual:
            other = folder / "other.ini"
            shutil.move(self.certbot.ini, other)
            self.file = ["--garr-tcs-config", str(other)]
        self.certbot.run("run", "-n", "--garr-tcs", *self.file, "-d", NAME)
        self.certbot.run("renew", "--force-renewal")

    def words(self, template):
        places = {"INSTALLER": ["-i", "garr-tcs", *self.file], "FILE": self.file, "LINEAGE": [NAME]}
        return [typed for word in template for typed in places.get(word, [word])]

    def without_account(self, folder):
        """Return a Certbot with the same garr-tcs.ini that has not registered yet: there the message is shown."""
        certbot = CertbotRunner(self.certbot.executable, folder)
        certbot.write_ini(self.certbot.ini.read_text())
        certbot.ca_bundle.write_bytes(self.certbot.ca_bundle.read_bytes())
        return certbot

    def is_deployed(self):
        return self.target.read_bytes().startswith(self.certbot.live(NAME, "fullchain").read_bytes())


@pytest.fixture(scope="module")
def cas(tmp_path_factory):
    folders = tmp_path_factory.mktemp("ca"), tmp_path_factory.mktemp("staging")
    with PracticeCa(folders[0]) as ca, PracticeCa(folders[1], name="Staging CA") as staging:
        yield ca, staging


CASES = [(True, named) for named in COMMANDS] + [
    (False, named) for named, words in COMMANDS.items() if {"INSTALLER", "FILE"} & set(words) or named == "renew"
]
"""With the usual garr-tcs.ini, and with another: those commands that name it, or find it with the lineage."""


@pytest.fixture(scope="module")
def site(request, cas):
    with open_folder() as folder:
        yield Site(folder, *cas, is_usual=request.param)


@pytest.mark.parametrize(("site", "named"), CASES, indirect=["site"])
def test_a_command_that_a_message_names_works(site, tmp_path, named):
    """As it is named, it exits 0; what deploys, deploys."""
    template = COMMANDS[named]
    if template[0] == "register":
        site.without_account(tmp_path / "certbot").run(*template, "-n")
        return
    if template[0] == "rollback":
        site.certbot.run("renew", "--force-renewal")
    elif template[0] in DEPLOYING:
        site.target.write_bytes(b"drift")
    site.certbot.run(*site.words(template), "-n")
    assert site.is_deployed() == (template[0] != "rollback")
