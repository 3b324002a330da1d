"""Why a server's certificate is not trusted: libpq only says that it is not."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any

from .surroundings import NO_FILE

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

#: OpenSSL's codes of a failed verification (x509_vfy.h), with cause and remedy.
_CAUSES = {
    9: ("the server's certificate is not valid yet", "compare the clocks of this machine and of the server"),
    10: (
        "the server's certificate has expired",
        "renew the certificate on the server, then type the same command again",
    ),
    23: ("the server's certificate was revoked", "renew the certificate on the server"),
    3: ("the revocation list has no entry of the certificate's authority", "correct sslcrl in database_connection"),
    12: ("the revocation list has expired", "fetch the revocation list again and put it where sslcrl names it"),
}
_OTHER_AUTHORITY = (
    "the server's certificate was not signed by the authority in {sslrootcert}",
    "make sure that this is the server you mean, then put its authority's certificate into the file that sslrootcert "
    "names (inventories/certificates/README.md)",
)


def why_not_trusted(parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return cause and remedy of a server certificate that libpq refuses; None where it cannot be seen.

    The certificate is fetched and judged once more; nothing else is sent.

    :param parameters: libpq's keywords.
    """
    host, seconds = str(parameters["host"]).split(",")[0], float(parameters.get("connect_timeout") or 10)
    try:
        context = _context(parameters)
        with socket.create_connection((host, int(parameters.get("port") or 5432)), seconds) as plain:
            plain.settimeout(seconds)
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return None
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return _CAUSES.get(error.verify_code, _OTHER_AUTHORITY)
    except (OSError, ValueError):
        return None


def _context(parameters: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    authority, revoked = (str(parameters.get(name) or NO_FILE) for name in ("sslrootcert", "sslcrl"))
    if authority == "system":
        context.load_default_certs()
    else:
        context.load_verify_locations(authority)
    if revoked != NO_FILE:
        context.load_verify_locations(revoked)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    return context
