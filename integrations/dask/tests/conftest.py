"""A cluster of two worker processes, which these tests share: it takes seconds to start."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import dask
import pytest
from codecs_core_dask import settings
from distributed import Client, LocalCluster


@pytest.fixture(scope="package")
def client() -> Iterator[Client]:
    """A client of a cluster whose connections and spilled data are compressed by our codecs."""
    chosen = settings("qatzip", spill="codecs_core.zstd")
    chosen |= {"distributed.scheduler.allowed-failures": 10, "distributed.admin.tick.limit": "60s"}
    with (
        dask.config.set(chosen),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            # What distributed takes for another host than the scheduler's.
            host="127.0.0.2",
            scheduler_kwargs={"host": "127.0.0.1"},
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
    assert multiprocessing.active_children() == []
