"""Sessions: many at a time, many after each other, closed more than once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from codecs_core.codec import Codec
from codecs_core.errors import CorruptPayload
from codecs_core.guard import guarded_decoder, guarded_encoder
from codecs_core.testing.checks import (
    SMALL,
    decode,
    encode,
    guarded,
    identical,
    open_files,
    resident,
)
from codecs_core.testing.data import KINDS, sample

__all__ = ["SessionTests"]

_SESSIONS = 300
_LEAK_BOUND = 16 << 20


class SessionTests:
    """Encoders and decoders as objects: independent, closable, without leaks."""

    codec: ClassVar[Codec]

    def test_sessions_are_independent(self) -> None:
        """Channels take turns, and none sees another's history."""
        channels = [
            (guarded_encoder(self.codec, SMALL), guarded_decoder(self.codec, SMALL))
            for _ in range(4)
        ]
        for number in range(12):
            for channel, (encoder, decoder) in enumerate(channels):
                pages = sample("memory", SMALL.packet_size, (number + channel // 2) % 5)
                with guarded(len(pages)) as packet:
                    decoder.decode_into(memoryview(encoder.encode(memoryview(pages))), packet)
                    assert identical(packet, pages)
        for encoder, decoder in channels:
            encoder.close()
            decoder.close()

    def test_sessions_work_in_threads(self) -> None:
        """One channel a thread, all at the same time."""

        def channel(seed: int) -> None:
            packets = [sample(kind, SMALL.packet_size, seed) for kind in KINDS] * 4
            payloads = encode(self.codec, packets, SMALL)
            pages = decode(self.codec, payloads, map(len, packets), SMALL)
            assert identical(pages, packets), "other pages come back"

        channel(0)
        with ThreadPoolExecutor(4) as pool:
            sessions = [pool.submit(channel, seed) for seed in range(8)]
        errors = [error for each in sessions if (error := each.exception()) is not None]
        assert not errors, (
            f"a channel that works alone fails beside others ({errors[0]}): see that sessions "
            "share nothing that they change"
        )

    def test_fresh_sessions_need_no_history(self) -> None:
        """After a lost connection both ends start afresh."""
        pages = sample("memory", SMALL.packet_size)
        [first] = encode(self.codec, [pages], SMALL)
        [again] = encode(self.codec, [pages], SMALL)
        for payload in (first, again):
            assert identical(decode(self.codec, [payload], [len(pages)], SMALL), [pages])

    def test_close(self) -> None:
        """Closing twice is closing; a failed session closes too."""
        encoder, decoder = self.codec.encoder(SMALL), self.codec.decoder(SMALL)
        with encoder as entered:
            assert entered is encoder
            encoder.encode(memoryview(bytes(SMALL.page_size)))
        with decoder as entered_too:
            assert entered_too is decoder
            with guarded(SMALL.page_size) as packet, contextlib.suppress(CorruptPayload):
                decoder.decode_into(memoryview(b""), packet)
        for session in (encoder, decoder, self.codec.encoder(SMALL), self.codec.decoder(SMALL)):
            session.close()
            session.close()

    def test_statistics(self) -> None:
        """Counters by name, which only ever rise, and can be had after the end."""
        pages = memoryview(sample("memory", SMALL.packet_size))
        encoder, decoder = self.codec.encoder(SMALL), self.codec.decoder(SMALL)
        before: list[dict[str, int]] = [{}, {}]
        for number in range(4):
            payload = bytes(encoder.encode(pages))
            decoder.decode_into(memoryview(payload), memoryview(bytearray(len(pages))))
            if number == 3:
                encoder.close()
                decoder.close()
            for place, session in enumerate((encoder, decoder)):
                kind, counters = type(session).__qualname__, session.statistics()
                assert isinstance(counters, Mapping), (
                    f"{kind}.statistics() returned {counters!r}, not counters by name"
                )
                for name, count in counters.items():
                    assert isinstance(name, str) and type(count) is int, (
                        f"{kind}.statistics() counts {name!r}: {count!r}; counters are whole "
                        "numbers by name"
                    )
                    assert count >= before[place].get(name, 0), (
                        f"{kind}.statistics() has {name!r} fall to {count}; counters only rise"
                    )
                assert counters.keys() >= before[place].keys(), (
                    f"{kind}.statistics() no longer has {set(before[place]) - set(counters)}"
                )
                before[place] = dict(counters)

    def test_sessions_leave_nothing_behind(self) -> None:
        """Hundreds of sessions, and neither memory nor file descriptors grow."""
        pages = sample("memory", SMALL.packet_size)

        def use(count: int) -> None:
            for _ in range(count):
                payloads = encode(self.codec, [pages], SMALL)
                decode(self.codec, payloads, [len(pages)], SMALL)
            gc.collect()

        use(_SESSIONS // 6)
        memory, files = resident(), open_files()
        use(_SESSIONS)
        assert open_files() == files
        growth = resident() - memory
        assert growth < _LEAK_BOUND, f"{_SESSIONS} sessions left {growth >> 20} MiB behind"
