"""The adviser: the rules in their order, and nothing that cannot run."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs_core.accelerator import Accelerator, Obstacle
from codecs_core.errors import UsageError
from codecs_core.hardware import Advice, Inventory, advise, host, iaa, inventory, qat
from codecs_core.hardware.methods import PUBLISHED, Speed
from codecs_core.hardware.qat import MODELS
from codecs_core.hardware.tree import Unknown
from tests.hardware.conftest import HOSTS, NAMES

GBIT = 1e9 / 8
SOFTWARE = {"zstd", "lz4", "none"}


def applied(advice: Advice) -> list[int]:
    """The numbers of the rules that apply."""
    return [int(rule.statement.partition(".")[0]) for rule in advice.rules if rule.applies]


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
    assert (deciding.choice, deciding.statement) == (codec, advice.reason)


def test_every_rule_shows_its_evidence() -> None:
    for name in NAMES:
        for bandwidth in (None, GBIT, 100 * GBIT):
            advice = advise(inventory(HOSTS / name), bandwidth=bandwidth)
            numbers = [rule.statement[0] for rule in advice.rules]
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


@pytest.mark.parametrize("bandwidth", [0, -1.0, float("nan")])
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

UNKNOWN = Unknown("/sys/x", "is empty")


def text(*values: str) -> st.SearchStrategy[str | Unknown | None]:
    return st.sampled_from([*values, UNKNOWN, None])


NUMBER = st.sampled_from([0, 1, 16, UNKNOWN, None])
FLAG = st.sampled_from([True, False, UNKNOWN, None])
ADDRESSES = ("0000:6b:00.0", "0000:70:00.0")


def usually(value: object, *others: object) -> st.SearchStrategy[object]:
    """A sound value most of the time, so that hosts where everything is in order occur."""
    return st.sampled_from([value] * 6 + list(others))


def qat_functions(virtual: bool) -> st.SearchStrategy[qat.QatDevice]:
    return st.builds(
        qat.QatDevice,
        address=st.sampled_from(ADDRESSES),
        model=usually(MODELS[0x4940][0], *{model for model, _ in MODELS.values()}),
        virtual=usually(virtual, not virtual),
        numa_node=NUMBER,
        driver=usually("vfio-pci" if virtual else "4xxx", "vfio-pci", "4xxx", "x", UNKNOWN, None),
        state=usually("up", "down", UNKNOWN, None),
        services=usually(("dc",), ("sym", "asym"), ("dcc",), (), ("asym", "dc"), UNKNOWN, None),
        total_vfs=NUMBER,
        vfs=NUMBER,
        physical=st.sampled_from(ADDRESSES) if virtual else usually(None, UNKNOWN),
        group=usually("7", UNKNOWN, None),
        node_usable=usually(True, False, UNKNOWN, None),
    )


QAT_DEVICES = st.builds(
    lambda physical, virtual: (*physical, *virtual),
    st.lists(qat_functions(virtual=False), max_size=2),
    st.lists(qat_functions(virtual=True), max_size=4),
)
QUEUES = st.builds(
    iaa.WorkQueue,
    name=st.just("wq1.0"),
    state=usually("enabled", "disabled", UNKNOWN, None),
    mode=usually("shared", "dedicated", UNKNOWN, None),
    type=usually("user", "kernel", "none", UNKNOWN, None),
    size=NUMBER,
    block_on_fault=FLAG,
    node_usable=usually(True, False, UNKNOWN, None),
)
IAA_DEVICES = st.builds(
    iaa.IaaDevice,
    address=st.just("0000:6a:02.0"),
    name=usually("iax1", None),
    numa_node=NUMBER,
    driver=usually("idxd", UNKNOWN, None),
    state=usually("enabled", "disabled", UNKNOWN, None),
    pasid=usually(True, False, UNKNOWN, None),
    version=NUMBER,
    max_queues=NUMBER,
    max_queues_size=NUMBER,
    max_engines=NUMBER,
    queues=st.lists(QUEUES, max_size=3).map(tuple),
)
LIBRARIES = st.sets(
    st.sampled_from(["libqatzip", "libqat", "libqpl", "libaccel-config"]), min_size=3
).map(
    lambda names: tuple(host.Library(name, f"/usr/lib/{name}.so", None) for name in sorted(names))
)
INVENTORIES = st.builds(
    Inventory,
    kernel=text("6.8.0"),
    cpu=st.builds(
        host.Cpu,
        vendor=st.none(),
        model=st.none(),
        count=st.integers(0, 256),
        sockets=st.integers(0, 8),
        enqcmd=usually(True, False),
        virtual=st.booleans(),
    ),
    iommu=st.builds(
        host.Iommu,
        units=usually(("dmar0",), ()),
        scalable_mode=FLAG,
        options=st.just(()),
    ),
    modules=st.sets(st.sampled_from(host.MODULES)).map(tuple),
    firmware=st.just({}),
    qat=QAT_DEVICES,
    qat_service=st.builds(
        host.QatService, st.booleans(), st.booleans(), st.booleans(), st.none(), st.none()
    ),
    iaa=st.lists(IAA_DEVICES, max_size=3).map(tuple),
    libraries=LIBRARIES,
    huge_pages=st.just(()),
    locked_memory=NUMBER,
    unread=st.just(()),
)


def qat_can_run(found: Inventory) -> bool:
    """Said once more, the other way round: from the node that is opened up to the device."""
    return any(
        function.virtual
        and function.node_usable is True
        and function.group == "7"
        and function.driver == "vfio-pci"
        and any(
            not device.virtual
            and device.address == function.physical
            and device.driver == device.model.driver
            and device.model.generation in (4, 6)
            and device.state == "up"
            and device.services in (("dc",), ("asym", "dc"))
            for device in found.qat
        )
        for function in found.qat
    ) and bool(found.iommu.units and found.library("libqatzip") and found.library("libqat"))


def iaa_can_run(found: Inventory) -> bool:
    return any(
        device.name is not None
        and device.state == "enabled"
        and device.pasid is True
        and (queue.state, queue.mode, queue.type) == ("enabled", "shared", "user")
        and queue.node_usable is True
        for device in found.iaa
        for queue in device.queues
    ) and bool(found.cpu.enqcmd and found.library("libqpl") and found.library("libaccel-config"))


@settings(max_examples=500)
@given(
    INVENTORIES,
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
    found: Inventory,
    bandwidth: float | None,
    codecs: set[str] | None,
    speeds: dict[str, Speed] | None,
) -> None:
    advice = advise(found, bandwidth=bandwidth, codecs=codecs, speeds=speeds)
    assert codecs is None or advice.codec in codecs | {"none"}
    if advice.codec == "qatzip":
        assert qat_can_run(found)
    elif advice.codec == "qpl":
        assert iaa_can_run(found)
    else:
        assert advice.codec in SOFTWARE
    usable = {each.codec for each in advice.accelerators if each.usable}
    assert ("qatzip" in usable) == qat_can_run(found)
    assert ("qpl" in usable) == iaa_can_run(found)
    channels = advice.settings["multifd-channels"]
    assert isinstance(channels, int)
    assert 1 <= channels <= 255
    if advice.better:
        assert any(each.codec == advice.better for each in advice.accelerators)
    assert json.dumps(advice.as_dict())
