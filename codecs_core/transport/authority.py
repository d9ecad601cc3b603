"""A certificate authority to try TLS with, and its first certificates, in QEMU's layout.

By the ``openssl`` command: an authority is needed on one host, once.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from codecs_core.errors import TransferError, UsageError

__all__ = ["issue", "make_authority"]

_AUTHORITY: Final = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_CERTIFICATE: Final = """
[req]
distinguished_name = name
prompt = no
[name]
O = {organization}
CN = {name}
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = {alternatives}
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = clientAuth
"""
_ORGANIZATION: Final = "multifd test"
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(directory: Path, *, days: int = 30) -> None:
    """Make ``ca-cert.pem`` and ``ca-key.pem`` in ``directory``, which is made, too.

    Raises `UsageError` where there is an authority already, `TransferError` where openssl fails.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = directory / "ca-cert.pem", directory / "ca-key.pem"
    for each in (certificate, key):
        if each.exists():
            raise UsageError(f"{each} exists; remedy: another directory, or remove the old one")
    _openssl(
        _AUTHORITY.format(name=_ORGANIZATION + " authority"),
        ("req", "-x509", *_NEW_KEY, "-config", "{config}", "-extensions", "authority"),
        ("-days", str(days), "-keyout", str(key), "-out", str(certificate)),
    )


def issue(directory: Path, role: str, names: Sequence[str], *, days: int = 30) -> None:
    """Make ``{role}-cert.pem`` and its key, by the authority in ``directory``.

    The first of ``names`` is the common name. A server's certificate is valid for all of them,
    which are DNS names and IP addresses. Raises `UsageError`, `TransferError`.
    """
    for name in names:
        if not name or any(each in name for each in ",\n\0$#\\\"'") or len(name) > 64:
            raise UsageError(f"{name!r} is no name for a certificate")
    config = _CERTIFICATE.format(
        organization=_ORGANIZATION, name=names[0], alternatives=",".join(map(_alternative, names))
    )
    with tempfile.TemporaryDirectory(prefix="multifd-") as place:
        request = str(Path(place, "request"))
        key = directory / f"{role}-key.pem"
        _openssl(
            config,
            ("req", "-new", *_NEW_KEY, "-config", "{config}"),
            ("-keyout", str(key), "-out", request),
        )
        _openssl(
            config,
            ("x509", "-req", "-in", request, "-extfile", "{config}", "-extensions", role),
            ("-CA", str(directory / "ca-cert.pem"), "-CAkey", str(directory / "ca-key.pem")),
            ("-set_serial", str(int.from_bytes(os.urandom(8)))),
            ("-days", str(days), "-out", str(directory / f"{role}-cert.pem")),
        )


def _alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(config: str, *arguments: Sequence[str]) -> None:
    """Run openssl; ``{config}`` among the arguments is a file with ``config``."""
    with tempfile.NamedTemporaryFile("w", prefix="multifd-", suffix=".cnf") as file:
        file.write(config)
        file.flush()
        words = [file.name if each == "{config}" else each for part in arguments for each in part]
        try:
            done = subprocess.run(
                ["openssl", *words], capture_output=True, text=True, check=False, umask=0o077
            )
        except FileNotFoundError:
            raise UsageError(
                "the openssl command is not here; remedy: apt install openssl"
            ) from None
    if done.returncode:
        raise TransferError(f"openssl {words[0]}: {done.stderr.strip()}")
