"""The conformance kit for plugin authors: ``pip install codecs-core[testing]``.

One class holds the codec to everything the contract promises::

    from codecs_core.testing import CodecContract

    class TestMine(CodecContract):
        codec = MyCodec()

pytest collects the class and runs the whole battery: round trips over sizes, kinds of data, long
sequences and geometries; damaged, truncated, overlong and exploding payloads; guarded buffers;
interleaved, threaded and many sessions; parameters at and past their bounds; what the codec
suggests to the adaptive method; the standard file format where it has one; and the listing. See
`CodecContract` for what can be adjusted.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: their asserts then show values, as in a test file.
for _module in (
    *("candidates", "checks", "device", "double", "file_format", "hostile"),
    *("listing", "packets", "parameters", "sessions"),
):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from codecs_core.testing.contract import CodecContract  # noqa: E402

__all__ = ["CodecContract"]
