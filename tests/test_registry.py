"""Discovery: lazy by name, in three states, and no plugin hurts another."""

from __future__ import annotations

import pickle
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codecs_core
from codecs_core.codec import Codec
from codecs_core.errors import (
    BrokenPlugin,
    CodecUnavailable,
    ParameterError,
    UnknownCodec,
    UsageError,
)
from codecs_core.none import NoneCodec
from codecs_core.registry import FIRST_PARTY, CodecInfo, Registry, State

if TYPE_CHECKING:
    from tests.conftest import Plugins

VERSION = metadata.version("codecs-core")
LEVEL = 'level: int = parameter(1, minimum=0, maximum=9, help="Effort.")'


class TestLaziness:
    def test_names_are_known_without_an_import(self, plugins: Plugins) -> None:
        modules = [plugins.install(name) for name in ("beta", "alpha")]
        registry = plugins.registry()
        assert list(registry) == ["none", "alpha", "beta"]
        assert len(registry) == 3
        assert "alpha" in registry
        assert "gamma" not in registry
        assert not sys.modules.keys() & modules

    def test_asking_for_one_imports_no_other(self, plugins: Plugins) -> None:
        alpha, beta = plugins.install("alpha"), plugins.install("beta")
        assert plugins.registry()["alpha"].state is State.LOADED
        assert alpha in sys.modules
        assert beta not in sys.modules

    def test_an_unknown_name_imports_nothing(self, plugins: Plugins) -> None:
        alpha = plugins.install("alpha")
        with pytest.raises(UnknownCodec):
            plugins.registry().get_codec("gamma")
        assert alpha not in sys.modules

    def test_a_plugin_is_asked_once(self, plugins: Plugins) -> None:
        alpha = plugins.install("alpha")
        registry = plugins.registry()
        assert registry["alpha"] is registry["alpha"]
        assert registry["alpha"].codec is sys.modules[alpha].Fake

    def test_threads_get_the_same_codec(self, plugins: Plugins) -> None:
        plugins.install(
            "alpha",
            body="""
            asked = 0

            @classmethod
            def availability(cls):
                import time

                cls.asked += 1
                time.sleep(0.02)
                return Availability()
            """,
        )
        registry = plugins.registry()
        start = threading.Barrier(8)

        def ask(_: int) -> CodecInfo:
            start.wait()
            return registry["alpha"]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(8)))
        assert {id(each) for each in answers} == {id(registry["alpha"])}
        assert answers[0].codec is not None
        assert answers[0].codec.asked == 1  # type: ignore[attr-defined]


class TestLoaded:
    def test_a_row_tells_everything(self, plugins: Plugins) -> None:
        plugins.install(
            "alpha",
            body=f"""
            method = 7
            suffix = ".alpha"
            {LEVEL}

            @classmethod
            def availability(cls):
                return Availability(backend="liballpha 1")
            """,
        )
        info = plugins.registry()["alpha"]
        assert info == CodecInfo(
            name="alpha",
            state=State.LOADED,
            distribution="fake-alpha",
            version="1.0",
            method=7,
            suffix=".alpha",
            backend="liballpha 1",
            summary="A codec for tests.",
            parameters=info.parameters,
            codec=info.codec,
        )
        assert [each.name for each in info.parameters] == ["multifd-alpha-level"]

    def test_none_is_always_there(self) -> None:
        registry = Registry([])
        assert list(registry) == ["none"]
        assert registry["none"].distribution == "codecs-core"
        assert registry.get_codec("none") == NoneCodec()

    def test_get_codec(self, plugins: Plugins) -> None:
        plugins.install("alpha", body=LEVEL)
        codec = codecs_core.get_codec("alpha", level=3)
        assert codec.name == "alpha"
        assert codec == codecs_core.get_codec("alpha", multifd_alpha_level=3)
        assert codecs_core.get_codec(codec) is codec
        assert pickle.loads(pickle.dumps(codec)) == codec
        assert codecs_core.codecs()["alpha"].codec is type(codec)

    def test_get_codec_refuses_what_cannot_be(self, plugins: Plugins) -> None:
        plugins.install("alpha", body=LEVEL)
        with pytest.raises(ParameterError, match=r"multifd-alpha-level expects .* 0 and 9, not 10"):
            codecs_core.get_codec("alpha", level=10)
        with pytest.raises(ParameterError, match="no parameter 'depth'"):
            codecs_core.get_codec("alpha", depth=1)
        with pytest.raises(UsageError, match="is a codec already"):
            codecs_core.get_codec(NoneCodec(), level=1)
        with pytest.raises(UsageError, match="by its name or as a Codec, not as 2"):
            codecs_core.get_codec(2)  # type: ignore[arg-type]

    def test_one_plugin_may_provide_several(self, plugins: Plugins) -> None:
        plugins.install(
            "alpha",
            "beta",
            source="""
            from codecs_core import hookimpl
            from codecs_core.none import NoneCodec
            from dataclasses import dataclass

            @dataclass(frozen=True)
            class Alpha(NoneCodec):
                name = "alpha"
                method = None

            @dataclass(frozen=True)
            class Beta(NoneCodec):
                name = "beta"
                method = None

            @hookimpl
            def codecs_core_codecs():
                yield Alpha
                yield Beta
            """,
        )
        registry = plugins.registry()
        assert [registry.get_codec(name).name for name in ("alpha", "beta")] == ["alpha", "beta"]

    def test_an_entry_point_needs_no_distribution(self, plugins: Plugins) -> None:
        module = plugins.install("alpha")
        assert Registry([EntryPoint("alpha", module, "codecs_core")])["alpha"].provider == module

    def test_candidates(self, plugins: Plugins) -> None:
        body = f"{LEVEL}\n@classmethod\ndef candidates(cls): return [cls(level=2), cls(level=5)]"
        plugins.install("alpha", body=body)
        plugins.install("beta")
        registry = plugins.registry()
        assert [each.level for each in registry["alpha"].candidates] == [2, 5]  # type: ignore[attr-defined]
        assert registry["beta"].candidates == (registry.get_codec("beta"),)

    def test_a_codec_that_cannot_work_is_not_asked_for_candidates(self, plugins: Plugins) -> None:
        body = """
        @classmethod
        def availability(cls): return Availability(False, reason="no library")

        @classmethod
        def candidates(cls): import no_such_library
        """
        plugins.install("alpha", body=body)
        info = plugins.registry()["alpha"]
        assert (info.state, info.candidates) == (State.UNAVAILABLE, ())

    def test_a_method_claimed_twice(self, plugins: Plugins) -> None:
        """Neither is guessed: a guest's pages would be decoded by the wrong one."""
        for name in ("alpha", "beta"):
            plugins.install(name, body="method = 7")
        registry = plugins.registry()
        claims = r"'alpha' \(fake-alpha 1.0\) and 'beta' \(fake-beta 1.0\)"
        with pytest.raises(BrokenPlugin, match=f"method 7 is claimed by the codecs {claims}; uni"):
            registry.by_method(7)
        assert registry.get_codec("alpha").method == 7

    @pytest.mark.parametrize(
        ("needs", "bounds"),
        [
            ("codecs-core>=99", ">=99"),
            ("codecs_core[testing] (>=0.0.1,<0.0.2)", ">=0.0.1,<0.0.2"),
            ("Codecs.Core >= 0.0, < 0.1", ">= 0.0, < 0.1"),
        ],
    )
    def test_made_for_another_core(self, plugins: Plugins, needs: str, bounds: str) -> None:
        """Nothing of it is imported: what it would run into, nobody could make sense of."""
        module = plugins.install("alpha", source="1 / 0", requires=[needs])
        info = plugins.registry()["alpha"]
        assert info.state is State.BROKEN
        assert info.reason == f"it needs codecs-core {bounds}, and this is {VERSION}"
        assert info.remedy == "pip install --upgrade codecs-core fake-alpha"
        assert module not in sys.modules

    @pytest.mark.parametrize(
        "needs",
        [
            "codecs-core",
            f"codecs-core>=0.0.1,<={VERSION}.post1,!=0.0.7",
            f"codecs-core=={VERSION}",
            "codecs-core-zlib>=99",
            'codecs-core>=99; extra == "never"',
            "other>=99",
            "no requirement at all!",
        ],
    )
    def test_made_for_this_core(self, plugins: Plugins, needs: str) -> None:
        plugins.install("alpha", requires=[needs])
        assert plugins.registry()["alpha"].state is State.LOADED

    def test_what_a_plugin_needs_may_be_had(self, plugins: Plugins) -> None:
        plugins.install("alpha", source="import no_such_module_at_all")
        remedy = plugins.registry()["alpha"].remedy
        assert remedy.startswith("install what has this module; if nothing has, report it")

    def test_by_method_and_by_suffix(self, plugins: Plugins) -> None:
        plugins.install("alpha", body="method = 7\nsuffix = '.al'")
        plugins.install("broken", source="1 / 0")
        registry = plugins.registry()
        assert registry.by_method(7) == "alpha"
        assert registry.by_method(0) == "none"
        assert registry.by_method(8) is None
        assert registry.by_suffix(Path("dir/x.al")) == "alpha"
        assert registry.by_suffix("al") is None


class TestUnavailable:
    BODY = """
    @classmethod
    def availability(cls):
        return Availability(False, reason="no libalpha", remedy={remedy!r})
    """

    def test_is_listed_with_its_reason_and_remedy(self, plugins: Plugins) -> None:
        plugins.install("alpha", body=self.BODY.format(remedy="apt-get install libalpha"))
        info = plugins.registry()["alpha"]
        assert info.state is State.UNAVAILABLE
        assert (info.reason, info.remedy) == ("no libalpha", "apt-get install libalpha")

    @pytest.mark.parametrize(
        ("remedy", "ending"), [("buy one", "no libalpha; buy one"), ("", "no libalpha")]
    )
    def test_asked_for_by_name_it_is_an_error(
        self, plugins: Plugins, remedy: str, ending: str
    ) -> None:
        plugins.install("alpha", body=self.BODY.format(remedy=remedy))
        with pytest.raises(CodecUnavailable) as caught:
            codecs_core.get_codec("alpha")
        assert str(caught.value) == f"codec 'alpha' is not available here: {ending}"
        assert caught.value.name == "alpha"


DEFECTS = {
    "import error": ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_s"),
    "syntax error": ("def", "SyntaxError: invalid syntax"),
    "raises at import": (
        "raise ValueError('first\\nsecond')",
        "ValueError: first; second (fake_",
    ),
    "leaves at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "says nothing": ("raise ArithmeticError", "ArithmeticError"),
    "no hook": ("x = 1", "fake_alpha implements no hook codecs_core_codecs"),
    "hook is not marked": ("def codecs_core_codecs(): return []", "fake_alpha implements no hook"),
    "hook takes too much": (
        "from codecs_core import hookimpl\n@hookimpl\ndef codecs_core_codecs(config): return []",
        "Argument(s) {'config'} are declared in the hookimpl but can not be found",
    ),
    "hook raises": (
        "from codecs_core import hookimpl\n@hookimpl\ndef codecs_core_codecs(): return 1 / 0",
        "ZeroDivisionError: division by zero",
    ),
    "hook returns nothing": (
        "from codecs_core import hookimpl\n@hookimpl\ndef codecs_core_codecs(): pass",
        "the entry point is named 'alpha', but fake_alpha provides nothing",
    ),
    "hook returns no list": (
        "from codecs_core import hookimpl\n@hookimpl\ndef codecs_core_codecs(): return 5",
        "codecs_core_codecs returned 5, not a list of codecs",
    ),
    "hook returns a class": (
        "from codecs_core import Codec, hookimpl\n"
        "@hookimpl\ndef codecs_core_codecs(): return Codec",
        "codecs_core_codecs returned <class 'codecs_core.codec.Codec'>, not a list of codecs",
    ),
    "hook returns strangers": (
        "from codecs_core import hookimpl\n@hookimpl\ndef codecs_core_codecs(): return [int]",
        "codecs_core_codecs returned <class 'int'>, which is no subclass of Codec",
    ),
    "hook returns instances": (
        "from codecs_core import hookimpl\nfrom codecs_core.none import NoneCodec\n"
        "@hookimpl\ndef codecs_core_codecs(): return [NoneCodec()]",
        "codecs_core_codecs returned NoneCodec(), which is no subclass of Codec",
    ),
}

BAD_CLASSES = {
    "another name": ("name = 'beta'", "the entry point is named 'alpha', but .* provides 'beta'"),
    "bad name": ("name = 'Al pha'", "Fake.name is 'Al pha', not lower-case letters and digits"),
    "no name": ("name = None", "Fake.name is None"),
    "name of the adaptive method": ("name = 'auto'", "Fake.name is 'auto', which is the adaptive"),
    "bad method": ("method = 31", "Fake.method is 31, not 1 to 30 or None"),
    "method of none": ("method = 0", "Fake.method is 0"),
    "method in words": ("method = 'two'", "Fake.method is 'two'"),
    "bad suffix": ("suffix = 'gz'", r"Fake.suffix is 'gz', not like '.ext' or None"),
    "suffixes": ("suffix = ('.gz', '.tgz')", r"Fake.suffix is \('.gz', '.tgz'\)"),
    "annotated method": ("method: int = 5", "Fake.method is annotated, .* as in: method = 5"),
    "annotated name": ("name: str = 'alpha'", "Fake.name is annotated, .* name = 'alpha'"),
    "no default": ("level: int", r"Fake.level has no default .* parameter\(...\)"),
    "default of a wrong type": ("level: float = 1.5", "Fake.level has no default of type int"),
    "default out of range": (
        "level: int = parameter(0, minimum=1, help='')",
        "ParameterError: multifd-alpha-level expects a value of at least 1, not 0",
    ),
    "parameter with a method's name": (
        "candidates: int = parameter(1, help='')",
        "Fake.candidates has the name of a part of the contract; call the parameter something",
    ),
    "parameter with a strange name": ("Level: int = 1", "Fake.Level is no name for a parameter"),
    "private parameter": ("_level: int = 1", "Fake._level is no name for a parameter"),
    "magic in words": ("magic = 'BZh'", "Fake.magic is 'BZh', not a tuple of 2 to 8 bytes"),
    "magic without a tuple": ("magic = b'BZh'", "Fake.magic is b'BZh', not a tuple"),
    "short magic": ("magic = (b'B',)", r"Fake.magic is \(b'B',\), not a tuple of 2 to 8 bytes"),
    "no candidates": (
        "@classmethod\ndef candidates(cls): pass",
        r"Fake.candidates\(\) returned None, not a sequence of Fake",
    ),
    "candidates raise": (
        "@classmethod\ndef candidates(cls): 1 / 0",
        r"ZeroDivisionError: division by zero \(fake_alpha, line \d+\)",
    ),
    "candidates of an instance": (
        "def candidates(self): return (self,)",
        "TypeError: .*missing 1 required positional",
    ),
    "abstract": ("encoder = Codec.encoder", "Fake does not implement encoder"),
    "availability raises": (
        "@classmethod\ndef availability(cls): raise OSError('no device')",
        "OSError: no device",
    ),
    "availability is no Availability": (
        "@classmethod\ndef availability(cls): return True",
        r"Fake.availability\(\) returned True",
    ),
}


class TestBroken:
    @pytest.mark.parametrize(("source", "reason"), DEFECTS.values(), ids=DEFECTS)
    def test_modules(self, plugins: Plugins, source: str, reason: str) -> None:
        plugins.install("alpha", source=source)
        self.check(plugins, re.escape(reason))

    @pytest.mark.parametrize(("body", "reason"), BAD_CLASSES.values(), ids=BAD_CLASSES)
    def test_classes(self, plugins: Plugins, body: str, reason: str) -> None:
        plugins.install("alpha", body=body)
        self.check(plugins, reason)

    def test_not_frozen(self, plugins: Plugins) -> None:
        source = """
        from dataclasses import dataclass
        from codecs_core import hookimpl
        from codecs_core.none import NoneCodec

        class Fake(NoneCodec):
            name = "alpha"

        @hookimpl
        def codecs_core_codecs():
            return [Fake]
        """
        plugins.install("alpha", source=source)
        self.check(plugins, r"Fake is not decorated with @dataclass\(frozen=True\)")

    @pytest.mark.parametrize("value", ["fake_alpha:missing", "fake_alpha:", "not an identifier!"])
    def test_entry_points(self, plugins: Plugins, value: str) -> None:
        plugins.install("alpha", value=value)
        # The package importlib_metadata, once somebody has imported it, is stricter.
        self.check(plugins, "(AttributeError|ValueError): ")

    def test_a_plugin_that_cannot_be_compared_or_hashed(self, plugins: Plugins) -> None:
        """pluggy does both with its plugins: so they must not meet."""
        source = """
        from codecs_core import hookimpl

        class Plugin:
            def __eq__(self, other):
                raise RuntimeError("compared")

            @hookimpl
            def codecs_core_codecs(self):
                return []

        plugin = Plugin()
        """
        plugins.install("alpha", source=source, value="fake_alpha:plugin")
        self.check(plugins, "the entry point is named 'alpha', but .* provides nothing")

    def check(self, plugins: Plugins, reason: str) -> None:
        """The plugin for 'alpha' is broken for that reason, and hurts no other."""
        plugins.install("omega")
        rows = {info.name: info for info in plugins.registry().listing()}
        assert rows.keys() == {"none", "alpha", "omega"}
        assert rows["omega"].state is State.LOADED
        alpha = rows["alpha"]
        assert alpha.state is State.BROKEN
        assert (alpha.distribution, alpha.version) == ("fake-alpha", "1.0")
        assert "\n" not in alpha.reason
        assert alpha.remedy
        assert alpha.codec is None
        assert alpha.parameters == ()
        with pytest.raises(BrokenPlugin, match=reason) as caught:
            codecs_core.get_codec("alpha")
        assert caught.value.name == "alpha"
        assert caught.value.__cause__ is codecs_core.codecs()["alpha"].cause is not None
        assert str(caught.value).startswith(
            "the plugin for codec 'alpha' (fake-alpha 1.0) is broken: "
        )

    def test_an_interruption_is_nobodys_defect(self, plugins: Plugins) -> None:
        plugins.install("alpha", source="raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            codecs_core.get_codec("alpha")


class TestNameClashes:
    @pytest.mark.parametrize("late", ["a-stranger", "z-stranger"])
    def test_the_first_party_keeps_its_name(self, plugins: Plugins, late: str) -> None:
        plugins.install("zstd", distribution=late)
        plugins.install("zstd", distribution="codecs-core-zstd")
        registry = plugins.registry()
        assert registry["zstd"].distribution == "codecs-core-zstd"
        (loser,) = [each for each in registry.listing() if each.distribution == late]
        assert loser.state is State.BROKEN
        assert loser.reason == "the name 'zstd' is already taken by codecs-core-zstd"
        assert loser.remedy

    def test_among_strangers_the_order_is_stable(self, plugins: Plugins) -> None:
        for distribution in ("m-one", "b-one", "x-one"):
            plugins.install("alpha", distribution=distribution)
        rows = plugins.registry().listing()
        assert [(each.distribution, each.state.value) for each in rows] == [
            ("codecs-core", "loaded"),
            ("b-one", "loaded"),
            ("m-one", "broken"),
            ("x-one", "broken"),
        ]

    def test_none_cannot_be_taken(self, plugins: Plugins) -> None:
        module = plugins.install("none")
        registry = plugins.registry()
        rows = registry.listing()
        assert [(each.name, each.state.value) for each in rows] == [
            ("none", "loaded"),
            ("none", "broken"),
        ]
        assert rows[1].reason == "the name 'none' is already taken by codecs-core"
        assert registry.get_codec("none") == NoneCodec()
        assert module not in sys.modules


class TestInstalled:
    def test_the_environment_restricts_what_may_load(
        self, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alpha, _ = plugins.install("alpha"), plugins.install("beta")
        monkeypatch.setenv("CODECS_CORE_PLUGINS", " beta ,gamma")
        assert list(codecs_core.codecs()) == ["none", "beta"]
        with pytest.raises(UnknownCodec, match=r"CODECS_CORE_PLUGINS=' beta ,gamma' restricts"):
            codecs_core.get_codec("alpha")
        assert alpha not in sys.modules
        monkeypatch.setenv("CODECS_CORE_PLUGINS", "")
        assert list(Registry()) == ["none"]
        monkeypatch.delenv("CODECS_CORE_PLUGINS")
        assert {"none", "alpha", "beta"} <= set(Registry())

    def test_unknown_names_say_what_is_installed(
        self, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugins.install("alpha")
        registry = plugins.registry()
        monkeypatch.delenv("CODECS_CORE_PLUGINS")
        with pytest.raises(UnknownCodec) as caught:
            registry.get_codec("gamma")
        assert str(caught.value) == "no codec is called 'gamma'; installed: none, alpha"
        assert caught.value.name == "gamma"
        for name in FIRST_PARTY:
            with pytest.raises(UnknownCodec, match=f"; remedy: pip install codecs-core-{name}$"):
                registry.get_codec(name)

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("entry_points.txt", b"[codecs_core]\nno equals sign\n"),
            ("entry_points.txt", b"\xff\xfe\x00"),
            ("METADATA", b"Name\xff: \xfe\n"),
        ],
    )
    def test_damaged_metadata_hides_only_itself(
        self, plugins: Plugins, file: str, content: bytes
    ) -> None:
        plugins.install("alpha")
        plugins.install("beta")
        (plugins.root / "fake-beta" / "fake_beta-1.0.dist-info" / file).write_bytes(content)
        assert codecs_core.get_codec("alpha").name == "alpha"
        assert list(codecs_core.codecs()) == ["none", "alpha"]

    def test_metadata_without_a_name_still_serves(self, plugins: Plugins) -> None:
        plugins.install("alpha")
        plugins.install("beta")
        for name in ("alpha", "beta"):
            info = plugins.root / f"fake-{name}" / f"fake_{name}-1.0.dist-info"
            (info / "METADATA").write_text("Summary: nameless\n")
        rows = codecs_core.codecs().listing()
        assert [each.distribution for each in rows] == ["codecs-core", "fake_alpha", "fake_beta"]
        assert all(each.state is State.LOADED for each in rows)

    def test_a_distribution_seen_twice_is_one(
        self, plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As an editable installation and the metadata beside its sources are."""
        plugins.install("alpha")
        again = tmp_path / "Fake.Alpha-1.0.dist-info"
        again.mkdir()
        (again / "METADATA").write_text("Name: Fake.Alpha\nVersion: 1.0\n")
        (again / "entry_points.txt").write_text("[codecs_core]\nalpha = fake_alpha\n")
        monkeypatch.syspath_prepend(tmp_path)
        assert [each.state.value for each in codecs_core.codecs().listing()] == ["loaded", "loaded"]

    def test_a_codec_is_a_codec(self) -> None:
        for info in Registry().listing():
            assert info.codec is None or issubclass(info.codec, Codec)
