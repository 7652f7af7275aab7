"""A TLS server whose certificate is of any time, and that says nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from certbot_garr_tcs.sandbox.certificates import make_root, make_server

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


class TlsServer:
    """Present a TLS certificate that was made at ``now``, whatever the time is, and close the connection.

    Use it in a ``with`` statement. ``ca_bundle``: the root that it was signed by.
    """

    def __init__(self, folder: Path, now: datetime, address: str = "127.0.0.1") -> None:
        root = make_root("TLS", datetime.now(timezone.utc))
        pair = make_server(root, now)
        self.ca_bundle = folder / "tls-root.pem"
        self.ca_bundle.write_bytes(root.certificate_pem)
        (folder / "tls.pem").write_bytes(pair.certificate_pem + pair.key_pem)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "tls.pem")
        self._address = address
        self.directory_url = ""

    def __enter__(self) -> Self:
        self._socket = socket.create_server((self._address, 0))
        self.directory_url = f"https://{self._address}:{self._socket.getsockname()[1]}/directory"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with contextlib.suppress(OSError), self._tls.wrap_socket(connection, server_side=True):
                    pass
