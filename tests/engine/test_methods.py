"""What packets may be encoded by: the numbers, the offer, and what the other end says to it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from codecs_core import (
    Codec,
    CodecUnavailable,
    ProtocolError,
    UsageError,
    get_codec,
    parameter,
)
from codecs_core.engine.methods import Adaptive, agreed, answered, choice, label, offered
from codecs_core.wire import control


@dataclass(frozen=True)
class Unknown(Codec):
    """Installed at one end only."""

    name = "unknown-there"
    level: int = parameter(1, minimum=0, maximum=99, help="Effort.")

    def encoder(self, geometry: object = None) -> object:  # type: ignore[override]
        raise NotImplementedError

    def decoder(self, geometry: object = None) -> object:  # type: ignore[override]
        raise NotImplementedError


SEVERAL = Adaptive((get_codec("zstd"), get_codec("zstd", level=9), get_codec("lz4"), Unknown()))


def hello(**changes: object) -> control.Hello:
    values = {"page_size": 4096, "packet_size": 1 << 19, "channels": 1, "blocks": []}
    return control.Hello(**(values | offered(SEVERAL) | changes))  # type: ignore[arg-type]


def test_numbers_are_qemus_and_then_from_31_downwards() -> None:
    assert {number: label(codec) for number, codec in SEVERAL.methods.items()} == {
        0: "none",
        2: "zstd",
        31: "zstd level 9",
        30: "lz4",
        29: "unknown-there",
    }


def test_numbers_of_qemu_are_never_given_to_others() -> None:
    many = Adaptive(tuple(Unknown(level) for level in range(26)))
    assert not {1, 2, 4, 8, 16} & many.methods.keys()
    assert len(many.methods) == 27
    with pytest.raises(UsageError, match="27 candidates are more than the wire has methods"):
        Adaptive(tuple(Unknown(level) for level in range(27)))


def test_all_that_is_installed_can_be_chosen() -> None:
    names = [label(each) for each in Adaptive.installed().methods.values()]
    assert names[0] == "none"
    assert {"lz4", "zstd", "zstd level 3", "zstd level 6", "zlib", "qatzip"} <= set(names)
    given = {"qatzip": {"multifd-qatzip-backend": "software"}}
    (own,) = (each for each in Adaptive.installed(given).candidates if each.name == "qatzip")
    assert own == get_codec("qatzip", backend="software")


def test_what_the_receiver_does_not_have_is_left_out() -> None:
    """Both ends then hold the same map."""
    there = answered(hello())
    assert there == {0: get_codec("none"), **dict(list(SEVERAL.methods.items())[1:4])}
    accept = control.Accept("0" * 32, methods=sorted(there))
    assert agreed(SEVERAL, accept) == there


def test_local_parameters_are_the_receivers_own() -> None:
    offer = control.Method(16, "qatzip", {"level": 3})
    methods = answered(
        hello(methods=[*hello().methods, offer]), {"qatzip": {"multifd-qatzip-backend": "software"}}
    )
    assert methods[16] == get_codec("qatzip", level=3, backend="software")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "without method 0"),
        ([(2, "zstd")], "without method 0"),
        ([(0, "zstd")], "offers codec 'zstd' as method 0"),
        ([(0, "none"), (3, "none")], "offers codec 'none' as method 3"),
        ([(0, "none"), (2, "zstd"), (2, "lz4")], "offers codec 'lz4' as method 2"),
    ],
)
def test_offers_without_sense(methods: list[tuple[int, str]], message: str) -> None:
    offer = [control.Method(number, codec, {}) for number, codec in methods]
    with pytest.raises(ProtocolError, match=message):
        answered(hello(methods=offer))


@pytest.mark.parametrize("parameters", [{"level": 99}, {"level": "3"}, {"window": 20}])
def test_parameters_of_another_version_are_left_out(parameters: dict[str, int | str]) -> None:
    """The sender's plugin may be newer; the other methods are as good as before."""
    offer = [control.Method(0, "none", {}), control.Method(2, "zstd", parameters)]
    offer.append(control.Method(31, "zstd", {"level": 3}))
    assert answered(hello(methods=offer)).keys() == {0, 31}


def test_own_parameters_that_do_not_fit_are_an_error() -> None:
    offer = [control.Method(0, "none", {}), control.Method(16, "qatzip", {})]
    with pytest.raises(UsageError, match="not 'coal'"):
        answered(hello(methods=offer), {"qatzip": {"multifd-qatzip-backend": "coal"}})


def test_what_cannot_decode_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of a device that the receiver insists on, say."""

    def decoder(codec: Codec, geometry: object = None) -> object:
        raise CodecUnavailable("there is no device", name="lz4")

    monkeypatch.setattr(type(get_codec("lz4")), "decoder", decoder)
    assert answered(hello()).keys() == {0, 2, 31}


def test_methods_beside_one_codec_are_refused() -> None:
    with pytest.raises(ProtocolError, match="methods to choose from, and codec 'zstd'"):
        answered(hello(codec="zstd"))


@pytest.mark.parametrize("taken", [[], [2], [0, 5], [0, 2, 2, 28]])
def test_an_answer_that_is_no_part_of_the_offer(taken: list[int]) -> None:
    with pytest.raises(ProtocolError, match="which must be some of them, and 0 among them"):
        agreed(SEVERAL, control.Accept("0" * 32, methods=taken))


def test_an_answer_with_a_choice_where_there_was_none() -> None:
    with pytest.raises(ProtocolError, match="but one codec was offered"):
        agreed(get_codec("zstd"), control.Accept("0" * 32, methods=[0]))


def test_auto_takes_no_parameters() -> None:
    with pytest.raises(UsageError, match="level is for 'auto' to choose"):
        choice("auto", level=3)
