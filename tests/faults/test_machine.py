"""A sender, a receiver and a network in whatever order, against a model of what must be there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from codecs_core import CodecsCoreError, Geometry, Receiver, Sender
from codecs_core.engine import session

from .proxy import Proxy
from .verdict import Call, open_files

PAGE = 512
PAGES = 96
CODECS = ("none", "zstd", "qatzip")
CHANNELS = 3
TIMEOUT = 5.0
WAIT = 30.0
NAMES = ("a", "b")


class Transfer(RuleBasedStateMachine):
    """``memory`` is what the sender has; ``sent`` what the receiver has once that is synced.

    While the network is held, a call of the sender's is ``pending``. ``broken``: a connection was
    cut, and calls may fail; ``over``: one has, or the transfer was finished.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before = set(threading.enumerate()), open_files()
        # What a peer says of a cut is quick here.
        self.grace = mock.patch.object(session, "_GRACE", 0.2)
        self.grace.start()
        self.sender: Sender | None = None

    @initialize(codec=st.sampled_from(CODECS), channels=st.integers(1, CHANNELS))
    def connect(self, codec: str, channels: int) -> None:
        self.memory = {name: bytearray(PAGES * PAGE) for name in NAMES}
        self.copies = {name: bytearray(b"\xee" * PAGES * PAGE) for name in NAMES}
        self.sent = {name: bytearray(copy) for name, copy in self.copies.items()}
        self.unsynced: set[tuple[str, int]] = set()
        self.held = self.broken = self.over = False
        self.pending: tuple[Call, Callable[[], None]] | None = None
        self.channels = channels
        self.receiver = Receiver("tcp:127.0.0.1:0", timeout=TIMEOUT)
        for name, copy in self.copies.items():
            self.receiver.add_block(name, copy)
        self.receiving = Call(self.receiver.receive)
        self.proxy = Proxy("tcp:127.0.0.1:0", self.receiver.address)
        self.sender = Sender(
            self.proxy.address,
            codec=codec,
            channels=channels,
            geometry=Geometry(PAGE, 8 * PAGE),
            timeout=TIMEOUT,
        )
        for name, memory in self.memory.items():
            self.sender.add_block(name, memory)
        self.sender.connect()

    @precondition(lambda self: self.over)
    @rule(codec=st.sampled_from(CODECS), channels=st.integers(1, CHANNELS))
    def connect_again(self, codec: str, channels: int) -> None:
        self.proxy.close()
        self.connect(codec, channels)

    ready = precondition(lambda self: self.sender and not self.pending and not self.over)

    # What the sender does.

    @ready
    @rule(name=st.sampled_from(NAMES), page=st.integers(0, PAGES - 1), fill=st.integers(0, 255))
    def dirty(self, name: str, page: int, fill: int) -> None:
        self.memory[name][page * PAGE : (page + 1) * PAGE] = bytes([fill]) * PAGE

    @ready
    @rule(name=st.sampled_from(NAMES))
    def send(self, name: str) -> None:
        sender = self.sender
        assert sender is not None
        self.send_some(name, range(PAGES), lambda: sender.send(name))

    @ready
    @rule(
        name=st.sampled_from(NAMES),
        pages=st.lists(st.integers(0, PAGES - 1), min_size=1, max_size=PAGES, unique=True),
    )
    def send_pages(self, name: str, pages: list[int]) -> None:
        sender = self.sender
        assert sender is not None
        self.send_some(name, pages, lambda: sender.send_pages(name, pages))

    @ready
    @rule()
    def sync(self) -> None:
        assert self.sender is not None
        self.perform(self.sender.sync, self.compare)

    @ready
    @rule()
    def finish(self) -> None:
        assert self.sender is not None
        self.perform(self.sender.finish, self.finished)

    @precondition(lambda self: self.sender and not self.over)
    @rule()
    def close(self) -> None:
        """Whatever is under way, and whether or not the network moves."""
        assert self.sender is not None
        self.sender.close()
        self.broken = True
        self.resume()
        self.fails()

    # What the network does.

    @precondition(lambda self: not self.held and not self.over)
    @rule()
    def stall(self) -> None:
        self.held = True
        self.proxy.hold()

    @precondition(lambda self: self.held)
    @rule()
    def resume(self) -> None:
        self.held = False
        self.proxy.release()
        if self.pending is not None:
            (call, then), self.pending = self.pending, None
            self.settle(call, then)

    @precondition(lambda self: not self.over)
    @rule(connection=st.integers(0, CHANNELS))
    def cut(self, connection: int) -> None:
        self.proxy.cut(min(connection, self.channels))
        self.broken = True
        self.resume()

    # What must be.

    def send_some(self, name: str, pages: Iterable[int], call: Callable[[], None]) -> None:
        """A page that is sent again needs a SYNC in between."""
        sender = self.sender
        assert sender is not None
        again = any((name, page) in self.unsynced for page in pages)

        def perform() -> None:
            if again:
                sender.sync()
            call()

        def note() -> None:
            if again:
                self.unsynced.clear()
            for page in pages:
                place = slice(page * PAGE, (page + 1) * PAGE)
                self.sent[name][place] = self.memory[name][place]
                self.unsynced.add((name, page))

        self.perform(perform, note)

    def perform(self, call: Callable[[], object], then: Callable[[], None]) -> None:
        started = Call(call)
        if self.held:
            self.pending = (started, then)
        else:
            self.settle(started, then)

    def settle(self, call: Call, then: Callable[[], None]) -> None:
        assert call.ends(WAIT), "it hangs"
        if call.error is None:
            then()
            return
        assert self.broken, call.error
        assert isinstance(call.error, CodecsCoreError), call.error
        self.fails()

    def compare(self) -> None:
        self.unsynced.clear()
        assert self.copies == self.sent

    def finished(self) -> None:
        self.over = True
        assert self.receiving.ends(WAIT), "the receiver hangs"
        assert self.receiving.error is None
        self.compare()

    def fails(self) -> None:
        assert self.sender is not None
        self.over = True
        self.sender.close()
        assert self.receiving.ends(WAIT), "the receiver hangs"
        assert isinstance(self.receiving.error, CodecsCoreError), self.receiving.error

    def teardown(self) -> None:
        try:
            if self.sender is not None:
                self.resume()
                if not self.over:
                    self.close()
                self.proxy.close()
        finally:
            self.grace.stop()
        threads, files = self.before
        assert set(threading.enumerate()) <= threads
        assert open_files() <= files


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, derandomize=True
)
