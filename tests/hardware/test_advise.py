"""The adviser: the rules in their order, and nothing that cannot run."""

from __future__ import annotations

import dataclasses
import errno
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs_core.accelerator import Accelerator, Obstacle
from codecs_core.errors import UsageError
from codecs_core.hardware import Advice, Contender, Speed, advise, inventory
from codecs_core.hardware.inventory import take
from codecs_core.hardware.methods import PUBLISHED
from codecs_core.hardware.tree import Directory, Tree
from tests.hardware.conftest import HOSTS, NAMES, Faulty

GBIT = 1e9 / 8
SOFTWARE = {"zstd", "lz4", "none"}


def applied(advice: Advice) -> list[int]:
    """The numbers of the rules that apply."""
    return [rule.number for rule in advice.rules if rule.applies]


@pytest.mark.parametrize(
    ("name", "gbit", "codec", "rules", "better"),
    [
        # 1: limited bandwidth, and more QAT than IAA.
        ("both-more-qat", 10, "qatzip", [1], None),
        ("both-more-qat", 1, "qatzip", [1], None),
        ("qat-vfio", 10, "qatzip", [1, 2], None),
        # 3: more QAT, but the bandwidth is not limited, or not known; or more IAA.
        ("both-more-qat", 25, "lz4", [3, 7], None),
        ("both-more-qat", None, "qpl", [3], None),
        ("both-more-iaa", 1, "qpl", [3], None),
        ("both-more-iaa", 10, "qpl", [3], None),
        ("iaa-svm", 10, "qpl", [3], None),
        # 2: no shared virtual memory.
        ("qat-vfio", None, "qatzip", [2], None),
        # 5: in software, until the obstacles are cleared.
        ("no-accelerator", 1, "zstd", [2, 5], None),
        ("amd", None, "zstd", [2, 5], None),
        ("qat-physical-only", 10, "zstd", [2, 5], "qatzip"),
        ("qat-without-driver", 1, "zstd", [2, 5], "qatzip"),
        ("qat-without-compression", 1, "zstd", [2, 5], "qatzip"),
        ("qat-in-a-guest", 1, "zstd", [2, 5], "qatzip"),
        ("iaa-without-pasid", 1, "zstd", [2, 5], "qpl"),
        ("iaa-queues-disabled", 1, "zstd", [3, 5], "qpl"),
        ("iaa-for-the-kernel", 1, "zstd", [3, 5], "qpl"),
        # 7: the link is faster than the codec.
        ("amd", 15, "lz4", [2, 5, 7], None),
        ("amd", 100, "none", [2, 5, 7], None),
        ("both-more-iaa", 100, "none", [3, 7], None),
        ("qat-vfio", 100, "none", [2, 7], None),
    ],
)
def test_hosts(
    name: str, gbit: float | None, codec: str, rules: list[int], better: str | None
) -> None:
    bandwidth = None if gbit is None else gbit * GBIT
    advice = advise(inventory(HOSTS / name), bandwidth=bandwidth)
    assert (advice.codec, applied(advice), advice.better) == (codec, rules, better)
    assert advice.accelerated == (codec in {"qatzip", "qpl"})
    assert advice.settings["multifd-compression"] == codec
    deciding = [rule for rule in advice.rules if rule.choice][-1]
    assert (deciding.choice, deciding) == (codec, advice.reason)


def test_every_rule_shows_its_evidence() -> None:
    for name in NAMES:
        for bandwidth in (None, GBIT, 100 * GBIT):
            advice = advise(inventory(HOSTS / name), bandwidth=bandwidth)
            numbers = [rule.number for rule in advice.rules]
            assert numbers[:3] == [1, 2, 3]
            assert numbers == sorted(set(numbers))
            for rule in advice.rules:
                assert rule.evidence or rule.against
                assert rule.source.startswith(("QEMU, docs/", "codecs_core, docs/choosing.md"))
                assert rule.applies is not True or rule.evidence
                assert rule.applies is not False or rule.against
            assert json.loads(json.dumps(advice.as_dict()))["codec"] == advice.codec


def test_without_a_bandwidth_the_rules_about_it_are_open() -> None:
    advice = advise(inventory(HOSTS / "both-more-qat"))
    first, last = advice.rules[0], advice.rules[-1]
    assert first.applies is None and last.applies is None
    assert any("--bandwidth" in each for each in first.against)


def test_a_missing_plugin_is_named() -> None:
    advice = advise(inventory(HOSTS / "qat-vfio"), codecs=["zstd", "none"])
    assert (advice.codec, advice.better) == ("zstd", "qatzip")
    assert "pip install codecs-core-qatzip" in str(advice.rules)


def test_the_other_accelerator_serves_where_the_first_cannot() -> None:
    advice = advise(inventory(HOSTS / "both-more-iaa"), codecs=["qatzip", "zstd", "none"])
    assert (advice.codec, applied(advice)) == ("qatzip", [3, 4])
    assert advice.better == "qpl"


def test_nothing_but_none_is_installed() -> None:
    for name in NAMES:
        assert advise(inventory(HOSTS / name), codecs=[]).codec == "none"


def test_pages_that_do_not_shrink_are_not_compressed() -> None:
    speeds = {name: dataclasses.replace(each, ratio=1.02) for name, each in PUBLISHED.items()}
    advice = advise(inventory(HOSTS / "both-more-qat"), bandwidth=GBIT, speeds=speeds)
    assert (advice.codec, applied(advice)[-1]) == ("none", 6)


def test_measured_speeds_replace_the_published() -> None:
    found = inventory(HOSTS / "amd")
    slow = {"zstd": Speed(1e6, 3.0, "measured")}
    assert advise(found, bandwidth=GBIT, speeds=slow).codec == "lz4"


def test_what_was_measured_overrules_the_other_rules() -> None:
    found = inventory(HOSTS / "amd")
    contenders = [Contender("lz4", 10.0, "lz4: 10 s"), Contender("zstd", 20.0, "zstd: 20 s")]
    advice = advise(found, bandwidth=GBIT, measured=contenders, channels=5)
    assert (advice.codec, advice.reason.number) == ("lz4", 8)
    assert advice.reason.evidence == ("lz4: 10 s", "zstd: 20 s")
    assert advice.settings == {"multifd-compression": "lz4", "multifd-channels": 5}

    confirmed = advise(found, bandwidth=GBIT, measured=contenders[::-1])
    assert (confirmed.codec, confirmed.reason.number) == ("zstd", 5)
    assert confirmed.rules[-1].number == 8
    assert confirmed.rules[-1].applies is False


def test_nothing_stands_in_the_way_of_what_was_measured_to_be_slower() -> None:
    contenders = [Contender("lz4", 10.0, "lz4: 10 s"), Contender("qatzip", 20.0, "qatzip: 20 s")]
    advice = advise(inventory(HOSTS / "qat-vfio"), bandwidth=GBIT, measured=contenders)
    assert (advice.codec, advice.better) == ("lz4", None)


def test_a_ratio_has_a_source_of_its_own() -> None:
    speeds = {"zstd": PUBLISHED["zstd"].on("ram.img", 1.01)}
    advice = advise(inventory(HOSTS / "amd"), speeds=speeds)
    assert (advice.codec, advice.reason.number) == ("none", 6)
    assert advice.reason.evidence == ("zstd makes pages 1.01 times smaller (ram.img)",)


def test_what_a_measurement_found_in_software_is_not_called_accelerated() -> None:
    """The inventory takes the device for usable; the library did not reach it."""
    found = inventory(HOSTS / "qat-vfio")
    contenders = [Contender("qatzip", 10.0, "qatzip: 10 s")]
    assert advise(found, measured=contenders).accelerated
    slow = {"qatzip": Speed(0.4e9, 2.9, "measured")}
    assert not advise(found, measured=contenders, speeds=slow).accelerated


def test_devices_of_other_plugins() -> None:
    """A kind of accelerator that the document does not know serves where nothing else does."""
    found = inventory(HOSTS / "amd")
    good, bad = (
        Accelerator("npu", "npu0", "NPU"),
        Accelerator("npu", "npu1", "NPU", (Obstacle("x"),)),
    )
    assert advise(found, codecs=["npu", "zstd"], more=[good, bad]).codec == "npu"
    advice = advise(found, codecs=["npu", "zstd"], more=[bad])
    assert (advice.codec, advice.better) == ("zstd", "npu")
    assert advise(found, codecs=["zstd"], more=[good]).codec == "zstd"


@pytest.mark.parametrize("bandwidth", [0, -1.0, float("nan"), float("inf")])
def test_bandwidths_that_are_none(bandwidth: float) -> None:
    with pytest.raises(UsageError, match="bandwidth"):
        advise(inventory(HOSTS / "amd"), bandwidth=bandwidth)


def test_channels_feed_the_link() -> None:
    found = dataclasses.replace(
        inventory(HOSTS / "amd"), cpu=dataclasses.replace(inventory(HOSTS / "amd").cpu, count=64)
    )
    counts = [
        advise(found, bandwidth=gbit * GBIT, codecs=["zstd"]).settings["multifd-channels"]
        for gbit in (0.1, 1, 5, 10, 20)
    ]
    assert counts == sorted(counts)
    assert counts[0] == 2
    assert counts[-1] == 16


# ── any host ─────────────────────────────────────────────────────────────────────────────────

OTHERS: dict[str, list[int | bytes | bool]] = {
    "/qat/state": [b"down\n"],
    "/qat/cfg_services": [b"sym;asym\n", b"asym;dc\n", b"dcc\n", b"decomp\n"],
    "/device": [b"0x4940\n", b"0x4941\n", b"0x0cfe\n", b"0x37c8\n", b"0x1234\n"],
    "/sriov_numvfs": [b"0\n"],
    "/pasid_enabled": [b"0\n"],
    "/state": [b"disabled\n"],
    "/mode": [b"dedicated\n"],
    "/type": [b"kernel\n", b"none\n"],
    "/proc/cpuinfo": [b"processor: 0\nflags: enqcmd\n", b"processor: 0\nflags: fpu\n"],
    "/proc/self/limits": [b"Max locked memory  65536  65536  bytes\n"],
}
"""What a file may hold instead, by the end of its path."""
BROKEN: list[int | bytes | bool] = [errno.ENOENT, errno.EACCES, errno.EIO, b"", b"x\n"]


@st.composite
def hosts(draw: st.DrawFn) -> Tree:
    """One of the hosts with some of its files, nodes and links changed, gone or closed."""
    name = draw(st.sampled_from(NAMES))
    faults: dict[str, int | bytes | bool] = {}
    for path in draw(st.lists(st.sampled_from(PLACES[name]), max_size=5, unique=True)):
        values = [each for end, values in OTHERS.items() if path.endswith(end) for each in values]
        if path.startswith("/dev/"):
            values = [False]
        faults[path] = draw(st.sampled_from(values * 2 + BROKEN))
    return Tree(Faulty(Directory(HOSTS / name), faults))


PLACES = {
    name: [
        "/" + str(path.relative_to(HOSTS / name))
        for path in sorted((HOSTS / name).rglob("*"))
        if path.name != "ABOUT"
    ]
    for name in NAMES
}
"""Every file, directory and link of each host."""


def libraries(tree: Tree, *names: str) -> bool:
    return all(tree.exists(f"/usr/lib/x86_64-linux-gnu/{name}") for name in names)


def qat_can_run(tree: Tree) -> bool:
    """Said once more, the other way round: from the node that is opened up to the device."""
    pci, iommu = "/sys/bus/pci/devices", "/sys/class/iommu"
    for function in tree.entries(pci):
        place = f"{pci}/{function}"
        physical = f"{pci}/{tree.name(place + '/physfn')}"
        if (
            tree.word(f"{place}/vendor") == tree.word(f"{physical}/vendor") == "0x8086"
            and tree.word(f"{place}/device") == "0x4941"
            and tree.name(f"{place}/driver") == "vfio-pci"
            and tree.usable(f"/dev/vfio/{tree.name(place + '/iommu_group')}") is True
            and tree.word(f"{physical}/device") == "0x4940"
            and tree.name(f"{physical}/driver") == "4xxx"
            and tree.word(f"{physical}/qat/state") == "up"
            and tree.word(f"{physical}/qat/cfg_services") in ("dc", "asym;dc")
        ):
            limit = tree.text("/proc/self/limits")
            return (
                any(tree.exists(f"{iommu}/{unit}") for unit in tree.entries(iommu))
                and libraries(tree, "libqatzip.so.3", "libqat.so.4")
                and not (isinstance(limit, str) and "65536" in limit)
            )
    return False


def iaa_can_run(tree: Tree) -> bool:
    bus = "/sys/bus/dsa/devices"
    for device in tree.entries(bus):
        place = f"{bus}/{device}"
        address = str(tree.target(place)).rpartition("/")[0].rpartition("/")[2]
        function = f"/sys/bus/pci/devices/{address}"
        if (
            tree.word(f"{function}/vendor") == "0x8086"
            and tree.word(f"{function}/device") == "0x0cfe"
            and tree.word(f"{place}/state") == "enabled"
            and tree.word(f"{place}/pasid_enabled") == "1"
            and any(
                [tree.word(f"{place}/{queue}/{name}") for name in ("state", "mode", "type")]
                == ["enabled", "shared", "user"]
                and tree.usable(f"/dev/iax/{queue}") is True
                for queue in tree.entries(place)
                if queue.startswith("wq")
            )
        ):
            return "enqcmd" in str(tree.text("/proc/cpuinfo")) and libraries(
                tree, "libqpl.so.1", "libaccel-config.so.1"
            )
    return False


@settings(max_examples=400)
@given(
    hosts(),
    st.one_of(st.none(), st.floats(1e3, 1e12)),
    st.one_of(st.none(), st.sets(st.sampled_from(["qatzip", "qpl", "zstd", "lz4", "none"]))),
    st.one_of(
        st.none(),
        st.dictionaries(
            st.sampled_from(sorted(PUBLISHED)),
            st.builds(Speed, st.floats(1e3, 1e12), st.floats(0.5, 100), st.just("measured")),
        ),
    ),
)
def test_never_recommends_what_cannot_run(
    tree: Tree,
    bandwidth: float | None,
    codecs: set[str] | None,
    speeds: dict[str, Speed] | None,
) -> None:
    advice = advise(take(tree), bandwidth=bandwidth, codecs=codecs, speeds=speeds)
    assert codecs is None or advice.codec in codecs | {"none"}
    if advice.codec == "qatzip":
        assert qat_can_run(tree)
    elif advice.codec == "qpl":
        assert iaa_can_run(tree)
    else:
        assert advice.codec in SOFTWARE
    usable = {each.codec for each in advice.accelerators if each.usable}
    assert ("qatzip" in usable) == qat_can_run(tree)
    assert ("qpl" in usable) == iaa_can_run(tree)
    channels = advice.settings["multifd-channels"]
    assert isinstance(channels, int)
    assert 1 <= channels <= 255
    if advice.better:
        assert any(each.codec == advice.better for each in advice.accelerators)
    assert json.dumps(advice.as_dict())


def test_the_hosts_that_are_tried_are_of_every_kind() -> None:
    """The property would hold for an adviser that never sees a usable device."""
    kinds: set[tuple[bool, bool]] = set()

    @settings(max_examples=200, database=None)
    @given(hosts())
    def collect(tree: Tree) -> None:
        kinds.add((qat_can_run(tree), iaa_can_run(tree)))

    collect()
    assert kinds == {(False, False), (False, True), (True, False), (True, True)}
