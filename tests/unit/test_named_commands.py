"""Every Certbot command that a message names is one that is typed in tests/integration/test_named_commands.py."""

from __future__ import annotations

import pytest
from support.named_commands import COMMANDS, named_commands, named_in


def test_every_command_that_a_message_names_is_typed():
    """A new one belongs into the table; one that nobody names any more leaves it."""
    assert named_commands() == set(COMMANDS)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("Run: certbot rollback {}", ["rollback {}"]),
        ("as certbot renew does by itself.", ["renew"]),
        ("certbot renew: it tries again. Or certbot plugins lists them", ["renew", "plugins"]),
        (
            "certbot install -i garr-tcs --cert-name NAME (certbot certificates)",
            [
                "install -i garr-tcs --cert-name NAME",
                "certificates",
            ],
        ),
        ("see certbot issue 8944 and /usr/bin/certbot renew", []),
    ],
)
def test_commands_are_found_in_messages(text, commands):
    """Among the words of a sentence."""
    assert named_in(text) == commands
