"""TLS credentials: what is wrong with a directory is said before anybody connects."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codecs_core import TlsCredentials, UsageError
from codecs_core.transport.authority import issue
from codecs_core.transport.tls import names_of

Damage = Callable[[Path], None]


@pytest.fixture
def mine(pki: Path, tmp_path: Path) -> Path:
    """A copy of the credentials, to be damaged."""
    return Path(shutil.copytree(pki, tmp_path / "pki"))


def load(place: Path, role: str) -> Any:
    credentials = TlsCredentials(place)
    return credentials.server_context() if role == "server" else credentials.client_context()


def refusal(place: Path, role: str) -> str:
    with pytest.raises(UsageError) as error:
        load(place, role)
    return str(error.value)


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.parametrize("role", ["server", "client"])
class TestEachRole:
    def test_needs_only_its_own_files(self, mine: Path, role: str) -> None:
        other = {"server": "client", "client": "server"}[role]
        for each in (f"{other}-cert.pem", f"{other}-key.pem", "ca-key.pem"):
            (mine / each).unlink()
        load(mine, role)

    @pytest.mark.parametrize("name", ["ca-cert.pem", "{}-cert.pem", "{}-key.pem"])
    def test_names_the_file_that_is_missing(self, mine: Path, role: str, name: str) -> None:
        name = name.format(role)
        (mine / name).unlink()
        said = refusal(mine, role)
        assert f"{mine} has no {name}, which the end that" in said
        assert f"(the {role}) needs; remedy: " in said

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("ca-cert.pem", "ca-cert.pem: no certificate in PEM"),
            ("{}-cert.pem", "-cert.pem: no usable certificate in PEM"),
            ("{}-key.pem", "-key.pem: no usable private key in PEM"),
        ],
    )
    def test_names_the_file_that_is_broken(
        self, mine: Path, role: str, name: str, said: str
    ) -> None:
        (mine / name.format(role)).write_text("nothing of use\n")
        assert said in refusal(mine, role)

    def test_a_directory_is_no_file(self, mine: Path, role: str) -> None:
        (mine / "ca-cert.pem").unlink()
        (mine / "ca-cert.pem").mkdir()
        assert "ca-cert.pem: Is a directory" in refusal(mine, role)

    def test_a_key_of_another_certificate(self, mine: Path, bob: Path, role: str) -> None:
        shutil.copy(bob / f"{role}-key.pem", mine)
        assert f"{role}-key.pem does not belong to" in refusal(mine, role)

    def test_an_encrypted_key(self, mine: Path, role: str) -> None:
        key = mine / f"{role}-key.pem"
        openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", mine / "new")
        (mine / "new").replace(key)
        assert f"{key} is encrypted; remedy: openssl pkey -in" in refusal(mine, role)

    def test_an_expired_certificate(self, mine: Path, role: str) -> None:
        issue(mine, role, ["localhost"], days=-1)
        assert f"{role}-cert.pem: certificate has expired" in refusal(mine, role)

    def test_a_certificate_of_another_authority(
        self, mine: Path, stranger_pki: Path, role: str
    ) -> None:
        shutil.copy(stranger_pki / "ca-cert.pem", mine)
        said = refusal(mine, role)
        assert f"{role}-cert.pem: " in said
        assert "ca-cert.pem" in said

    def test_a_certificate_of_the_other_role(self, mine: Path, role: str) -> None:
        other = {"server": "client", "client": "server"}[role]
        for each in ("cert", "key"):
            shutil.copy(mine / f"{other}-{each}.pem", mine / f"{role}-{each}.pem")
        assert "purpose" in refusal(mine, role)

    def test_a_revoked_certificate(self, mine: Path, role: str) -> None:
        revoke(mine, f"{role}-cert.pem")
        assert f"{role}-cert.pem: certificate revoked" in refusal(mine, role)

    def test_a_broken_revocation_list(self, mine: Path, role: str) -> None:
        (mine / "ca-crl.pem").write_text("nothing of use\n")
        assert "ca-crl.pem: no CRL in PEM" in refusal(mine, role)


def revoke(place: Path, *names: str) -> None:
    """Write ``ca-crl.pem``, in which these certificates are revoked."""
    (place / "index.txt").write_text("")
    (place / "crlnumber").write_text("01\n")
    config = place / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {place}/index.txt\n"
        f"crlnumber = {place}/crlnumber\ndefault_md = sha256\ndefault_crl_days = 30\n"
    )
    authority = (
        "-config",
        config,
        "-cert",
        place / "ca-cert.pem",
        "-keyfile",
        place / "ca-key.pem",
    )
    for name in names:
        openssl("ca", *authority, "-revoke", place / name)
    openssl("ca", *authority, "-gencrl", "-out", place / "ca-crl.pem")


def test_a_revocation_list_that_names_others_does_no_harm(mine: Path, bob: Path) -> None:
    shutil.copy(bob / "client-cert.pem", mine / "other.pem")
    revoke(mine, "other.pem")
    load(mine, "server")
    load(mine, "client")


SUBJECT = (
    (("countryName", "GB"),),
    (("organizationName", 'Example, "Org"'),),
    (("organizationalUnitName", " x "),),
    (("commonName", "#héllo+a"), ("userId", "u1")),
)
QEMUS = 'C=GB,O=Example\\, \\"Org\\",OU=\\ x\\ ,CN=\\#héllo\\+a+UID=u1'
"""As GnuTLS's `gnutls_x509_crt_get_dn` prints it, whose result QEMU's tls-authz compares."""


@pytest.mark.parametrize(
    ("name", "admitted"),
    [
        (QEMUS, True),
        ('CN=\\#héllo\\+a+UID=u1,OU=\\ x\\ ,O=Example\\, \\"Org\\",C=GB', True),
        ("#héllo+a", True),
        ("host.example", True),
        ("C=GB", False),
        ("GB", False),
        ("u1", False),
        ("10.0.0.1", False),
        ("example", False),
        ("HOST.EXAMPLE", False),
        ("", False),
    ],
)
def test_who_is_let_in(name: str, admitted: bool) -> None:
    certificate = {
        "subject": SUBJECT,
        "subjectAltName": (("DNS", "host.example"), ("IP Address", "10.0.0.1")),
    }
    assert TlsCredentials("x", authz=("somebody else", name)).admits(certificate) == admitted
    assert TlsCredentials("x").admits(certificate)


def test_a_certificate_without_names() -> None:
    assert names_of({}) == []
    assert not TlsCredentials("x", authz=("",)).admits({})
