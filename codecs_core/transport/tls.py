"""TLS credentials: a directory in the layout of QEMU's ``tls-creds-x509``.

====================================  ==================================================
``ca-cert.pem``                       whose certificates are believed, the peer's and ours
``ca-crl.pem``                        optional: which of them are revoked
``server-cert.pem, server-key.pem``   who the listening end is
``client-cert.pem, client-key.pem``   who the dialling end is
====================================  ==================================================

Both ends show a certificate and check the other's; nothing here can switch that off. Only this
authority counts, never those of the system.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from codecs_core.errors import UsageError

__all__ = ["TlsCredentials", "names_of"]

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secret and authenticated, as all of TLS 1.3's are."""
_SHORT: Final = {
    "commonName": "CN", "countryName": "C", "domainComponent": "DC", "emailAddress": "EMAIL",
    "localityName": "L", "organizationName": "O", "organizationalUnitName": "OU",
    "serialNumber": "serialNumber", "stateOrProvinceName": "ST", "streetAddress": "STREET",
    "userId": "UID",
}  # fmt: skip
"""The attribute names of RFC 4514, and GnuTLS's for others, for those of OpenSSL."""


@dataclass(frozen=True)
class TlsCredentials:
    """The certificates of one end, in ``directory``.

    ``hostname`` is the name that the listening end's certificate must be valid for; by default
    the host that is dialled. ``authz`` are the clients that a listening end lets in; empty: all
    that the authority knows. A name there is the common name of the certificate's subject, or one
    of its DNS names; or, where it has a ``=``, the whole distinguished name as RFC 4514 writes it,
    in the certificate's order, as QEMU's ``tls-authz`` takes it, or in the reverse.

    The files are read when a `Sender`, `Receiver` or relay is made, which raises `UsageError`
    where one is missing, broken, expired or not of this authority.
    """

    directory: str | os.PathLike[str]
    hostname: str | None = None
    authz: tuple[str, ...] = ()

    def client_context(self) -> ssl.SSLContext:
        """What the dialling end needs."""
        context = self._context("client", ssl.PROTOCOL_TLS_CLIENT)
        self._check("client", ssl.PROTOCOL_TLS_SERVER)
        return context

    def server_context(self) -> ssl.SSLContext:
        """What the listening end needs."""
        context = self._context("server", ssl.PROTOCOL_TLS_SERVER)
        self._check("server", ssl.PROTOCOL_TLS_CLIENT)
        return context

    def admits(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a client may connect whose certificate `ssl.SSLSocket.getpeercert` decoded."""
        return not self.authz or not set(self.authz).isdisjoint(names_of(certificate))

    def _context(self, role: str, protocol: int) -> ssl.SSLContext:
        context = _bare(protocol)
        context.verify_mode = ssl.CERT_REQUIRED
        self._trust(context, role)
        self._identify(context, role)
        return context

    def _trust(self, context: ssl.SSLContext, role: str) -> None:
        """Have ``context`` believe the authority."""
        authority = self._file("ca-cert.pem", role)
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise UsageError(f"{authority}: no certificate in PEM ({_said(error)})") from error
        revoked = Path(self.directory, "ca-crl.pem")
        if revoked.exists():
            try:
                context.load_verify_locations(self._file(revoked.name, role))
            except ssl.SSLError as error:
                raise UsageError(f"{revoked}: no CRL in PEM ({_said(error)})") from error
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF

    def _identify(self, context: ssl.SSLContext, role: str) -> None:
        """Give ``context`` the certificate and key of ``role``."""
        certificate = self._file(f"{role}-cert.pem", role)
        key = self._file(f"{role}-key.pem", role)

        def password() -> str:
            raise UsageError(f"{key} is encrypted; remedy: openssl pkey -in {key} -out PLAIN_KEY")

        try:
            context.load_cert_chain(certificate, key, password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise UsageError(f"{key} does not belong to {certificate}") from error
            culprit, what = key, "private key"
            try:
                _bare(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
            except ssl.SSLError:
                culprit, what = certificate, "certificate"
            raise UsageError(f"{culprit}: no usable {what} in PEM ({_said(error)})") from error

    def _check(self, role: str, judge_protocol: int) -> None:
        """Raise `UsageError` where the peer would refuse our certificate, as QEMU does.

        The standard library verifies certificates in a handshake only. So one is held in memory,
        with a judge who believes our authority, and our side presenting itself.
        """
        server = role == "server"
        ours = _bare(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        judge = _bare(judge_protocol)
        for each in (ours, judge):
            each.check_hostname = False
        self._identify(ours, role)
        self._trust(judge, role)
        ours.verify_mode, judge.verify_mode = ssl.CERT_NONE, ssl.CERT_REQUIRED
        if not server:
            # A server has to have a certificate, though our side does not look at this one.
            self._identify(judge, role)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            ours.wrap_bio(back, there, server_side=server),
            judge.wrap_bio(there, back, server_side=not server),
        )
        try:
            for _ in range(3):
                for end in ends:
                    with suppress(ssl.SSLWantReadError):
                        end.do_handshake()
        except ssl.SSLCertVerificationError as error:
            certificate = Path(self.directory, f"{role}-cert.pem")
            raise UsageError(
                f"{certificate}: {error.verify_message}, by {certificate.with_name('ca-cert.pem')}"
            ) from error
        except ssl.SSLError as error:
            raise UsageError(f"{self.directory}: the {role}'s TLS fails: {_said(error)}") from error

    def _file(self, name: str, role: str) -> Path:
        path = Path(self.directory, name)
        try:
            path.open("rb").close()
        except FileNotFoundError:
            needed = {"server": "the end that listens", "client": "the end that dials"}[role]
            raise UsageError(
                f"{self.directory} has no {name}, which {needed} (the {role}) needs; remedy: have "
                "your authority make it, or try 'multifd test-ca'"
            ) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        return path


def names_of(certificate: Mapping[str, Any]) -> list[str]:
    """The names that a certificate has for `TlsCredentials`, whose ``authz`` says which."""
    subject = certificate.get("subject", ())
    parts = ["+".join(_attributes(each)) for each in subject]
    names = (
        ",".join(parts),
        ",".join(reversed(parts)),
        *(value for part in subject for name, value in part if name == "commonName"),
        *(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"),
    )
    return [each for each in names if each]


def _attributes(part: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """A relative distinguished name, as RFC 4514 section 2.4 escapes it."""
    for name, value in part:
        escaped = "".join(f"\\{each}" if each in ',+"\\<>;' else each for each in value)
        escaped = escaped.replace("\0", "\\00")
        if escaped[:1] in ("#", " "):
            escaped = f"\\{escaped}"
        if escaped[1:].endswith(" ") and not escaped.endswith("\\ "):
            escaped = f"{escaped[:-1]}\\ "
        yield f"{_SHORT.get(name, name)}={escaped}"


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        # Who only sends would never read them, and unread bytes turn a close into a reset.
        context.num_tickets = 0
    return context


def _said(error: ssl.SSLError) -> str:
    """OpenSSL's words for what went wrong."""
    return (error.reason or str(error.args[-1])).replace("_", " ").lower()
