"""Certbot's hooks and our deployment: who comes first, as docs/deploy.md says, on the oldest and the newest Certbot."""

from __future__ import annotations

import pytest
from support.certbot_runner import CertbotRunner
from support.matrix import MATRIX
from support.needs import need_built

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
NOTE = """#!/bin/sh
cmp -s {deployed} {live} && echo "$1 new" >>{log} || echo "$1 old" >>{log}
"""


def of(version):
    """Return an environment with this version of Certbot."""
    return next(entry for entry in MATRIX if entry.certbot == version)


@pytest.mark.parametrize("version", ["2.1.0", "newest"])
def test_where_hooks_run(version, practice_ca, tmp_path):
    """The deploy hook sees the old files; the post hook the new ones at `renew` alone; a repair runs no hook."""
    need_built(of(version))
    certbot = CertbotRunner(of(version).executable, tmp_path / "certbot")
    tls, log, note = tmp_path / "tls", tmp_path / "log", tmp_path / "note"
    tls.mkdir(mode=0o755)
    note.write_text(NOTE.format(deployed=tls / "www.crt", live=certbot.live(NAME, "fullchain"), log=log))
    note.chmod(0o755)
    keys = {"lineage": NAME, "fullchain": tls / "www.crt", "key": tls / "www.key", "reload": f"{note} reload"}
    certbot.use(practice_ca, "\n[deploy www]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))

    def seen(*command):
        log.unlink(missing_ok=True)
        certbot.run(*command)
        return log.read_text().splitlines()

    hooks = [word for kind in ("deploy", "post") for word in (f"--{kind}-hook", f"{note} {kind}")]
    first = seen("run", "-n", "--garr-tcs", "-d", NAME, *hooks)
    assert first == ["deploy old", "post old", "reload new"]
    assert seen("renew", "--force-renewal") == ["deploy old", "reload new", "post new"]
    (tls / "www.crt").unlink()
    assert seen("renew") == ["reload new"]
