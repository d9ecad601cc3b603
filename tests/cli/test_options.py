"""The codecs' parameters as options: derived, lazy, and with the codecs' own errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import pytest

from codecs_core.cli import main
from codecs_core.cli.options import CodecCommand, chosen_codec, local_parameters
from codecs_core.cli.output import json_option
from codecs_core.codec import Codec

if TYPE_CHECKING:
    from tests.cli.conftest import Result
    from tests.conftest import Plugins

    Run = Callable[..., Result]

ALPHA = """
level: int = parameter(1, minimum=-3, maximum=9, help="Effort.")
long: bool = parameter(False, help="Look far back.")
label: str = parameter("", help="Any.")
window_log: int = parameter(0, help="Window.")
backend: str = parameter("auto", choices=("auto", "soft"), local=True, help="Who works.")
threads: int = parameter(1, minimum=1, local=True, help="Helpers.")
"""
BETA = 'level: int = parameter(2, minimum=1, help="Effort.")'
MISSING = """
level: int = parameter(1, minimum=0, maximum=9, help="Effort.")

@classmethod
def availability(cls):
    return Availability(False, reason="no libgamma", remedy="buy one")
"""


@pytest.fixture
def seen() -> dict[str, Any]:
    """What the command's callback saw."""
    return {}


@pytest.fixture
def put(
    multifd: Run,
    plugins: Plugins,
    add_command: Callable[[click.Command], None],
    seen: dict[str, Any],
) -> Run:
    """Run a command that sends, with an argument and an option of its own."""

    @click.command("put", cls=CodecCommand)
    @click.argument("source")
    @click.option("--force", is_flag=True, help="Do it.")
    @json_option
    @click.pass_context
    def command(
        ctx: click.Context, source: str, force: bool, as_json: bool, multifd_channels: int
    ) -> None:
        seen.update(codec=chosen_codec(ctx), channels=multifd_channels, force=force)

    plugins.install("alpha", body=ALPHA)
    plugins.install("beta", body=BETA)
    add_command(command)
    return lambda *arguments: multifd("put", *arguments)


@pytest.fixture
def take(
    multifd: Run,
    plugins: Plugins,
    add_command: Callable[[click.Command], None],
    seen: dict[str, Any],
) -> Run:
    """Run a command that receives: it has the local parameters alone."""

    @click.command("take", cls=CodecCommand, local_only=True)
    @click.pass_context
    def command(ctx: click.Context) -> None:
        seen.update(local=local_parameters(ctx))

    plugins.install("alpha", body=ALPHA)
    plugins.install("beta", body=BETA)
    add_command(command)
    return lambda *arguments: multifd("take", *arguments)


def parameters(codec: Codec) -> dict[str, Any]:
    """The parameters that are not the defaults."""
    return {
        each.field: value
        for each in codec.parameters()
        if (value := getattr(codec, each.field)) != each.default
    }


class TestValues:
    def test_defaults(self, put: Run, seen: dict[str, Any]) -> None:
        assert put("disk.img").status == 0
        assert seen["codec"].name == "none"
        assert (seen["channels"], seen["force"]) == (2, False)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], {}),
            (["--multifd-alpha-level", "9"], {"level": 9}),
            (["--multifd-alpha-level=9"], {"level": 9}),
            (["--multifd-alpha-level", "-3"], {"level": -3}),
            (["--multifd-alpha-level=3", "--multifd-alpha-level=4"], {"level": 4}),
            (["--multifd-alpha-long"], {"long": True}),
            (["--no-multifd-alpha-long"], {}),
            (["--multifd-alpha-label", "é x"], {"label": "é x"}),
            (["--multifd-alpha-label", "7"], {"label": "7"}),
            (["--multifd-alpha-window-log", "-12"], {"window_log": -12}),
            (["--multifd-alpha-backend", "soft"], {"backend": "soft"}),
            (
                ["--multifd-alpha-threads", "4", "--multifd-alpha-level", "2", "--force"],
                {"threads": 4, "level": 2},
            ),
        ],
    )
    def test_of_the_chosen_codec(
        self, put: Run, seen: dict[str, Any], options: list[str], expected: dict[str, Any]
    ) -> None:
        assert put(*options, "disk.img", "--multifd-compression", "alpha").err == ""
        assert seen["codec"].name == "alpha"
        assert parameters(seen["codec"]) == expected

    @pytest.mark.parametrize("channels", [1, 255])
    def test_channels(self, put: Run, seen: dict[str, Any], channels: int) -> None:
        assert put("x", "--multifd-channels", str(channels)).status == 0
        assert seen["channels"] == channels

    def test_local_ones_for_any_codec(self, take: Run, seen: dict[str, Any]) -> None:
        assert take("--multifd-alpha-backend=soft", "--multifd-alpha-threads", "3").status == 0
        assert seen["local"] == {
            "alpha": {"multifd-alpha-backend": "soft", "multifd-alpha-threads": 3}
        }
        assert take().status == 0
        assert seen["local"] == {}


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "kind", "message"),
        [
            (
                ["--multifd-alpha-level", "10"],
                "ParameterError",
                "multifd-alpha-level expects a value between -3 and 9, not 10 (default 1)",
            ),
            (
                ["--multifd-alpha-level", "fast"],
                "ParameterError",
                "multifd-alpha-level expects a value between -3 and 9, not 'fast' (default 1)",
            ),
            (
                ["--multifd-alpha-level", "1.5"],
                "ParameterError",
                "multifd-alpha-level expects a value between -3 and 9, not '1.5' (default 1)",
            ),
            (
                ["--multifd-alpha-level", ""],
                "ParameterError",
                "multifd-alpha-level expects a value between -3 and 9, not '' (default 1)",
            ),
            (
                ["--multifd-alpha-backend", "hard"],
                "ParameterError",
                "multifd-alpha-backend expects one of auto, soft, not 'hard' (default 'auto')",
            ),
            (
                ["--multifd-alpha-level", "3"],
                "UsageError",
                "--multifd-alpha-level is a parameter of codec 'alpha', but "
                "--multifd-compression is 'none'; remedy: --multifd-compression alpha",
            ),
            (
                ["--multifd-alpha-level", "3", "--multifd-compression", "beta"],
                "UsageError",
                "--multifd-alpha-level is a parameter of codec 'alpha', but "
                "--multifd-compression is 'beta'; remedy: --multifd-compression alpha",
            ),
            (
                ["--no-multifd-alpha-long"],
                "UsageError",
                "--multifd-alpha-long is a parameter of codec 'alpha', but "
                "--multifd-compression is 'none'; remedy: --multifd-compression alpha",
            ),
            (
                ["--multifd-compression", "delta"],
                "UnknownCodec",
                "no codec is called 'delta'; installed: none, alpha, beta",
            ),
            (
                ["--multifd-delta-level", "3"],
                "UnknownCodec",
                "no codec is called 'delta'; installed: none, alpha, beta",
            ),
            (
                ["--multifd-compression", "qatzip"],
                "UnknownCodec",
                "no codec is called 'qatzip'; installed: none, alpha, beta",
            ),
            (
                ["--multifd-qatzip-level=3"],
                "UnknownCodec",
                "no codec is called 'qatzip'; installed: none, alpha, beta",
            ),
            (["--multifd-alpha-depth=3"], "UsageError", "No such option"),
            (["--multifd-chanels=3"], "UsageError", "--multifd-channels"),
            (["--other-level=3"], "UsageError", "No such option"),
            (["--multifd-channels", "0"], "UsageError", "1<=x<=255"),
            (["--multifd-channels", "256"], "UsageError", "1<=x<=255"),
            (["--multifd-alpha-level"], "UsageError", "requires an argument"),
        ],
    )
    def test_name_the_option_and_the_remedy(
        self, put: Run, options: list[str], kind: str, message: str
    ) -> None:
        result = put("--json", "disk.img", *options)
        assert result.status == 2
        assert result.err.startswith("multifd: error: ")
        assert message in result.err
        assert result.json["error"]["kind"] == kind

    def test_a_misspelt_option_gets_a_suggestion(self, put: Run) -> None:
        result = put("disk.img", "--multifd-alpha-lvel", "3")
        assert "'--multifd-alpha-level'" in result.err

    @pytest.mark.parametrize(
        "option",
        [
            "--multifd-alpha-level=3",
            "--no-multifd-alpha-long",
            "--multifd-channels=3",
            "--multifd-compression=alpha",
        ],
    )
    def test_the_senders_options_are_not_the_receivers(self, take: Run, option: str) -> None:
        result = take(option)
        assert result.status == 2
        name = option.replace("--no-", "--").partition("=")[0]
        assert f"{name} is the sender's to choose; give it to 'multifd send'" in result.err

    def test_an_unavailable_codec(self, put: Run, plugins: Plugins) -> None:
        plugins.install("gamma", body=MISSING)
        for options in ([], ["--multifd-gamma-level", "3"]):
            result = put("x", "--multifd-compression", "gamma", *options)
            assert result.status == 1
            assert result.err == (
                "multifd: error: codec 'gamma' is not available here: no libgamma; buy one\n"
            )

    @pytest.mark.parametrize("option", ["--multifd-compression=gamma", "--multifd-gamma-level=3"])
    def test_a_broken_codec(self, put: Run, plugins: Plugins, option: str) -> None:
        plugins.install("gamma", source="raise SystemExit('gone')")
        result = put("x", option)
        assert result.status == 1
        assert (
            "codec 'gamma' (fake-gamma 1.0) is broken: SystemExit: gone (fake_gamma, line 1); "
            in result.err
        )


class TestLaziness:
    @pytest.mark.parametrize(
        ("options", "imported"),
        [
            ([], set()),
            (["--multifd-compression", "beta"], {"fake_beta"}),
            (["--multifd-compression", "alpha", "--multifd-alpha-level", "2"], {"fake_alpha"}),
            (["--multifd-compression=alpha", "--no-multifd-alpha-long"], {"fake_alpha"}),
            (["--help"], {"fake_alpha", "fake_beta"}),
        ],
    )
    def test_only_what_is_named_is_imported(
        self, put: Run, options: list[str], imported: set[str]
    ) -> None:
        assert put("disk.img", *options).status == 0
        assert {"fake_alpha", "fake_beta"} & sys.modules.keys() == imported


class TestHelp:
    def test_shows_the_options_of_every_codec(self, put: Run) -> None:
        out = put("--help").out
        sections = out.split("\n\n")
        (options,) = [each for each in sections if each.startswith("Options:")]
        (alpha,) = [each for each in sections if each.startswith("Options of codec alpha:")]
        (beta,) = [each for each in sections if each.startswith("Options of codec beta:")]
        for name in ("--multifd-compression CODEC", "--multifd-channels", "--force", "--help"):
            assert name in options
        assert "none, alpha, beta" in options
        for text in (
            "--multifd-alpha-level -3..9",
            "--multifd-alpha-long / --no-multifd-alpha-long",
            "--multifd-alpha-label TEXT",
            "--multifd-alpha-window-log INTEGER",
            "--multifd-alpha-backend auto|soft",
            "Who works.",
            "[default: auto]",
            "[default: false]",
        ):
            assert text in alpha
        assert "--multifd-beta-level INTEGER" in beta

    def test_survives_plugins_that_do_not_work(self, put: Run, plugins: Plugins) -> None:
        plugins.install("gamma", body=MISSING)
        plugins.install("delta", source="raise SystemExit('gone')")
        result = put("--help")
        assert result.status == 0
        assert "Options of codec gamma (unavailable: no libgamma):\n  --multifd-gamma" in result.out
        assert "none, alpha, beta, delta, gamma" in " ".join(result.out.split())
        assert "codec alpha:" in result.out

    def test_of_a_receiver_shows_local_options_alone(self, take: Run) -> None:
        out = take("--help").out
        assert "--multifd-alpha-backend" in out
        assert "--multifd-alpha-threads" in out
        for option in ("--multifd-alpha-level", "compression", "channels", "codec beta"):
            assert option not in out


class TestCompletion:
    @pytest.mark.parametrize(
        ("typed", "offered"),
        [
            (
                ["--multifd-a"],
                {
                    f"--multifd-alpha-{x}"
                    for x in ("backend", "label", "level", "long", "threads", "window-log")
                },
            ),
            (["--multifd-c"], {"--multifd-channels", "--multifd-compression"}),
            (["--multifd-compression", ""], {"none", "alpha", "beta"}),
            (["--multifd-compression", "b"], {"beta"}),
            (["--multifd-alpha-backend", ""], {"auto", "soft"}),
            (["--multifd-alpha-level", "99", "--multifd-b"], {"--multifd-beta-level"}),
        ],
    )
    def test_offers_options_codecs_and_choices(
        self,
        put: Run,
        plugins: Plugins,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        typed: list[str],
        offered: set[str],
    ) -> None:
        plugins.install("gamma", source="1 / 0")
        monkeypatch.setitem(os.environ, "_MULTIFD_COMPLETE", "bash_complete")
        monkeypatch.setitem(os.environ, "COMP_WORDS", " ".join(["multifd", "put", *typed]))
        monkeypatch.setitem(os.environ, "COMP_CWORD", str(1 + len(typed)))
        main([])
        lines = capsys.readouterr().out.split()
        assert {line.removeprefix("plain,") for line in lines} - {"gamma"} == offered
