"""A self-signed certificate for loopback: kubectl sends tokens over TLS only."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import PermanentError

_CONFIG = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = harness-cluster
[extensions]
basicConstraints = critical,CA:true
keyUsage = critical,digitalSignature,keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = IP:127.0.0.1,DNS:localhost
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Files in PEM; the certificate is its own authority."""

    cert: Path
    key: Path

    def text(self) -> str:
        """The certificate."""
        return self.cert.read_text(encoding="utf-8")


def certificate(folder: Path) -> Certificate:
    """The certificate of a folder, made by the ``openssl`` command once.

    Raises:
        PermanentError: there is no ``openssl``, or it fails.
    """
    found = Certificate(cert=folder / "tls.crt", key=folder / "tls.key")
    if found.cert.exists() and found.key.exists():
        return found
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = folder / "tls.cnf"
    config.write_text(_CONFIG, encoding="utf-8")
    found.key.touch(mode=0o600)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-sha256", "-days", "3650"]
    command += ["-config", str(config), "-keyout", str(found.key), "-out", str(found.cert)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PermanentError(
            f"the openssl command is needed to make a certificate: {error}"
        ) from error
    if result.returncode != 0:
        raise PermanentError(f"openssl makes no certificate: {result.stderr.strip()[-500:]}")
    return found
