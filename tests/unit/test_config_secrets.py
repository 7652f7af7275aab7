"""No mistake in a file makes a message show a secret of it."""

import pytest
from support.spoilt_files import FILES, check_files, said, shown

from certbot_garr_tcs import config
from certbot_garr_tcs.errors import ConfigError

SECRET = "Zm9vYmFyLXNlY3JldC1mb28tYmFyLXNlY3JldC1mb28="
SLASHED = "/Yr3tq+Zm9vYmFyLXNlY3JldC1mb28tYmFyL/NlY3Jld=="


@pytest.mark.parametrize("mistake", FILES)
def test_a_small_mistake_shows_no_secret(tmp_path, mistake):
    """Every place where a secret may end up: as key, heading, name of a file, server, or on a line of its own."""
    path = tmp_path / "garr-tcs.ini"
    path.touch(mode=0o600)
    for secret in (SECRET, SECRET.rstrip("="), SLASHED, SLASHED.rstrip("=")):
        path.write_text(mistake.replace("SECRET", secret), encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        assert not shown(secret, said(caught.value)), secret
        assert str(path) in str(caught.value)


def test_files_with_mistakes():
    """Two hundred files, each with mistakes of its own; ``make test`` reads a hundred thousand."""
    check_files(seed=23, count=200)
