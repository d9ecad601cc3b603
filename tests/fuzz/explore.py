"""Looks for inputs that reach new code: by atheris, where it is installed; and keeps the best.

``python -m tests.fuzz TARGET --atheris`` collects them in ``build/fuzz/TARGET``;
``python -m tests.fuzz TARGET --keep`` copies the few that matter to the corpus.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import CORPUS, LIMIT, Target

_PACKAGES = ("codecs_core", "codecs_core_qatzip")


@contextlib.contextmanager
def instrumented(wanted: bool) -> Iterator[None]:
    """Let atheris see which code the modules imported now will run."""
    if not wanted:
        yield
        return
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError as error:
        sys.exit(f"{error}; pip install --group fuzz, or go without --atheris")
    with atheris.instrument_imports(include=list(_PACKAGES)):
        yield


def explore(target: Target, findings: Path, seconds: float) -> int:
    """Run a target guided by coverage; what is new goes to ``findings``, failures too."""
    atheris: Any = importlib.import_module("atheris")
    new, failures = findings / target.name, findings / "failures" / target.name
    for directory in (new, failures):
        directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.corpus()):
        (new / f"seed-{number}").write_bytes(data)
    atheris.Setup(
        [
            *(sys.argv[0], str(new), f"-max_total_time={seconds:.0f}", f"-max_len={target.size}"),
            *(f"-timeout={10 * LIMIT}", f"-artifact_prefix={failures}/", "-print_final_stats=1"),
        ],
        lambda data: target.accepts(bytes(data)) and None,
    )
    atheris.Fuzz()
    return 0


def distill(target: Target, places: Sequence[Path]) -> int:
    """Copy to the corpus those inputs that run lines, one after another, as none before them did.

    Small ones come first, so that the corpus stays small.
    """
    files = [file for place in places for file in (place.iterdir() if place.is_dir() else [place])]
    known = set().union(*(reached(target, data) for data in target.corpus()))
    directory = CORPUS / target.name
    kept = 0
    for data in sorted((file.read_bytes() for file in files), key=len):
        new = reached(target, data) - known
        if new:
            known |= new
            directory.mkdir(exist_ok=True)
            (directory / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
            kept += 1
    print(f"{target.name}: kept {kept} of {len(files)} inputs; {len(known)} pairs of lines run")
    return 0


def reached(target: Target, data: bytes) -> set[tuple[str, int, int]]:
    """Execute a target; return which lines of the program ran after which: (file, from, to)."""
    pairs: set[tuple[str, int, int]] = set()

    def called(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if "codecs_core" not in name:
            return None
        before = 0

        def ran(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            if event == "line":
                pairs.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return ran

        return ran

    sys.settrace(called)
    try:
        target.accepts(data)
    finally:
        sys.settrace(None)
    return pairs
