"""QPL's C code under AddressSanitizer and UBSan: the software backend, and libqpl's binding."""

from __future__ import annotations

from pathlib import Path

import codecs_core_qpl
import pytest

from tests.fuzz import sanitized

HERE = Path(codecs_core_qpl.__file__).parent
BUILT = {"software": "software_build.py", "libqpl": "binding_build.py"}
MODULES = {"software": "codecs_core_qpl._software", "libqpl": "codecs_core_qpl._binding"}
PROGRAM = """
import random
from codecs_core import get_codec
from codecs_core.codec import Geometry
from codecs_core.errors import CorruptPayload
from codecs_core.testing.data import sample

backend, seed = sys.argv[1], int(sys.argv[2])
dice, codec = random.Random(seed), get_codec("qpl", backend=backend)
encoder, decoder = codec.encoder(Geometry()), codec.decoder(Geometry())
refused = 0
for _ in range(400):
    count = dice.randint(1, 128)
    kind = dice.choice(("memory", "random", "zero"))
    pages = bytes(4096 * count) if kind == "zero" else (
        dice.randbytes(4096 * count) if kind == "random" else sample("memory", 4096 * count, seed)
    )
    payload = bytearray(encoder.encode(memoryview(pages)))
    packet = bytearray(len(pages))
    decoder.decode_into(memoryview(payload), memoryview(packet))
    assert packet == pages
    for _ in range(dice.randint(1, 8)):
        payload[dice.choice((dice.randrange(len(payload)), dice.randrange(4 * count)))] = (
            dice.randrange(256)
        )
    del payload[len(payload) - dice.choice((0, 0, 1, 100)) :]
    try:
        decoder.decode_into(memoryview(payload), memoryview(packet))
    except CorruptPayload:
        refused += 1
assert refused > 50, refused
"""
OVERFLOW = """
from codecs_core_qpl._software import ffi, lib
call = "BUFFER"
"""


@pytest.mark.parametrize("backend", ["software", "libqpl"])
def test_nothing_is_found(
    tmp_path_factory: pytest.TempPathFactory, build_environment: dict[str, str], backend: str
) -> None:
    """Packets of all kinds there and back, and damaged ones."""
    place = tmp_path_factory.mktemp("sanitized")
    builder = HERE / BUILT[backend]
    file = sanitized.build(builder, "CODECS_CORE_QPL_CFLAGS", place, build_environment)
    done = sanitized.run(MODULES[backend], file, PROGRAM, backend, "5")
    assert done.returncode == 0, done.stdout + done.stderr
