"""``--plot``: found out early, whole or not at all."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from codecs_core.cli.plotting import check_plot, save_plot
from codecs_core.errors import TransferError, UsageError


def test_a_png(tmp_path: Path) -> None:
    path = tmp_path / "a.PNG"
    save_plot(Figure(), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    assert list(tmp_path.iterdir()) == [path]


def test_an_svg_is_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    figure = Figure()
    figure.suptitle("what it says")
    save_plot(figure, path)
    before = path.read_bytes()
    save_plot(figure, path)
    assert path.read_bytes() == before
    texts = ElementTree.fromstring(before).iter("{http://www.w3.org/2000/svg}text")
    assert [text.text for text in texts] == ["what it says"]


@pytest.mark.parametrize("name", ["a.pdf", "a", "-", ".png", "a.png.zst"])
def test_other_endings(name: str) -> None:
    with pytest.raises(UsageError, match=r"are drawn as \.png or \.svg; give FILE such an ending"):
        check_plot(Path(name))


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name)
    )
    with pytest.raises(UsageError) as raised:
        check_plot(Path("a.png"))
    assert str(raised.value) == (
        "drawing needs matplotlib, which is not installed; remedy: pip install 'codecs-core[plot]'"
    )


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match=r"a\.png cannot be made: .*missing is no directory"):
        check_plot(tmp_path / "missing" / "a.png")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(UsageError, match=r"d\.png is a directory"):
        check_plot(tmp_path / "d.png")
    with pytest.raises(TransferError, match=r"^/proc/a\.png cannot be made"):
        check_plot(Path("/proc/a.png"))
        save_plot(Figure(), Path("/proc/a.png"))


def test_half_a_picture_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def full(figure: Figure, target: Path, **_: Any) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(TransferError, match=r"a\.png cannot be made: No space left on device"):
        save_plot(Figure(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_matplotlib_is_imported_by_who_draws(bundled: Any) -> None:
    code = f"""if True:
        import sys
        from codecs_core.cli import main
        assert main(["inspect", {str(bundled["zlib-ch4"].path)!r}]) == 0
        print(*sys.modules, file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert not {name.split(".")[0] for name in done.stderr.split()} & {"matplotlib", "numpy"}
