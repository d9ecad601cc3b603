"""What perf prints becomes a graph of the channels' threads."""

from __future__ import annotations

import pytest

from benchmarks import flame

LOOP = "\t7f01 py::SendingChannel.send_round:/x/channel.py (/tmp/perf-1.map)\n"
EVAL = "\t7f02 _PyEval_EvalFrameDefault (/usr/bin/python3.13)\n"
MAIN = "\t7f03 py::Thread.run:/x/threading.py (/tmp/perf-1.map)\n"


def sample(thread: int, *frames: str) -> str:
    """As perf prints one: the caller last."""
    return f"  5/{thread}\n" + "".join(frames) + "\n"


ENCODE = "\t7f04 py::_Encoder.encode:/x/codec.py (/tmp/perf-1.map)\n"
SEND = "\t7f05 py::Link.send:/x/link.py (/tmp/perf-1.map)\n"
COMPRESS = "\t7f06 ZSTD_compress (/x/_zstd.cpython-313-x86_64-linux-gnu.so)\n"
SENDMSG = "\tffff01 __sys_sendmsg ([kernel.kallsyms])\n"
SYSCALL = "\tffff02 do_syscall_64 ([kernel.kallsyms])\n"


def graph() -> flame.Frame:
    text = (
        sample(7, COMPRESS, ENCODE, EVAL, LOOP, MAIN) * 6
        + sample(7, SENDMSG, SYSCALL, SEND, LOOP, MAIN) * 2
        + sample(7, EVAL, LOOP, MAIN)
        + sample(7, COMPRESS)
        + sample(9, EVAL, MAIN) * 50
    )
    return flame.read(text)


def test_native_frames_are_the_part_that_calls_them() -> None:
    shares = flame.shares(graph())
    expected = {"codec": 0.6, "socket": 0.2, "Python": 0.1, "lost": 0.1, "pages": 0, "checksum": 0}
    assert shares == pytest.approx(expected)


def test_a_thread_that_is_no_channel_does_not_count() -> None:
    assert graph().samples == 10


def test_the_interpreter_and_the_way_into_the_system_are_no_frames() -> None:
    (loop,) = (each for each in graph().callees.values() if each.samples == 9)
    names = {each.name: [callee.name for callee in each.callees.values()]
             for each in loop.callees.values()}  # fmt: skip
    assert names == {"_Encoder.encode": ["ZSTD_compress"], "Link.send": ["__sys_sendmsg"]}


def test_a_call_of_a_socket_is_known_without_its_caller() -> None:
    text = sample(7, EVAL, LOOP) + sample(7, SENDMSG, SYSCALL)
    assert flame.shares(flame.read(text))["socket"] == 0.5


def test_nothing_is_drawn_of_a_place() -> None:
    def names(frame: flame.Frame) -> list[str]:
        return [frame.name, *(name for each in frame.callees.values() for name in names(each))]

    assert not [name for name in names(graph()) if "/" in name]
