"""QEMU takes the credentials that ``multifd test-ca`` makes: the layout is its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

QEMU = shutil.which("qemu-system-x86_64")


@pytest.mark.skipif(QEMU is None, reason="there is no QEMU")
@pytest.mark.parametrize("role", ["server", "client"])
def test_credentials_are_qemus(pki: Path, role: str) -> None:
    """QEMU checks them as it makes the object, and ends at once, for want of a machine."""
    assert QEMU is not None
    credentials = f"tls-creds-x509,id=tls,dir={pki},endpoint={role},verify-peer=on,sanity-check=on"
    done = subprocess.run(
        [QEMU, "-machine", "none", "-display", "none", "-monitor", "stdio", "-object", credentials],
        input="quit\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
