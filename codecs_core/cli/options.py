"""The codecs' parameters as command-line options, derived from the codecs themselves.

A command that moves packets is a `CodecCommand`::

    @click.command("send", cls=CodecCommand)
    @click.pass_context
    def command(ctx: click.Context, multifd_channels: int) -> None:
        codec = chosen_codec(ctx)

Rules of this module:

* There is no second list of parameters: every option comes from a codec's dataclass, and a value
  that does not fit gets the codec's own `ParameterError`.
* Only a codec whose options are on the command line is imported to parse it; all of them are for
  help and for completion. What is wrong with one plugin never hides the others' options.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from codecs_core.cli.output import Command, printable
from codecs_core.cli.rates import Count, Seconds
from codecs_core.codec import Parameter
from codecs_core.errors import UsageError
from codecs_core.none import NoneCodec
from codecs_core.registry import AUTO, State, default_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from codecs_core.codec import Codec
    from codecs_core.engine.methods import Choice

__all__ = [
    "CodecCommand",
    "checksum_option",
    "choice_of",
    "chosen_codec",
    "chosen_name",
    "local_parameters",
    "retry_option",
    "timeout_option",
]

_PREFIX = "multifd-"
_NAME = f"{__name__}.name"
_GIVEN = f"{__name__}.given"
_OPTIONS = f"{__name__}.options"


class CodecCommand(click.Command):
    """A command with ``--multifd-compression``, ``--multifd-channels`` and the codecs' options.

    The callback receives ``multifd_channels: int``; the codec is had by `chosen_codec`. With
    ``local_only=True`` the options are those of the codecs' local parameters alone, which
    `local_parameters` returns: the other end chooses the rest. With ``channels=False`` their number
    is not for this command to choose; ``default`` is the codec where none is named, or
    ``otherwise`` tells users how it is chosen then. With ``adaptive=True`` the codec may be
    ``auto``, and is had by `choice_of`.
    """

    def __init__(
        self,
        *args: Any,
        local_only: bool = False,
        channels: bool = True,
        default: str | None = NoneCodec.name,
        otherwise: str = "",
        adaptive: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.local_only = local_only
        self.channels = channels
        self.default = default
        self.otherwise = otherwise
        self.adaptive = adaptive

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, and those of the codecs."""
        codecs = ctx.meta.get(_OPTIONS)
        if codecs is None:
            codecs = [each for name in default_registry() for each in self._codec_options(name)]
        return [*self._link_options(), *super().get_params(ctx), *codecs]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line with the options of the codecs that it names."""
        ctx.meta[_GIVEN] = {}
        if not ctx.resilient_parsing:
            ctx.meta[_OPTIONS] = [
                each
                for name in default_registry()
                if any(word.startswith(_beginnings(name)) for word in args)
                for each in self._codec_options(name)
            ]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            self._explain(error.option_name.lstrip("-").removeprefix("no-"))
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's options, then each codec's under a heading."""
        _write(
            ctx, formatter, "Options", [*self._link_options(), *click.Command.get_params(self, ctx)]
        )
        for name, info in default_registry().items():
            state = "" if info.state is State.LOADED else f" ({info.state}: {info.reason})"
            heading = printable(f"Options of codec {name}{state}")
            _write(ctx, formatter, heading, self._codec_options(name))

    def _link_options(self) -> list[click.Parameter]:
        if self.local_only:
            return []
        names = [*default_registry(), *([AUTO] if self.adaptive else [])]
        chosen = f" {AUTO}: each channel chooses for every packet." if self.adaptive else ""
        options: list[click.Parameter] = [
            click.Option(
                ["--multifd-compression"],
                metavar="CODEC",
                default=self.default,
                show_default=self.otherwise or self.default is not None,
                expose_value=False,
                callback=_remember_name,
                shell_complete=lambda ctx, parameter, incomplete: _matching(names, incomplete),
                help=f"The codec: {', '.join(names)}.{chosen} See 'multifd codecs'.",
            ),
            click.Option(
                ["--multifd-channels"],
                type=Count(1, 255),
                metavar="N",
                default=2,
                show_default=True,
                help="How many connections carry the pages, with a thread for each.",
            ),
        ]
        return options if self.channels else options[:1]

    def _codec_options(self, name: str) -> list[click.Parameter]:
        return [
            _CodecOption(name, each)
            for each in default_registry()[name].parameters
            if each.local or not self.local_only
        ]

    def _explain(self, option: str) -> None:
        """Raise what is the matter with an option that looks like a codec's, if anything is."""
        rest = option.removeprefix(_PREFIX)
        if rest == option:
            return
        if self.local_only and rest in ("compression", "channels"):
            raise UsageError(f"--{option} is the sender's to choose; give it to 'multifd send'")
        if "-" not in rest:
            return
        registry = default_registry()
        installed = (name for name in registry if rest.startswith(f"{name}-"))
        codec = registry.codec_class(max(installed, key=len, default=rest.partition("-")[0]))
        if self.local_only and option in {each.name for each in codec.parameters()}:
            raise UsageError(f"--{option} is the sender's to choose; give it to 'multifd send'")


class _CodecOption(click.Option):
    """One parameter of one codec. Its value is remembered under the codec's name."""

    def __init__(self, codec: str, parameter: Parameter) -> None:
        is_flag = parameter.kind is bool
        spelling = f"--{parameter.name}" + (f"/--no-{parameter.name}" if is_flag else "")
        default = str(parameter.default).lower() if is_flag else str(parameter.default)
        super().__init__(
            [spelling],
            type=bool if is_flag else str,
            metavar=None if is_flag else _metavar(parameter),
            default=None,
            expose_value=False,
            callback=self._remember,
            shell_complete=self._complete_choice,
            help=f"{parameter.help}  [default: {default}]",
        )
        self.codec = codec
        self.parameter = parameter

    def _remember(self, ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is None:
            return
        if self.parameter.kind is int:
            # What is no number stays a string, for the parameter's own error.
            with contextlib.suppress(ValueError):
                value = int(value)
        self.parameter.check(value)
        ctx.meta[_GIVEN].setdefault(self.codec, {})[self.parameter.name] = value

    def _complete_choice(
        self, ctx: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _matching(self.parameter.choices or (), incomplete)


def timeout_option(command: Command) -> Command:
    """Add ``--timeout`` to a command; its callback receives ``timeout: float``, in seconds."""
    return click.option(
        "--timeout",
        type=Seconds(min=0, min_open=True),
        metavar="SECONDS",
        default=30,
        show_default=True,
        help="How long the peer may be silent; one that lives shows it more often.",
    )(command)


def retry_option(command: Command) -> Command:
    """Add ``--retry-for`` to a command; its callback receives ``retry_for: float``, in seconds."""
    return click.option(
        "--retry-for",
        type=Seconds(min=0, max=86400),
        metavar="SECONDS",
        default=30,
        show_default=True,
        help="How long a lost connection may take to be made again; 0: it is not.",
    )(command)


def checksum_option(command: Command) -> Command:
    """Add ``--checksum/--no-checksum`` to a command; its callback receives ``checksum: bool``."""
    return click.option(
        "--checksum/--no-checksum",
        default=True,
        show_default=True,
        help="Send a checksum of every packet, which the other end compares.",
    )(command)


def chosen_name(ctx: click.Context) -> str | None:
    """The name of the codec that a `CodecCommand` was called with.

    There is none where the command has no default. Then no codec may have parameters either:
    raises `UsageError`.
    """
    name: str | None = ctx.meta[_NAME]
    for codec, parameters in local_parameters(ctx).items():
        if name is None:
            raise UsageError(
                f"--{next(iter(parameters))} needs the codec; remedy: --multifd-compression {codec}"
            )
    return name


def chosen_codec(ctx: click.Context, *, otherwise: Callable[[], str] | None = None) -> Codec:
    """Make the codec that a `CodecCommand` was called with; ``otherwise`` names the default.

    Raises `UnknownCodec`, `CodecUnavailable` or `BrokenPlugin` for the codec, and `UsageError`
    where a parameter was given for another codec.
    """
    name: str = ctx.meta[_NAME] or (otherwise() if otherwise else NoneCodec.name)
    given = local_parameters(ctx)
    if name == AUTO:
        raise UsageError(
            f"--multifd-compression {AUTO} chooses by what a link takes, and here is none; remedy: "
            "name a codec"
        )
    codec = default_registry().codec_class(name)
    for other, parameters in given.items():
        if other != name:
            raise UsageError(
                f"--{next(iter(parameters))} is a parameter of codec {other!r}, but "
                f"--multifd-compression is {name!r}; remedy: --multifd-compression {other}"
            )
    return codec.from_parameters(given.get(name, {}))


def choice_of(ctx: click.Context) -> Choice:
    """Make the codec, or the choice of codecs, that an adaptive `CodecCommand` was called with.

    Raises as `chosen_codec`, and `UsageError` for a parameter that ``auto`` chooses itself.
    """
    if ctx.meta[_NAME] != AUTO:
        return chosen_codec(ctx)
    from codecs_core.engine.methods import Adaptive

    given = local_parameters(ctx)
    for name, values in given.items():
        codec = default_registry().codec_class(name)
        own = {each.name for each in codec.parameters() if each.local}
        for each in values.keys() - own:
            raise UsageError(
                f"--{each} is for --multifd-compression {AUTO} to choose; remedy: leave it out, "
                f"or --multifd-compression {name}"
            )
    return Adaptive.installed(given)


def local_parameters(ctx: click.Context) -> Mapping[str, Mapping[str, Any]]:
    """The parameters that a `CodecCommand` was given: codec name → parameter name → value.

    For `Codec.from_parameters`, once the other end has told which codec it is.
    """
    given: Mapping[str, Mapping[str, Any]] = ctx.meta[_GIVEN]
    return given


def _beginnings(codec: str) -> tuple[str, str]:
    return f"--{_PREFIX}{codec}-", f"--no-{_PREFIX}{codec}-"


def _metavar(parameter: Parameter) -> str:
    if parameter.choices is not None:
        return "|".join(parameter.choices)
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{parameter.minimum}..{parameter.maximum}"
    return "INTEGER" if parameter.kind is int else "TEXT"


def _write(
    ctx: click.Context,
    formatter: click.HelpFormatter,
    heading: str,
    parameters: Iterable[click.Parameter],
) -> None:
    options = (each for each in parameters if isinstance(each, click.Option))
    records = [record for each in options if (record := each.get_help_record(ctx))]
    if records:
        with formatter.section(heading):
            formatter.write_dl(records)


def _remember_name(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    ctx.meta[_NAME] = name


def _matching(values: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(each) for each in values if each.startswith(incomplete)]
