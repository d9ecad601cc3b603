"""``multifd advise``: rules shown, codecs measured, mistakes named."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from codecs_core import CodecError, Receiver, StreamSink, codecs
from codecs_core.cli import forecast
from codecs_core.hardware import inventory
from codecs_core.registry import State

# The package has a function of that name.
survey = import_module("codecs_core.forecast.survey")

if TYPE_CHECKING:
    from tests.cli.conftest import Result
    from tests.conftest import Plugins

    Multifd = Callable[..., Result]

HOSTS = Path(__file__).parents[1] / "hosts"
NAMES = sorted(each.name for each in HOSTS.iterdir() if each.is_dir())
LOADED = {name for name, info in codecs().items() if info.state is State.LOADED}


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """An object with these fields and no others."""


class Rule(Strict):
    number: int
    statement: str
    source: str
    applies: bool | None
    evidence: list[str]
    against: list[str]
    choice: str | None


class Obstacle(Strict):
    evidence: str
    remedy: list[str]


class Accelerator(Strict):
    codec: str
    device: str
    kind: str
    usable: bool
    obstacles: list[Obstacle]


class Commands(Strict):
    multifd: list[str]
    hmp: list[str]
    qmp: list[str]
    why: str


class Sampled(Strict):
    source: str
    bytes: int
    zero: float


class Engine(Strict):
    wire_cpu: float
    zero_cpu: float


class Plan(Strict):
    memory: int
    channels: int
    cpus: int
    peer_cpus: int | None
    dirty_rate: float
    downtime_limit: float
    zero: float
    engine: Engine


class Codec(Strict):
    codec: str
    encode: float
    decode: float
    encode_cpu: float
    decode_cpu: float
    ratio: float
    hardware: float | None
    break_even: float


class Prediction(Strict):
    codec: str
    bandwidth: float
    rate: float
    limit: str
    rounds: int | None
    seconds: float | None
    downtime: float | None
    pages: float | None
    wire: float | None
    sender_cpu: float | None
    receiver_cpu: float | None
    converges: bool
    cpu: float | None


class Forecast(Strict):
    sample: Sampled
    plan: Plan
    codecs: list[Codec]
    failed: dict[str, str]
    predictions: list[Prediction]


class Advice(Strict):
    codec: str
    accelerated: bool
    reason: int
    settings: dict[str, str | int]
    better: str | None
    rules: list[Rule]
    accelerators: list[Accelerator]
    bandwidth: float | None
    commands: Commands
    forecast: Forecast | None


@pytest.fixture
def advised(multifd: Multifd) -> Callable[..., Advice]:
    """Run ``multifd advise --json``, and hold the answer against its schema."""

    def run(*arguments: str) -> Advice:
        result = multifd("advise", *arguments, "--json")
        assert (result.status, result.err) == (0, "")
        return msgspec.convert(result.json, Advice)

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure each codec for a moment only."""
    monkeypatch.setattr(forecast, "SECONDS", 0.02)


@pytest.fixture
def memory(tmp_path: Path) -> str:
    """A memory dump: text, and as many zero pages."""
    chance = random.Random(1)
    words = [chance.randbytes(4).hex() for _ in range(100)]
    text = " ".join(chance.choices(words, k=120_000)).encode()[: 1 << 20]
    path = tmp_path / "ram.img"
    path.write_bytes(text + bytes(len(text)))
    return str(path)


class TestRules:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_host(self, multifd: Multifd, advised: Callable[..., Advice], name: str) -> None:
        options = ("--root", str(HOSTS / name), "--bandwidth", "10Gbit/s")
        advice = advised(*options)
        out = multifd("advise", *options).out
        assert re.match(rf"recommended: {advice.codec}(, by a device)?\n", out)
        assert f"by rule {advice.reason}: " in out
        for rule in advice.rules:
            assert f"\nrule {rule.number}: {rule.statement}\n" in out
            for fact in rule.evidence:
                assert f"\n  + {fact}\n" in out
            for fact in rule.against:
                assert f"\n  - {fact}\n" in out
        commands = advice.commands
        for line in (*commands.multifd, *commands.qmp, *(f"(qemu) {e}" for e in commands.hmp)):
            assert f"\n  {line}\n" in out
        if advice.better:
            assert f"{advice.better} would be better" in out
            for device in advice.accelerators:
                if device.codec == advice.better:
                    assert all(each.evidence in out for each in device.obstacles)

    def test_the_commands_are_those_of_qemu(self, advised: Callable[..., Advice]) -> None:
        advice = advised("--root", str(HOSTS / "both-more-qat"), "--bandwidth", "10Gbit/s")
        assert (advice.codec, advice.accelerated, advice.reason) == ("qatzip", True, 1)
        assert advice.commands.hmp == [
            "migrate_set_capability multifd on",
            "migrate_set_parameter multifd-compression qatzip",
            "migrate_set_parameter multifd-channels 8",
            "migrate_set_parameter multifd-qatzip-level 1",
        ]
        capability, parameters = map(msgspec.json.decode, advice.commands.qmp)
        assert capability["arguments"]["capabilities"][0]["capability"] == "multifd"
        assert parameters == {
            "execute": "migrate-set-parameters",
            "arguments": {
                "multifd-compression": "qatzip",
                "multifd-channels": 8,
                "multifd-qatzip-level": 1,
            },
        }

    @pytest.mark.parametrize("name", ["both-more-qat", "both-more-iaa", "amd", "no-accelerator"])
    @pytest.mark.parametrize("bandwidth", ["1Gbit/s", "15Gbit/s", "1000Gbit/s"])
    def test_our_own_commands_exist(
        self, multifd: Multifd, advised: Callable[..., Advice], name: str, bandwidth: str
    ) -> None:
        """Each is parsed by the command that it calls; what is left out is a host to reach."""
        advice = advised("--root", str(HOSTS / name), "--bandwidth", bandwidth)
        for line in advice.commands.multifd:
            words = line.replace("HOST:PORT", "127.0.0.1:1").split()
            assert words[0] == "multifd"
            result = multifd(*words[1:], "--help")
            assert result.status == 0
            for option in re.findall(r"--[a-z-]+", line):
                # Of a codec that is not installed here there are no options.
                assert option in result.out or advice.codec not in LOADED

    def test_channels_that_are_settled(self, advised: Callable[..., Advice]) -> None:
        advice = advised("--root", str(HOSTS / "amd"), "--multifd-channels", "7")
        assert advice.settings["multifd-channels"] == 7

    def test_this_host(self, advised: Callable[..., Advice]) -> None:
        advice = advised()
        assert advice.codec in LOADED
        assert advice.bandwidth is None

    def test_a_plugin_that_is_missing_is_named(
        self, multifd: Multifd, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugins.install("zstd")
        host = inventory(HOSTS / "qat-vfio")
        monkeypatch.setattr("codecs_core.cli.advise.inventory", lambda root: host)
        result = multifd("advise")
        assert result.out.startswith("recommended: zstd\n  by rule 5: ")
        assert "\nqatzip would be better. What stands in its way:\n\nno codec is" in result.out
        assert result.out.endswith("restricts what may load)\n")

    def test_a_sample_tells_how_pages_shrink(
        self, advised: Callable[..., Advice], memory: str, tmp_path: Path
    ) -> None:
        advice = advised("--sample", memory)
        (sixth,) = (rule for rule in advice.rules if rule.number == 6)
        assert sixth.applies is False
        assert memory in sixth.against[0]
        noise = tmp_path / "noise"
        noise.write_bytes(random.Random(1).randbytes(1 << 20))
        advice = advised("--sample", str(noise))
        assert (advice.codec, advice.reason) == ("none", 6)


@pytest.mark.usefixtures("quick")
class TestMeasure:
    def test_every_codec_is_measured_and_ranked(
        self, advised: Callable[..., Advice], memory: str
    ) -> None:
        advice = advised(
            "--measure", "--sample", memory, "--bandwidth", "1Mbit/s", "--memory", "4G",
            "--multifd-channels", "3", "--peer-cpus", "64",
        )  # fmt: skip
        found = advice.forecast
        assert found
        assert found.failed == {}
        assert {each.codec for each in found.codecs} == LOADED
        assert found.sample == Sampled(memory, 1 << 20, 0.5)
        assert (found.plan.memory, found.plan.channels, found.plan.peer_cpus) == (4 << 30, 3, 64)
        ranking = found.predictions
        assert advice.codec == ranking[0].codec
        assert ranking[-1].codec == "none"
        assert ranking[-1].limit == "link"
        assert advice.settings["multifd-channels"] == 3
        assert advice.rules[-1].number == 8
        times = [each.seconds for each in ranking if each.seconds]
        assert times[0] == pytest.approx(min(times), rel=0.031)
        assert ranking[-1].seconds == pytest.approx((2 << 30) / 125e3, rel=0.02)

    def test_tables(self, multifd: Multifd, memory: str) -> None:
        options = ("advise", "--measure", "--sample", memory, "--one-host")
        out = multifd(*options, "--bandwidth", "100Mbit/s", "--dirty-rate", "1MB/s").out
        assert (
            f"measured with 1.0 MiB of {memory}; 50% of its pages were zero, and are left out\n"
            in out
        )
        assert re.search(
            r"^predicted: 16\.0 GiB, dirtied at 976\.6 KiB/s, \d+ channels, "
            r"both ends on \d+ CPUs$",
            out,
            re.MULTILINE,
        )
        assert "over a link of 100 Mbit/s\n" in out
        assert re.search(r"^none +1\.00 +- +- +- +-$", out, re.MULTILINE)
        for name in LOADED - {"none"}:
            assert re.search(rf"^{name} +\d+\.\d\d +.*/s a channel", out, re.MULTILINE)
        without = multifd(*options).out
        assert re.search(
            r"^CODEC +1 Gbit/s +10 Gbit/s +25 Gbit/s +100 Gbit/s$", without, re.MULTILINE
        )

    def test_what_never_ends_is_said(self, multifd: Multifd, memory: str) -> None:
        out = multifd(
            "advise", "--measure", "--sample", memory, "--bandwidth", "1Mbit/s",
            "--dirty-rate", "10GB/s",
        ).out  # fmt: skip
        assert re.search(r"^none +never ", out, re.MULTILINE)
        assert re.search(
            r"^none does not converge: pages move at .*/s, and are dirtied faster$",
            out,
            re.MULTILINE,
        )

    def test_without_a_sample_this_hosts_programs_serve(
        self, advised: Callable[..., Advice]
    ) -> None:
        found = advised("--measure").forecast
        assert found
        assert found.sample.source == "programs and shared objects of this host"
        assert found.predictions == []

    def test_the_link_is_measured(self, advised: Callable[..., Advice], memory: str) -> None:
        with open("/dev/null", "wb", buffering=0) as sink:

            def open_block(name: str, size: int | None, page_size: int) -> StreamSink:
                return StreamSink(name, sink.fileno(), size, page_size)

            with Receiver("tcp:127.0.0.1:0", open_block=open_block) as receiver:
                thread = threading.Thread(target=receiver.receive)
                thread.start()
                advice = advised("--measure", "--sample", memory, "--to", receiver.address)
                thread.join()
        assert advice.bandwidth
        assert advice.forecast
        assert advice.forecast.predictions[0].bandwidth == advice.bandwidth

    def test_a_codec_that_fails_is_left_out(
        self,
        multifd: Multifd,
        advised: Callable[..., Advice],
        memory: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real = survey.measure

        def failing(codec: Any, *rest: Any, **more: Any) -> Any:
            if codec.name == "zlib":
                raise CodecError("the library\nis gone")
            return real(codec, *rest, **more)

        monkeypatch.setattr(survey, "measure", failing)
        options = ("--measure", "--sample", memory, "--bandwidth", "1Gbit/s")
        found = advised(*options).forecast
        assert found
        assert found.failed == {"zlib": "the library\nis gone"}
        assert {each.codec for each in found.codecs} == LOADED - {"zlib"}
        assert "zlib was not measured: the library is gone\n" in multifd("advise", *options).out

    @pytest.mark.parametrize("ending", ["svg", "png"])
    def test_a_plot(self, multifd: Multifd, memory: str, tmp_path: Path, ending: str) -> None:
        path = tmp_path / f"times.{ending}"
        result = multifd(
            "advise", "--measure", "--sample", memory, "--bandwidth", "1Gbit/s",
            "--plot", str(path),
        )  # fmt: skip
        assert result.status == 0
        assert result.out.endswith(f"\ndrawn: {path}\n")
        data = path.read_bytes()
        if ending == "svg":
            assert all(f">{name}<".encode() in data for name in (*LOADED, "bandwidth, Gbit/s"))
        else:
            assert data.startswith(b"\x89PNG")


MISTAKES = [
    (["--bandwidth", "fast"], "'fast' is no rate; write"),
    (["--bandwidth", "0"], "'0' is no rate; give one above 0"),
    (["--root", "/nowhere"], "/nowhere does not exist"),
    (["--sample", "/nowhere"], "/nowhere: No such file or directory"),
    (["--sample", "/"], "/: Is a directory"),
    (["--sample", "/dev/null"], "/dev/null is neither a file nor a block device"),
    (["--measure", "--sample", "{empty}"], "holds 0 bytes, too few for a sample"),
    (["--sample", "{small}"], "holds 4096 bytes, too few for a sample"),
    (["--sample", "{zeros}"], "nothing but zero pages"),
    (["--measure", "--bandwidth", "1Gbit/s", "--to", "tcp:h:1"], "give one of them"),
    (["--to", "tcp:h:1"], "--to is about what --measure predicts; add --measure"),
    (["--memory", "1G"], "--memory is about what --measure predicts"),
    (["--dirty-rate", "1MB/s"], "--dirty-rate is about what --measure predicts"),
    (["--downtime-limit", "1"], "--downtime-limit is about what --measure predicts"),
    (["--peer-cpus", "1"], "--peer-cpus is about what --measure predicts"),
    (["--one-host"], "--one-host is about what --measure predicts"),
    (["--plot", "x.svg"], "--plot is about what --measure predicts"),
    (["--measure", "--root", "{hosts}"], "--measure measures this host; leave out --root"),
    (["--measure", "--one-host", "--peer-cpus", "2"], "there is no other host"),
    (["--measure", "--memory", "much"], "'much' is no size; write 64G, 64GiB, 500MB"),
    (["--measure", "--memory", "0"], "'0' is no size; give one above 0"),
    (["--measure", "--multifd-channels", "0"], "0 is not in the range"),
    (["--measure", "--multifd-channels", "256"], "256 is not in the range"),
    (["--measure", "--plot", "x.pdf"], "--plot x.pdf: pictures are drawn as .png or .svg"),
    (["--measure", "--plot", "/nowhere/x.svg"], "/nowhere"),
    (["--measure", "--to", "http://h"], "http"),
    (["--measure", "--to", "tcp:127.0.0.1:1"], "connecting to tcp:127.0.0.1:1"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(multifd: Multifd, tmp_path: Path, arguments: list[str], message: str) -> None:
    files = {"empty": b"", "small": b"x" * 4096, "zeros": bytes(1 << 20)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    places = {name: tmp_path / name for name in files} | {"hosts": HOSTS / "amd"}
    result = multifd("advise", *(each.format(**places) for each in arguments))
    assert result.status in (1, 2)
    assert result.out == ""
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_root_that_cannot_be_read(multifd: Multifd, tmp_path: Path) -> None:
    path = tmp_path / "host.tar"
    path.write_text("no archive")
    result = multifd("advise", "--root", str(path))
    assert (result.status, result.out) == (2, "")
    assert "neither a directory nor a capture" in result.err


def test_a_plot_without_matplotlib(multifd: Multifd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = multifd("advise", "--measure", "--plot", "x.svg")
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        "multifd: error: drawing needs matplotlib, which is not installed; "
        "remedy: pip install 'codecs-core[plot]'\n"
    )


def test_advice_alone_imports_neither_matplotlib_nor_the_engine(multifd: Multifd) -> None:
    code = f"""if True:
        import sys
        from codecs_core.cli import main
        assert main(["advise", "--root", {str(HOSTS / "amd")!r}]) == 0
        print(*sys.modules, file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stderr.split())
    assert "matplotlib" not in modules
    assert not [name for name in modules if name.startswith("codecs_core.engine")]
