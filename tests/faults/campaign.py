"""Many plans at once, each in a process that carries out nothing else meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

from . import native, relay
from .plan import Plan, plan_of, relay_plan_of
from .verdict import Verdict

__all__ = ["carry_out", "planned", "run"]

RELAYS = 4
"""Every how manyth plan is a migration through relays."""


def planned(seed: int, codec: str | None = None) -> Plan:
    """The plan of a seed, whatever kind of plan it is; ``codec`` instead of the seed's own."""
    plan = relay_plan_of(seed) if seed % RELAYS == 0 else plan_of(seed)
    return plan if codec is None else replace(plan, codec=codec)


def run(plan: Plan) -> Verdict:
    """Carry out a plan."""
    return relay.run(plan) if plan.relay else native.run(plan)


def carry_out(plans: Iterable[Plan], jobs: int) -> Iterator[Verdict]:
    """Yield what comes of the plans, as they end. Most of a plan is waiting: take many jobs."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("forkserver")) as pool:
        for future in as_completed([pool.submit(run, each) for each in plans]):
            yield future.result()
