"""Pictures of commands at work, for the documentation: real runs, each in a terminal of its own.

``python tools/screens.py`` writes docs/screens/*.svg. What they show was printed; figures are those
of the run.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from codecs_core.forecast import of_programs

ROOT = Path(__file__).parents[1]
SCREENS = ROOT / "docs/screens"
MULTIFD = str(Path(sys.executable).with_name("multifd"))
MIB = 1 << 20
COLUMNS = 100
CURSOR = re.compile(r"(?:\r|\x1b\[[?\d;]*[A-HJKhl])+")
"""What moves the cursor or clears a line: one frame ends, and another begins."""
PERCENT = re.compile(r"(\d+)%")

THEME = TerminalTheme(
    (30, 33, 41),
    (220, 223, 228),
    [(30, 33, 41), (240, 113, 120), (152, 195, 121), (229, 192, 123), (97, 175, 239),
     (198, 120, 221), (86, 182, 194), (220, 223, 228)],
)  # fmt: skip

# rich's own form asks another host for a font.
FORM = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, "DejaVu Sans Mono", \
"Liberation Mono", monospace; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#1e2129"/>
<g transform="translate({terminal_x}, 18)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Write all pictures."""
    SCREENS.mkdir(exist_ok=True)
    draw("codecs", "multifd codecs", CODECS_CORE_PLUGINS="zstd,lz4,zlib")
    draw("devices", "multifd devices --root tests/hosts/both-more-qat")
    with tempfile.TemporaryDirectory() as place:
        sending(Path(place))


def sending(place: Path) -> None:
    """Draw how pages of programs are sent: the progress at half, and the end."""
    sample = of_programs()
    with (place / "disk.img").open("wb") as file:
        for _ in range(1024 * MIB // sample.size):
            file.writelines(sample.packets)
    with subprocess.Popen([MULTIFD, "recv", "unix:link", "copy.img"], cwd=place) as receiver:
        while not (place / "link").exists():
            assert receiver.poll() is None
        draw("send", "multifd send disk.img unix:link --multifd-compression zstd", place)


def draw(name: str, command: str, place: Path = ROOT, **environment: str) -> None:
    """Run a command, and write the picture of what it has printed."""
    shown = run(command, place, environment)
    *frames, end = (each.strip("\n") for each in CURSOR.split(shown))
    drawn = [each for each in frames if "ETA" in each]
    half = min(drawn, key=lambda each: abs(50 - int(PERCENT.findall(each)[0])), default="")
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        for part in filter(None, (half, end)):
            console.print(Text.from_ansi(part))
        picture = console.export_svg(theme=THEME, code_format=FORM, unique_id=name)
    (SCREENS / f"{name}.svg").write_text(picture)


def run(command: str, place: Path, environment: dict[str, str]) -> str:
    """Return what a command prints in a terminal."""
    screen, keyboard = pty.openpty()
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("4H", 50, COLUMNS, 0, 0))
    _, *arguments = shlex.split(command)
    process = subprocess.Popen(
        [MULTIFD, *arguments],
        cwd=place,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "", **environment},
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
    )
    os.close(keyboard)
    shown = b""
    # Where the program ends, reading its terminal is an error.
    with suppress(OSError):
        while piece := os.read(screen, 1 << 16):
            shown += piece
    os.close(screen)
    if process.wait() != 0:
        raise SystemExit(f"{command} failed:\n{shown.decode()}")
    return shown.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    main()
