"""Compressed connections of a real cluster: client, scheduler, nannies and workers in processes."""

from __future__ import annotations

from typing import Any

import dask
import numpy as np
from distributed import Client


def test_every_process_knows_the_codecs(client: Client) -> None:
    def known() -> bool:
        from distributed.protocol.compression import compressions

        return "qatzip" in compressions

    assert all(client.run(known).values())
    assert all(client.run(known, nanny=True).values())
    assert client.run_on_scheduler(known)


def test_connections_agree_on_the_codec(client: Client) -> None:
    """Those from the scheduler to its workers: distributed compresses none within a host."""

    def agreed(dask_worker: Any) -> set[str]:
        return {str(each.handshake_options["compression"]) for each in dask_worker._comms}

    assert all("qatzip" in each for each in client.run(agreed).values())


def test_what_is_sent_is_compressed(client: Client) -> None:
    """The worker counts the calls of the codec for a result that the client fetches."""

    def count() -> int:
        from codecs_core_dask import compression

        return int(compression._codec.cache_info().hits)

    before = client.run(count)
    numbers = client.submit(np.arange, 1_000_000, pure=False)
    assert np.array_equal(numbers.result(), np.arange(1_000_000))
    after = client.run(count)
    assert sum(after.values()) > sum(before.values())


def test_what_is_spilled_is_compressed(client: Client) -> None:
    def spill(dask_worker: Any) -> tuple[str, int]:
        data = dask_worker.data
        while data.memory:
            data.evict()
        before = data.spilled_total.disk
        data["spilled"] = np.zeros(1_000_000)
        data.evict()
        size = data.spilled_total.disk - before
        back = bool((data["spilled"] == 0).all())
        del data["spilled"]
        setting = dask.config.get("distributed.worker.memory.spill-compression")
        return f"{setting} {back}", size

    for told, size in client.run(spill).values():
        assert told == "codecs_core.zstd True"
        assert 0 < size < 100_000
