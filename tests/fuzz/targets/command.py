"""What users type, and scripts put together for them: addresses, rates, command lines."""

from __future__ import annotations

import click

from codecs_core.cli import cli, rates
from codecs_core.errors import CodecsCoreError, UsageError
from codecs_core.transport import address
from tests.fuzz.target import target


def typed(data: bytes) -> str:
    """The argument, as Python takes it from the command line, whatever bytes it is."""
    return data.replace(b"\0", b"").decode("utf-8", "surrogateescape")


@target(
    "command.address",
    seeds=lambda: [b"tcp:host:4444", b"tcp:[::1]:0", b"tcp::65535", b"unix:/a", b"fd:3", b"exec:x"],
    refuses=UsageError,
    size=256,
)
def addresses(data: bytes) -> None:
    found = address.parse(typed(data))
    assert address.parse(str(found)) == found


@target(
    "command.rate",
    seeds=lambda: [b"100Mbit/s", b"12.5MB/s", b"1", b"1.5 GiB", b"9kbps"],
    refuses=click.BadParameter,
    tokens=[b"9" * 400, "٣".encode()],
    size=1024,
)
def rate(data: bytes) -> None:
    with click.Context(cli) as context:
        found = rates.rate_of(context, cli.params[0], typed(data))
    assert found is not None and found > 0


def lines() -> list[bytes]:
    return [
        line.replace(b" ", b"\n")
        for line in (
            b"send a.img tcp:host:4444 --multifd-channels 4 --multifd-compression zstd",
            b"send - fd:3 --multifd-zstd-level 3 --timeout 1.5 --json",
            b"recv tcp:0.0.0.0:4444 dir --multifd-qatzip-backend software",
            b"relay egress --listen unix:/run/a --connect tcp:h:2 --multifd-zstd-level 1",
            b"inspect dir --json",
            b"extract dir --block pc.ram --output out --allow-unsent",
        )
    ]


@target(
    "command.line",
    seeds=lines,
    refuses=(CodecsCoreError, click.ClickException),
    tokens=[b"\n--multifd-", b"\n--no-multifd-", b"\n--timeout\nnan", b"\n--", b"-level\n", b"=1"],
    size=512,
)
def line(data: bytes) -> None:
    """A command line is parsed, and not carried out."""
    arguments = typed(data).split("\n")
    if any(word.startswith("-") and ("h" in word[:4] or "ver" in word) for word in arguments):
        return
    command: click.Command | None = cli
    context = click.Context(cli, info_name="multifd")
    while isinstance(command, click.Group) and arguments:
        name, command, arguments = command.resolve_command(context, arguments)
        assert command is not None
        context = click.Context(command, context, name)
    assert command is not None
    if not isinstance(command, click.Group):
        with command.make_context(context.info_name, arguments, context.parent):
            pass
