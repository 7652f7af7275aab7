"""What a preset's CA is known to refuse, checked before anything is sent to it (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.account.selection import Selection


def check_registration(selection: Selection) -> None:
    """Raise ``AccountError`` where the CA would register no account (RFC 8555 §7.3).

    A failed registration can use up an EAB that works only once, so this is checked before.
    """
    preset = selection.preset
    if preset is None:
        return
    if preset.eab_required and selection.eab is None:
        raise AccountError(
            f"there is no account yet at {selection.title}, and it registers none without external account binding",
            "Write eab-kid and eab-hmac-key, from the CA's portal, under [account] in garr-tcs.ini, or give --eab-kid "
            "and --eab-hmac-key.",
        )
    if preset.contact_required and not selection.email:
        raise AccountError(
            f"{selection.title} registers no account without an e-mail address",
            "Add email = … under [account] in garr-tcs.ini, or give --email.",
        )


def registration_notice(selection: Selection) -> str:
    """Return the notice that an account is about to be registered, and what to do if the CA refuses."""
    if selection.eab is None:
        return f"Registering an account at {selection.title}."
    preset = selection.preset
    if preset is None or preset.eab_once is None:
        once = "; at many CAs a pair works only once: if it was used, make a new one"
    elif preset.eab_once:
        once = "; a pair works only once there: if it was used, make a new one"
    else:
        once = ""
    return (
        f"Registering an account at {selection.title} with EAB key ID {selection.eab.short_key_id}. If the CA "
        f"refuses it, compare eab-kid and eab-hmac-key with those in {selection.portal}{once}."
    )


def check_replacement(selection: Selection, lineage: str, stored_server: str | None) -> None:
    """Raise ``AccountError`` where ``--staging`` would replace a lineage of another directory.

    Certbot refuses this itself, but only for staging directories that have "staging" in their URL.
    """
    if stored_server != selection.directory_url:
        raise AccountError(
            f"--staging would replace the certificate of {lineage} with a test certificate of {selection.title}",
            "Give another --cert-name, or --break-my-certs if that is what you want.",
        )


def check_must_staple(selection: Selection, *, set_by_user: bool) -> str | None:
    """Return the notice that OCSP Must-Staple (RFC 7633) is dropped, or ``None`` where the CA may accept it.

    A CA that answers no OCSP refuses it. Raises ``AccountError`` where the user asks for it, and it is not merely
    stored with the lineage.
    """
    if selection.preset is None or selection.preset.ocsp is not False:
        return None
    if set_by_user:
        raise AccountError(
            f"--must-staple: {selection.title} answers no OCSP, so no server could staple, and it refuses the order",
            "Leave --must-staple out, also in cli.ini.",
        )
    return f"The lineage's must_staple is dropped: {selection.title} answers no OCSP."


def many_names_notice(selection: Selection, names: int) -> str | None:
    """Return a warning where there are more names than the CA is known to accept, else ``None``."""
    if selection.preset is None or selection.preset.most_names is None or names <= selection.preset.most_names:
        return None
    return (
        f"{names} names: {selection.preset.title} is known to refuse more than {selection.preset.most_names} in one "
        "certificate. If it does, ask for several certificates."
    )
