"""The results as Markdown, and into the marked places of a page.

A page has a place for each section, ``<!-- compare NAME -->`` to ``<!-- /compare NAME -->``. What
stands between them is replaced; the rest of the page is its author's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.compare.figures import Figure, Json, figure, kept, promised

SECTIONS = ("guest", "programs", "data", "channels", "packets", "links", "memory")
MEASURES = {
    "rate": "rate",
    "ratio": "ratio",
    "cpu": "CPU s/GB",
    "peak": "peak, MiB",
    "grown": "growth, MiB",
}
BUSY = 0.5
"""The load for each CPU from which other work decides who is fast."""
_PLACE = "<!-- compare {name} -->\n"
_END = "<!-- /compare {name} -->\n"


def sections(figures: Json, plots: dict[str, str]) -> dict[str, str]:
    """Name of a place → its Markdown. ``plots``: section → what to show there, a link."""
    found = {"run": _run(figures), "promises": _promises(figures)}
    for name in SECTIONS:
        groups = [each for each in figures["groups"] if each["section"] == name]
        if groups:
            picture = f"![Rates: {name}]({plots[name]})\n" if name in plots else ""
            found[name] = "\n".join(filter(None, (_rows(groups), _quotients(groups), picture)))
    return found


def text(figures: Json) -> str:
    """Everything, to be read in a terminal."""
    parts = sections(figures, {}).items()
    return "\n".join(f"## {name}\n\n{part}" for name, part in parts)


def fill(page: str, parts: dict[str, str]) -> tuple[str, list[str]]:
    """Put parts into their places; return the page, and the names that have no place in it."""
    missing = []
    for name, part in parts.items():
        begin, end = _PLACE.format(name=name), _END.format(name=name)
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        # A part may hold backslashes, which mean themselves.
        filled = f"{begin}\n{part}\n{end}".replace("\\", r"\\")
        page, count = pattern.subn(filled, page)
        if not count:
            missing.append(name)
    return page, missing


def write(path: Path, figures: Json, plots: dict[str, Path]) -> list[str]:
    """Fill a page on disk; return the names that have no place in it."""
    linked = {name: os.path.relpath(plot, path.parent) for name, plot in plots.items()}
    # No figures of an earlier run may stand beside those of this one.
    parts = dict.fromkeys(SECTIONS, "Not part of this run.\n") | sections(figures, linked)
    page, missing = fill(path.read_text(), parts)
    path.write_text(page)
    return missing


def _run(figures: Json) -> str:
    machine, settings = figures["machine"], figures["settings"]
    lines = [
        f"{machine['date']}, commit `{machine['commit'] or 'unknown'}`: {machine['cpu']}, "
        f"{machine['cpus']} CPUs shared by both ends, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load']:.1f} before it began; "
        f"{settings['mib']} MiB, {settings['rounds']} rounds"
        + (f", {figures['seconds'] / 60:.0f} minutes" if "seconds" in figures else "")
        + ".",
        "",
    ]
    if machine["load"] > BUSY * machine["cpus"]:
        lines += ["**The machine was busy**, and does not take from all alike: measure again.", ""]
    versions = [each for each in machine["versions"].values() if each]
    lines.append(f"{'; '.join(versions)}.")
    if own := machine.get("codecs"):
        lines += ["", "The codecs' own: " + "; ".join(f"{n}: {own[n]}" for n in sorted(own)) + "."]
    if "start" in figures:
        begun = figures["start"]
        lines += [
            "",
            f"`import codecs_core` takes {begun['import'] * 1000:.0f} ms beyond the interpreter's "
            f"start (wanted: below 50), `multifd --help` {begun['help'] * 1000:.0f} ms in all "
            "(wanted: below 200).",
        ]
    return "\n".join(lines) + "\n"


def _promises(figures: Json) -> str:
    rows = []
    for group in figures["groups"]:
        for promise in group["promises"]:
            if promise["least"] is promise["most"] is None:
                continue
            rows.append([group["section"], group["name"], *_promise(group, promise)])
    header = ["", "", "this", "against", "figure", "quotient", "spread", "wanted", "kept"]
    return _table(header, rows)


def _quotients(groups: list[Json]) -> str:
    rows = [
        [group["name"], *_promise(group, promise)]
        for group in groups
        for promise in group["promises"]
    ]
    header = ["", "this", "against", "figure", "quotient", "spread", "wanted", "kept"]
    return _table(header, rows) if rows else ""


def _promise(group: Json, promise: Json) -> list[str]:
    found = promised(group, promise)
    against = "best of " if len(promise["theirs"]) > 1 else ""
    cells = [
        promise["ours"],
        against + ", ".join(promise["theirs"]),
        MEASURES[promise["measure"]],
    ]
    wanted = ""
    for bound, sign in (("least", "≥"), ("most", "≤")):
        if promise[bound] is not None:
            wanted = f"{sign} {promise[bound]:g}"
    if found is None:
        return [*cells, "", "", wanted, "not measured" if wanted else ""]
    number = "{:.1f}" if promise["measure"] in ("peak", "grown") else "{:.2f}"
    holds = {True: "yes", False: "**no**", None: ""}[kept(promise, found)]
    return [*cells, number.format(found.median), _spread(found, number), wanted, holds]


def _rows(groups: list[Json]) -> str:
    header = [
        "", "", "MB/s", "spread", "ratio", "CPU s/GB", "sender", "receiver", "MB on the link",
        "peak MiB, sender", "receiver",
    ]  # fmt: skip
    return _table(header, [_row(group, row) for group in groups for row in group["rows"]])


def _row(group: Json, row: Json) -> list[str]:
    runs = [each for each in row["runs"] if each is not None]
    rate = figure(row, "rate")
    if rate is None:
        return [group["name"], row["name"], row["why"] or "not run", *[""] * 8]
    ratio = figure(row, "ratio")
    cells = [
        group["name"],
        row["name"],
        f"{rate.median / 1e6:.0f}",
        _spread(Figure(rate.median / 1e6, rate.least / 1e6, rate.most / 1e6), "{:.0f}"),
        "" if ratio is None else f"{ratio.median:.2f}",
    ]
    ends = {
        side: _median([run[side]["cpu"] / (run["size"] / 1e9) for run in runs])
        for side in ("near", "far")
    }
    total = figure(row, "cpu")
    cells.append("" if total is None else f"{total.median:.2f}")
    cells += [f"{ends[side]:.2f}" for side in ("near", "far")]
    wire = [run["wire"] for run in runs if run["wire"] is not None]
    cells.append(f"{_median(wire) / 1e6:.0f}" if wire else "")
    for side in ("near", "far"):
        peaks = [run[side]["peak"] for run in runs if run[side]["peak"] is not None]
        cells.append(f"{_median(peaks) / (1 << 20):.0f}" if peaks else "")
    return cells


def _median(values: Sequence[float]) -> float:
    found = Figure.of(list(values))
    return 0.0 if found is None else found.median


def _spread(found: Figure, number: str) -> str:
    return f"{number.format(found.least)} to {number.format(found.most)}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(_lines(header, rows)) + "\n"


def _lines(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        # A cell may not end itself.
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
