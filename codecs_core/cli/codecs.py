"""``multifd codecs``: every codec, what it takes, and why one cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from codecs_core.cli.output import json_option, print_json, print_table, printable
from codecs_core.registry import CodecInfo, State, default_registry

if TYPE_CHECKING:
    from codecs_core.codec import Parameter

__all__ = ["command"]

_STATES = {State.LOADED: "available", State.UNAVAILABLE: "unavailable", State.BROKEN: "broken"}
_COLOURS = {"available": "green", "unavailable": "yellow", "broken": "red"}


@click.command("codecs")
@json_option
def command(as_json: bool) -> None:
    """List the codecs, their parameters, and why one cannot be used.

    A codec is available, unavailable (the plugin is sound, but a library or a device that it
    needs is missing on this host) or broken (the plugin has a defect, or another one has
    claimed its name before). METHOD is QEMU's number for the codec on the wire; where QEMU has
    none, both ends agree on the codec by its name. FILES is the ending of the codec's standard
    file format.

    Every parameter is an option of 'multifd send' under the name shown here, with '--' in
    front. A local one concerns its own end alone, and is an option of 'multifd recv' too.
    """
    rows = default_registry().listing()
    if as_json:
        print_json({"codecs": [_as_json(each) for each in rows]})
        return
    print_table(
        ("CODEC", "METHOD", "STATE", "FILES", "BACKEND", "DISTRIBUTION"),
        (
            (
                each.name,
                _method(each),
                _STATES[each.state],
                each.suffix or "",
                each.backend,
                each.provider,
            )
            for each in rows
        ),
        styles=_COLOURS,
    )
    parameters = [parameter for each in rows for parameter in each.parameters]
    if parameters:
        click.echo()
        print_table(
            ("PARAMETER", "VALUES", "DEFAULT", "MEANING"),
            ((each.name, _values(each), _default(each), _meaning(each)) for each in parameters),
        )
    for each in rows:
        if each.state is not State.LOADED:
            click.echo(
                f"\n{each.name} ({each.provider}) is {_STATES[each.state]}: "
                f"{printable(each.reason)}"
            )
            if each.remedy:
                click.echo(f"  remedy: {printable(each.remedy)}")


def _method(info: CodecInfo) -> str:
    if info.codec is None:
        return ""
    return "by name" if info.method is None else str(info.method)


def _values(parameter: Parameter) -> str:
    if parameter.choices is not None:
        return ", ".join(parameter.choices)
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{parameter.minimum} to {parameter.maximum}"
    return parameter.expectation


def _default(parameter: Parameter) -> str:
    return str(parameter.default).lower() if parameter.kind is bool else str(parameter.default)


def _meaning(parameter: Parameter) -> str:
    return f"{parameter.help} (local)" if parameter.local else parameter.help


def _as_json(info: CodecInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "state": _STATES[info.state],
        "method": info.method,
        "suffix": info.suffix,
        "backend": info.backend,
        "distribution": info.distribution,
        "version": info.version,
        "summary": info.summary,
        "reason": info.reason,
        "remedy": info.remedy,
        "parameters": [
            {
                "name": each.name,
                "type": each.kind.__name__,
                "default": each.default,
                "minimum": each.minimum,
                "maximum": each.maximum,
                "choices": each.choices,
                "help": each.help,
                "local": each.local,
            }
            for each in info.parameters
        ],
    }
