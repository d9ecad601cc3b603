"""Numbers for people, and text that stays text."""

from __future__ import annotations

import pytest

from codecs_core.cli import output


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (524288, "512.0 KiB"),
        (10 * 1024**3, "10.0 GiB"),
        (2**70, "1024.0 EiB"),
        (0.4, "0 B"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert output.size(count) == text


def test_rate() -> None:
    assert output.rate(87.2 * 1024**2) == "87.2 MiB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.25, "0.25 s"),
        (9.999, "10.0 s"),
        (42, "42.0 s"),
        (59.96, "1:00"),
        (60, "1:00"),
        (185.4, "3:05"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
        (360000, "100:00:00"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pc.ram", "pc.ram"),
        ("  two\nlines \n", "two lines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\tb\r", "a\\tb"),
        ("é漢", "é漢"),
        ("\u202eevil", "\\u202eevil"),
        ("\udc80", "\\udc80"),
        ("", ""),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert output.printable(text) == shown


def test_tables_neither_interpret_nor_cut_their_cells(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 100
    output.print_table(
        ("A", "B"), [("[bold]x[/bold]", ":smile:"), (long, "\x1b[2J"), ("", "http://a.b/1")]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["A", "[bold]x[/bold]", long.strip(), ""]
    assert [line.split()[-1] for line in lines] == ["B", ":smile:", "\\x1b[2J", "http://a.b/1"]
    assert all(line == line.rstrip() for line in lines)


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "é\udc80"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\\u00e9\\udc80" in out
