"""A plan carried out: a sender and a receiver, and the proxy between them."""

from __future__ import annotations

import io
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from codecs_core import (
    Block,
    CodecsCoreError,
    FileBlock,
    Geometry,
    MemoryBlock,
    Receiver,
    Sender,
    StreamSink,
    StreamSource,
    TransferError,
)
from codecs_core.memory.output import OutputFile

from .plan import Plan
from .proxy import Proxy
from .verdict import Call, Verdict, watched, where_threads_are

__all__ = ["run"]

PAGE = 4096
GEOMETRY = Geometry(PAGE, 8 * PAGE)
_SLACK = 15.0
"""Seconds beyond the timeouts after which a run is a hang."""


def run(plan: Plan) -> Verdict:
    """Carry out a plan, and judge what comes of it."""
    verdict = Verdict(plan)
    with watched(verdict), tempfile.TemporaryDirectory(prefix="faults-") as place:
        _Run(plan, Path(place), verdict).carry_out()
    return verdict


class _Run:
    def __init__(self, plan: Plan, place: Path, verdict: Verdict) -> None:
        self.plan = plan
        self.verdict = verdict
        self.dice = random.Random(plan.seed)
        self.stack = ExitStack()
        self.outputs: list[OutputFile] = []
        self.names = [f"block {number}" for number in range(plan.blocks)]
        size = plan.pages * PAGE - self.dice.choice((0, 0, 1, PAGE - 1))
        self.content = {name: _content(self.dice, size) for name in self.names}
        self.copies = {name: bytearray(b"\xee" * size) for name in self.names}
        self.there = place / "there"
        self.there.mkdir()
        self.sources = place
        self.unsynced = ""

    def carry_out(self) -> None:
        plan, verdict = self.plan, self.verdict
        tcp = plan.transport == "tcp"
        receiver = Receiver(
            "tcp:127.0.0.1:0" if tcp else f"unix:{self.sources}/receiver",
            open_block=self._open,
            timeout=plan.timeout,
        )
        listen = "tcp:127.0.0.1:0" if tcp else f"unix:{self.sources}/proxy"
        with Proxy(listen, receiver.address, plan.faults) as proxy, self.stack:
            receiving = Call(receiver.receive, self._commit)
            sending = Call(self._send, proxy.address)
            bound = time.monotonic() + 3 * (plan.timeout + plan.retry_for) + _SLACK
            sent = sending.ends(bound - time.monotonic())
            # A receiver whom the sender's words never reached waits for another sender.
            if sent and not receiver.progress().seconds and not receiving.ends(plan.timeout):
                receiver.close()
            ended = sent and receiving.ends(bound - time.monotonic())
            if not ended:
                verdict.end = "hang"
                verdict.wrong.append(f"it hangs: {where_threads_are()}")
        verdict.fired = tuple(map(str, proxy.fired))
        if not Call(receiver.close).ends(_SLACK):
            verdict.wrong.append("the receiver does not close")
        if ended:
            self._judge(sending.error, receiving.error)

    def _send(self, address: str) -> None:
        plan = self.plan
        with Sender(
            address,
            codec=plan.codec,
            channels=plan.channels,
            geometry=GEOMETRY,
            timeout=plan.timeout,
            retry_for=plan.retry_for,
        ) as sender:
            for name, data in self.content.items():
                sender.add_block(name, self._source(name, data))
            sender.send()
            for _ in range(plan.rounds):
                sender.sync()
                if self.copies != self.content:
                    self.unsynced = "SYNCED, but not the same"
                for name in self.names:
                    sender.send_pages(name, self._dirty(self.content[name]))

    def _source(self, name: str, data: bytearray) -> Any:
        if self.plan.kind == "memory":
            return data
        if self.plan.kind == "stream":
            return StreamSource(name, io.BytesIO(data), PAGE)
        path = self.sources / name
        path.write_bytes(data)
        return FileBlock.open(path, name, PAGE)

    def _dirty(self, data: bytearray) -> list[int]:
        pages = self.dice.sample(range(self.plan.pages), self.dice.randint(1, self.plan.pages))
        for page in pages:
            piece = data[page * PAGE : (page + 1) * PAGE]
            data[page * PAGE : page * PAGE + len(piece)] = self.dice.randbytes(len(piece))
        return pages

    def _open(self, name: str, size: int | None, page_size: int) -> Block:
        if self.plan.kind == "memory":
            if name not in self.copies:
                raise TransferError(f"there is no block {name!r} here")
            return MemoryBlock(name, self.copies[name], page_size)
        output = self.stack.enter_context(OutputFile(self.there / name))
        self.outputs.append(output)
        if size is not None:
            return FileBlock.create(output.partial, size, name, page_size)
        fd = os.open(output.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.stack.callback(os.close, fd)
        return StreamSink(name, fd, None, page_size)

    def _commit(self) -> None:
        for each in self.outputs:
            each.commit()

    # What came of it.

    def _judge(self, sent: BaseException | None, received: BaseException | None) -> None:
        verdict, wrong = self.verdict, self.verdict.wrong
        verdict.errors = tuple(
            f"{who}: {type(error).__name__}: {error}"
            for who, error in (("sender", sent), ("receiver", received))
            if error is not None
        )
        for error in (sent, received):
            wrong.extend(_what_is_wrong_with(error))
        whole = self._whole()
        if sent is None:
            verdict.end = "acknowledged"
            if received is not None:
                wrong.append("acknowledged, but the receiver failed")
            if not whole:
                wrong.append("acknowledged, but not the same")
        elif received is None:
            # Nobody can tell whether the last message arrives.
            verdict.end = "stored, but the sender was not told"
            if not whole:
                wrong.append("received without an error, but not the same")
        else:
            verdict.end = "failed"
            if left := sorted(each.name for each in self.there.iterdir()):
                wrong.append(f"failed, but there is {', '.join(left)}")
        if self.unsynced:
            wrong.append(self.unsynced)
        if self.plan.harmless and verdict.end != "acknowledged":
            wrong.append(f"{verdict.end}, though nothing was lost")

    def _whole(self) -> bool:
        if self.plan.kind == "memory":
            return self.copies == self.content
        return {each.name: each.read_bytes() for each in self.there.iterdir()} == self.content


def _what_is_wrong_with(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    if not isinstance(error, CodecsCoreError):
        yield f"no error of ours: {type(error).__name__}: {error}"
    elif not str(error) or "\n" in str(error) or "internal error" in str(error):
        yield f"no clear error: {error!r}"


def _content(dice: random.Random, size: int) -> bytearray:
    """Pages of which some are zero, some compress, some do not."""
    kinds = (bytes(PAGE), b"guest memory " * 316, dice.randbytes(PAGE))
    return bytearray(b"".join(dice.choices(kinds, k=-(-size // PAGE)))[:size])
