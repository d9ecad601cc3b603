"""The tree of errors is what its module says, and every error survives a process boundary."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from codecs_core import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]
FIELDS: dict[type, dict[str, Any]] = {
    errors.ParameterError: {"parameter": "multifd-x-level", "value": [1, "two"]},
    errors.UnknownCodec: {"name": "x"},
    errors.PluginError: {"name": "x"},
    errors.CodecUnavailable: {"name": "x"},
    errors.BrokenPlugin: {"name": "x"},
}


def test_every_error_is_exported() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == set(errors.__all__)


def test_the_docstring_draws_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)(\w+)(?: {2}| \(|$)", line):
            depth = len(found[1]) // 4
            above[depth] = found[2]
            drawn[found[2]] = above.get(depth - 1, "Exception")
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=errors.__all__)
def test_errors_are_picklable(kind: type[errors.CodecsCoreError]) -> None:
    fields = FIELDS.get(kind, {})
    error = pickle.loads(pickle.dumps(kind("the message", **fields)))
    assert type(error) is kind
    assert str(error) == "the message"
    assert {name: getattr(error, name) for name in fields} == fields


@pytest.mark.parametrize("kind", CLASSES, ids=errors.__all__)
def test_a_callers_mistakes_are_value_errors(kind: type[errors.CodecsCoreError]) -> None:
    assert issubclass(kind, ValueError) == issubclass(kind, errors.UsageError)
