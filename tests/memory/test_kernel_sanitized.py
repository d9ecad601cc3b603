"""The C kernel under AddressSanitizer and UBSan: its tests, and its fuzz target."""

from __future__ import annotations

from pathlib import Path

import pytest

from codecs_core.memory import kernel_build
from tests.fuzz import sanitized

MODULE = "codecs_core.memory._kernel"
BUILDER = Path(kernel_build.__file__)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sanitized")
    return sanitized.build(BUILDER, "CODECS_CORE_KERNEL_CFLAGS", place)


@pytest.mark.parametrize(
    "program",
    [
        "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
        " # tests/memory/test_kernel.py",
        "runpy.run_module('tests.fuzz', run_name='__main__', alter_sys=True)"
        " # kernel --executions 3000 --seconds 60",
    ],
    ids=["tests", "fuzz"],
)
def test_nothing_is_found(extension: Path, program: str) -> None:
    program, _, arguments = program.partition(" # ")
    done = sanitized.run(MODULE, extension, program, *arguments.split())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("call", "finding"),
    [
        ("lib.cc_check(ffi.from_buffer(bytearray(8 * 99)), 100, 512, 512)", "heap-buffer-overflow"),
        ("lib.cc_contiguous(ffi.NULL, 1, 512)", "null pointer"),
    ],
)
def test_a_defect_would_be_found(extension: Path, call: str, finding: str) -> None:
    done = sanitized.run(MODULE, extension, f"from {MODULE} import ffi, lib; {call}")
    assert done.returncode != 0
    assert finding in done.stderr
