"""The installed plugin, as everybody else finds it."""

from __future__ import annotations

from typing import ClassVar

from codecs_core.codec import Codec
from codecs_core.registry import Registry, State

__all__ = ["ListingTests"]


class ListingTests:
    """The entry point leads to the codec."""

    codec: ClassVar[Codec]

    def test_codec_is_listed(self) -> None:
        """Installed, it is found under its own name, and loads."""
        registry = Registry()
        name = self.codec.name
        assert name in registry, (
            f"no entry point of group codecs_core is named {name!r}: declare it in "
            f"pyproject.toml and install the distribution, or set listed = False"
        )
        info = registry[name]
        assert info.state is State.LOADED, f"{info.state}: {info.reason}; {info.remedy}"
        assert info.codec is type(self.codec), (
            f"the codec called {name!r} is that of {info.provider}; give yours another name"
        )
        assert info.summary, "the codec class needs a docstring: its first line is listed"

    def test_codec_shares_no_parameter(self) -> None:
        """``multifd-a-b-c`` is ``b_c`` of codec ``a``, or ``c`` of codec ``a-b``."""
        mine = {each.name for each in self.codec.parameters()}
        for name, info in Registry().items():
            shared = mine & {each.name for each in info.parameters if name != self.codec.name}
            assert not shared, (
                f"codec {name!r} ({info.provider}) has the parameters {sorted(shared)}, too; "
                "give yours another name"
            )

    def test_codec_is_found_by_method_and_suffix(self) -> None:
        """QEMU's method and the file name ending lead to no other codec."""
        registry = Registry()
        name, method, suffix = self.codec.name, self.codec.method, self.codec.suffix
        if method is not None:
            other = registry.by_method(method)
            assert other == name, (
                f"method {method} leads to {other!r}; it is for codecs that QEMU has a number for: "
                "without it both ends agree by name"
            )
        if suffix is not None:
            other = registry.by_suffix(f"ram{suffix}")
            assert other == name, f"the suffix {suffix!r} leads to {other!r}; choose another"
