"""The conformance suite, on each backend that works without a device."""

from __future__ import annotations

import pytest
from codecs_core_qpl import QplCodec, software

from codecs_core.testing import CodecContract


class TestQpl(CodecContract):
    codec = QplCodec()


class TestLibqpl(CodecContract):
    codec = QplCodec(backend="libqpl")


class TestPageByPage(CodecContract):
    """What serves where the plugin was built without ISA-L and libdeflate."""

    codec = QplCodec(backend="software")

    @pytest.fixture(autouse=True)
    def _without_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(software, "_kernel", lambda: None)
