from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def extract(multifd: Any) -> Callable[..., Any]:
    """Run ``multifd extract``."""

    def run(path: Path, block: str, output: Path, *options: str) -> Any:
        return multifd("extract", str(path), "--block", block, "--output", str(output), *options)

    return run


def test_a_block(bundled: Any, extract: Any, tmp_path: Path) -> None:
    recorded = bundled["zlib-ch4"]
    output = tmp_path / "ram.bin"
    result = extract(recorded.path, "pc.ram", output)
    assert (result.status, result.out) == (
        0,
        f"{output}: 32.0 MiB of RAM block pc.ram, from 1846 normal and 6475 zero pages\n",
    )
    assert hashlib.sha256(output.read_bytes()).hexdigest() == recorded.digests()["pc.ram"]


def test_json(bundled: Any, extract: Any, tmp_path: Path) -> None:
    output = tmp_path / "tables"
    path = bundled["mappedram-multifd-ch2"].path
    assert extract(path, "/rom@etc/acpi/tables", output, "--json").json == {
        "output": str(output),
        "block": "/rom@etc/acpi/tables",
        "size": 131072,
        "page_size": 4096,
        "normal_pages": 3,
        "zero_pages": 29,
        "unsent_pages": 0,
    }


def test_an_unknown_block_lists_those_there_are(bundled: Any, extract: Any, tmp_path: Path) -> None:
    result = extract(bundled["none-ch2"].path, "ram", tmp_path / "out")
    assert result.status == 2
    assert "no RAM block 'ram'; it has 'pc.ram', '/rom@etc/acpi/tables', 'pc.bios', " in result.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file(bundled: Any, extract: Any, tmp_path: Path) -> None:
    path = bundled["none-ch2"].path
    output = tmp_path / "out"
    output.write_bytes(b"mine")
    result = extract(path, "pc.rom", output)
    assert result.status == 2
    assert result.err == f"multifd: error: {output} exists; --force replaces it\n"
    assert output.read_bytes() == b"mine"
    assert extract(path, "pc.rom", output, "--force").status == 0
    assert output.read_bytes() == bytes(128 << 10)


def test_pages_that_were_never_sent(bundled: Any, extract: Any, tmp_path: Path) -> None:
    directory = bundled["none-ch2"].unpack(tmp_path / "unpacked", "main.bin", "ch0.bin")
    result = extract(directory, "pc.ram", tmp_path / "out")
    assert result.status == 1
    assert "were never sent" in result.err
    assert list(tmp_path.iterdir()) == [directory]
    result = extract(directory, "pc.ram", tmp_path / "out", "--allow-unsent")
    assert result.status == 0
    assert "pages were never sent" in result.out


def test_an_interrupt_leaves_nothing_behind(
    bundled: Any, extract: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codecs_core.gateway.extract.rebuild", interrupted)
    assert extract(bundled["none-ch2"].path, "pc.ram", tmp_path / "out").status == 130
    assert list(tmp_path.iterdir()) == []
