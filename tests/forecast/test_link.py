"""The link and the engine: measured by real transfers, and nothing stays behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from codecs_core import LinkError, Receiver, Sender, StreamSink
from codecs_core.forecast.link import bandwidth_to, engine_costs


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before


def test_bandwidth() -> None:
    taken = []
    with open(os.devnull, "wb", buffering=0) as sink:

        def open_block(name: str, size: int | None, page_size: int) -> StreamSink:
            taken.append(name)
            return StreamSink(name, sink.fileno(), size, page_size)

        with Receiver("tcp:127.0.0.1:0", open_block=open_block) as receiver:
            thread = threading.Thread(target=receiver.receive)
            thread.start()
            found = bandwidth_to(receiver.address, channels=2, seconds=0.05)
            thread.join()
            done = receiver.progress()
    assert found > 0
    assert len(taken) == 1
    assert done.codec == "none"
    assert done.syncs == 2
    assert done.normal_pages > 0


def test_nobody_listens() -> None:
    with pytest.raises(LinkError, match="connecting to tcp:127"):
        bandwidth_to("tcp:127.0.0.1:1")


def test_engine() -> None:
    costs = engine_costs(channels=1, seconds=0.05)
    assert 0 < costs.wire_cpu < 1e-6
    assert 0 < costs.zero_cpu < 1e-7


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_engine_that_is_interrupted(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receiver ends too, and says nothing."""

    def fail(self: Sender) -> None:
        raise error

    monkeypatch.setattr(Sender, "sync", fail)
    with pytest.raises(error):
        engine_costs(channels=1, seconds=0.02)
