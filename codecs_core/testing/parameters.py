"""Parameters: the codec is a value, and refuses what does not fit."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from codecs_core.codec import Availability, Codec, Parameter
from codecs_core.errors import ParameterError

__all__ = ["ParameterTests"]


class ParameterTests:
    """The codec as a dataclass: bounds, types, spellings, equality, pickling."""

    codec: ClassVar[Codec]

    def test_codec_is_a_value(self) -> None:
        """Comparable, hashable, picklable, printable, and frozen."""
        codec = self.codec
        twins = [
            pickle.loads(pickle.dumps(codec)),
            copy.deepcopy(codec),
            dataclasses.replace(codec),
            type(codec)(**{each.field: getattr(codec, each.field) for each in codec.parameters()}),
        ]
        for twin in twins:
            assert twin == codec
            assert hash(twin) == hash(codec)
            assert repr(twin) == repr(codec)
        for each in codec.parameters():
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(codec, each.field, each.default)

    def test_other_parameters_make_another_codec(self) -> None:
        """Two codecs are equal only where all their parameters are."""
        for each in self.codec.parameters():
            for value in _accepted(each):
                other = dataclasses.replace(self.codec, **{each.field: value})
                assert (other == self.codec) == (value == getattr(self.codec, each.field))

    def test_parameters_are_described(self) -> None:
        """Every parameter has QEMU's kind of name, a fitting default and a help text."""
        codec = self.codec
        for each in codec.parameters():
            assert each.name == f"multifd-{codec.name}-{each.field.replace('_', '-')}"
            assert each.help.strip(), f"{each.name} has no help text"
            each.check(each.default)

    def test_parameters_at_their_bounds(self) -> None:
        """Bounds are inclusive, and every choice is one."""
        for each in self.codec.parameters():
            for value in _accepted(each):
                codec = dataclasses.replace(self.codec, **{each.field: value})
                assert getattr(codec, each.field) == value

    def test_parameters_past_their_bounds(self) -> None:
        """What does not fit is refused by QEMU's name, with the value."""
        for each in self.codec.parameters():
            for value in _refused(each):
                with pytest.raises(ParameterError) as caught:
                    dataclasses.replace(self.codec, **{each.field: value})
                assert each.name in str(caught.value)
                assert repr(value) in str(caught.value)
                assert caught.value.parameter == each.name
                assert caught.value.value is value

    def test_parameters_by_every_spelling(self) -> None:
        """``level``, ``multifd_zstd_level`` and ``multifd-zstd-level`` are the same."""
        make = type(self.codec).from_parameters
        for each in self.codec.parameters():
            value = getattr(self.codec, each.field)
            expected = make({each.field: value})
            for spelling in (each.name, each.name.replace("-", "_")):
                assert make({spelling: value}) == expected

    def test_unknown_parameter(self) -> None:
        """The error names the codec and what it has."""
        with pytest.raises(ParameterError, match="no-such-thing") as caught:
            type(self.codec).from_parameters({"no-such-thing": 1})
        assert self.codec.name in str(caught.value)
        assert all(each.name in str(caught.value) for each in self.codec.parameters())

    def test_wire_parameters(self) -> None:
        """The handshake carries all parameters that are not local, as plain values."""
        sent = self.codec.wire_parameters()
        assert set(sent) == {each.field for each in self.codec.parameters() if not each.local}
        assert all(type(value) in (int, bool, str) for value in sent.values())
        assert type(self.codec).from_parameters(sent).wire_parameters() == sent

    def test_availability(self) -> None:
        """Available here, as the rest of the battery needs it."""
        availability = type(self.codec).availability()
        assert isinstance(availability, Availability), (
            f"availability() returned {availability!r}, not an Availability"
        )
        if not availability.available:
            assert availability.reason and availability.remedy, (
                f"{availability!r} gives its users no reason and no remedy"
            )
            pytest.fail(f"unavailable: {availability.reason}; {availability.remedy}")


def _accepted(parameter: Parameter) -> list[Any]:
    """Values at the edges of what fits."""
    if parameter.choices is not None:
        return list(parameter.choices)
    if parameter.kind is bool:
        return [False, True]
    bounds = (parameter.minimum, parameter.maximum)
    return [parameter.default, *(bound for bound in bounds if bound is not None)]


def _refused(parameter: Parameter) -> list[Any]:
    """Values that do not fit: past the edges, and of other types."""
    wrong: list[Any] = [None, 1.5, b"1", [parameter.default], object()]
    if parameter.kind is not bool:
        wrong.append(True)
    if parameter.kind is not int:
        wrong.append(1)
    if parameter.kind is not str:
        wrong.append(str(parameter.default))
    if parameter.choices is not None:
        wrong.append("no-such-choice")
    if parameter.minimum is not None:
        wrong.append(parameter.minimum - 1)
    if parameter.maximum is not None:
        wrong.append(parameter.maximum + 1)
    return wrong
