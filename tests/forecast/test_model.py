"""The model, beside simulations that know no formula."""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecs_core.errors import UsageError
from codecs_core.forecast import Engine, Measured, Plan, Prediction, break_even, predict, rank

MB = 1e6
CODEC = Measured("fast", 400 * MB, 800 * MB, 1 / (400 * MB), 1 / (800 * MB), 2.0)
NONE = Measured("none", 1e12, 1e12, 1e-12, 1e-12, 0.998)


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {"memory": 1 << 30, "channels": 2, "cpus": 4, "peer_cpus": 4}
    return Plan(**values | changes)


class TestStages:
    def test_a_slow_link_carries_its_bandwidth_times_the_ratio(self) -> None:
        found = predict(CODEC, plan(), 10 * MB)
        assert (found.limit, found.rate) == ("link", pytest.approx(20 * MB))
        assert found.seconds == pytest.approx((1 << 30) / (20 * MB))
        assert found.wire == pytest.approx(1 << 29)

    def test_the_senders_channels(self) -> None:
        found = predict(CODEC, plan(), 1e12)
        assert (found.limit, found.rate) == ("sender", pytest.approx(800 * MB))

    def test_the_receivers_channels(self) -> None:
        slow = dataclasses.replace(CODEC, decode=100 * MB, decode_cpu=1 / (100 * MB))
        found = predict(slow, plan(), 1e12)
        assert (found.limit, found.rate) == ("receiver", pytest.approx(200 * MB))

    def test_channels_beyond_the_cpus_do_not_help(self) -> None:
        rates = [predict(CODEC, plan(channels=n), 1e12).rate / MB for n in (1, 2, 4, 8, 255)]
        assert rates == pytest.approx([400, 800, 1600, 1600, 1600])

    def test_but_they_do_where_a_device_does_the_work(self) -> None:
        device = dataclasses.replace(CODEC, encode_cpu=1e-12, decode_cpu=1e-12)
        rates = [predict(device, plan(channels=n), 1e12).rate / MB for n in (1, 4, 8)]
        assert rates == pytest.approx([400, 1600, 3200])

    def test_the_other_hosts_cpus_are_its_own(self) -> None:
        found = predict(CODEC, plan(channels=8, peer_cpus=1), 1e12)
        assert (found.limit, found.rate) == ("receiver", pytest.approx(800 * MB))

    def test_both_ends_on_one_host_share_its_cpus(self) -> None:
        found = predict(CODEC, plan(channels=8, cpus=2, peer_cpus=None), 1e12)
        assert found.limit == "CPUs"
        assert found.rate == pytest.approx(2 / (1 / 400 + 1 / 800) * MB)

    def test_moving_costs_both_ends(self) -> None:
        engine = Engine(wire_cpu=1 / (1000 * MB))
        found = predict(NONE, plan(channels=1, engine=engine), 1e12)
        assert found.rate == pytest.approx(998 * MB, rel=1e-3)
        assert found.sender_cpu == pytest.approx((1 << 30) / (998 * MB), rel=1e-3)
        assert found.cpu == pytest.approx(2 * found.sender_cpu)

    def test_zero_pages_cost_their_offsets_and_a_look(self) -> None:
        found = predict(CODEC, plan(zero=1.0), 1e3)
        assert found.seconds == pytest.approx((1 << 30) / 512 / 1e3)
        assert found.wire == pytest.approx((1 << 30) / 512)
        assert found.pages == 0
        looking = plan(zero=1.0, engine=Engine(zero_cpu=1e-9))
        found = predict(CODEC, looking, 1e12)
        assert found.seconds == pytest.approx((1 << 30) * 1e-9 / 2)
        assert found.sender_cpu == pytest.approx((1 << 30) * 1e-9)


class TestRounds:
    def test_what_stands_still_is_sent_once(self) -> None:
        found = predict(CODEC, plan(), 10 * MB)
        assert (found.rounds, found.downtime, found.pages) == (1, 0, 1 << 30)

    def test_what_fits_into_the_limit_is_sent_in_it(self) -> None:
        found = predict(CODEC, plan(memory=1 << 20, dirty_rate=1e12), 100 * MB)
        assert found.rounds == 0
        assert found.downtime == found.seconds == pytest.approx((1 << 20) / (200 * MB))

    def test_each_round_is_as_much_smaller_as_pages_are_dirtied_more_slowly(self) -> None:
        """1000 s, 500 s, 250 s, 125 s, and 62.5 s in which the guest stands still."""
        found = predict(
            CODEC, plan(memory=10**9, dirty_rate=0.5 * MB, downtime_limit=100), 0.5 * MB
        )
        assert found.rounds == 4
        assert found.downtime == pytest.approx(62.5)
        assert found.seconds == pytest.approx(1937.5)
        assert found.pages == pytest.approx(1.9375e9)
        assert found.wire == pytest.approx(1.9375e9 / 2)

    @pytest.mark.parametrize("dirty", [20 * MB, 21 * MB, 1e12])
    def test_what_is_dirtied_faster_than_it_moves_never_ends(self, dirty: float) -> None:
        found = predict(CODEC, plan(dirty_rate=dirty), 10 * MB)
        assert not found.converges
        assert (found.seconds, found.rounds, found.pages, found.cpu) == (None,) * 4
        assert found.rate == pytest.approx(20 * MB)

    def test_compression_can_be_what_makes_it_converge(self) -> None:
        live = plan(dirty_rate=15 * MB)
        assert not predict(NONE, live, 10 * MB).converges
        assert predict(CODEC, live, 10 * MB).converges


def one_by_one(found: Prediction, live: Plan) -> tuple[int, float, float]:
    """Send round by round: rounds, seconds, and bytes of pages."""
    rest, seconds, pages, rounds = live.memory, 0.0, 0.0, 0
    while rest / found.rate > live.downtime_limit:
        took = rest / found.rate
        seconds, pages, rounds = seconds + took, pages + rest, rounds + 1
        rest = took * live.dirty_rate
    return rounds, seconds + rest / found.rate, pages + rest


@given(
    st.floats(1e6, 1e11),
    st.floats(0, 0.97),
    st.floats(0.01, 10),
    st.integers(1 << 20, 1 << 40),
)
def test_the_sum_is_that_of_its_rounds(
    bandwidth: float, share: float, limit: float, memory: int
) -> None:
    rate = predict(CODEC, plan(), bandwidth).rate
    live = plan(memory=memory, dirty_rate=share * rate, downtime_limit=limit)
    found = predict(CODEC, live, bandwidth)
    rounds, seconds, pages = one_by_one(found, live)
    assert found.rounds is not None
    # Where a round takes just the limit, rounding decides.
    assert abs(found.rounds - rounds) <= 1
    assert found.seconds == pytest.approx(seconds, rel=1e-6, abs=2 * limit)
    assert found.downtime is not None
    assert found.downtime <= limit * (1 + 1e-9)
    assert found.pages == pytest.approx(pages, rel=1e-6, abs=2 * limit * rate)


def simulated(codec: Measured, live: Plan, bandwidth: float, window: int = 4) -> float:
    """Pass packets through channels, a link and channels again, one after the other.

    Every channel has a CPU of its own at each end. ``window`` packets of a channel may be on their
    way; then its sender waits. Returns the seconds until the last is decompressed.
    """
    packet = 512 << 10
    sender, receiver = [0.0] * live.channels, [0.0] * live.channels
    arrivals: list[list[float]] = [[] for _ in range(live.channels)]
    link, last = 0.0, 0.0
    waiting = [(0.0, number) for number in range(live.channels)]
    for _ in range(live.memory // packet):
        free, number = heapq.heappop(waiting)
        ready = free + packet / codec.encode
        link = max(link, ready) + packet / codec.ratio / bandwidth
        receiver[number] = max(receiver[number], link) + packet / codec.decode
        arrivals[number].append(receiver[number])
        earliest = arrivals[number][-window] if len(arrivals[number]) >= window else 0.0
        sender[number] = max(ready, earliest)
        heapq.heappush(waiting, (sender[number], number))
        last = max(last, receiver[number])
    return last


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("bandwidth", [10 * MB, 100 * MB, 400 * MB, 1e9, 1e11])
@pytest.mark.parametrize(
    "codec",
    [
        CODEC,
        dataclasses.replace(CODEC, decode=100 * MB, decode_cpu=1e-8),
        dataclasses.replace(CODEC, encode=20 * MB, encode_cpu=5e-8, ratio=8.0),
    ],
)
def test_as_packets_do_it(codec: Measured, bandwidth: float, channels: int) -> None:
    """Neither packets nor waiting for each other are in the model, and they matter little."""
    live = plan(memory=256 << 20, channels=channels)
    found = predict(codec, live, bandwidth)
    assert found.seconds == pytest.approx(simulated(codec, live, bandwidth), rel=0.1)


def test_break_even_is_where_the_times_are_the_same() -> None:
    live = plan(engine=Engine(1e-10))
    pays = break_even(CODEC, live)
    for bandwidth, wins in ((pays * 0.98, True), (pays * 1.02, False)):
        ours, raw = (predict(each, live, bandwidth) for each in (CODEC, NONE))
        assert ours.seconds
        assert raw.seconds
        assert (ours.seconds < raw.seconds) == wins
    assert break_even(NONE, live) == 0


class TestRank:
    def test_by_time_then_by_work(self) -> None:
        slow = dataclasses.replace(CODEC, codec="slow", encode=10 * MB, encode_cpu=1e-7)
        light = dataclasses.replace(CODEC, codec="light", encode_cpu=1e-9, ratio=1.99)
        found = rank(predict(each, plan(), 100 * MB) for each in (slow, NONE, CODEC, light))
        assert [each.codec for each in found] == ["light", "fast", "none", "slow"]

    def test_what_does_not_end_comes_last(self) -> None:
        tight = dataclasses.replace(CODEC, codec="tight", ratio=1.5)
        found = rank(
            predict(each, plan(dirty_rate=18 * MB), 10 * MB) for each in (NONE, tight, CODEC)
        )
        assert [each.codec for each in found] == ["fast", "tight", "none"]
        assert [each.converges for each in found] == [True, False, False]

    def test_nothing(self) -> None:
        assert rank([]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", 0),
        ("channels", 0),
        ("channels", 256),
        ("cpus", 0),
        ("peer_cpus", -1),
        ("dirty_rate", -1.0),
        ("dirty_rate", math.inf),
        ("downtime_limit", 0.0),
        ("zero", 1.5),
        ("zero", math.nan),
    ],
)
def test_values_that_make_no_sense(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{name}="):
        plan(**{name: value})


@pytest.mark.parametrize("bandwidth", [0, -1.0, math.nan])
def test_bandwidths_that_are_none(bandwidth: float) -> None:
    with pytest.raises(UsageError, match="bandwidth="):
        predict(CODEC, plan(), bandwidth)


def test_all_of_it_is_json() -> None:
    for found in (predict(CODEC, plan(), 1e6), predict(CODEC, plan(dirty_rate=1e9), 1e6)):
        assert json.loads(json.dumps(found.as_dict()))["converges"] == found.converges
