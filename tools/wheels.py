"""Builds every distribution of the checkout into dist/: an sdist, and a wheel from that sdist.

    python tools/wheels.py [--check] [--outdir DIR] [-C KEY[=VALUE]]... [DIRECTORY]...

DIRECTORY is a distribution's; by default all are built: the core, plugins/*, integrations/*.
The files have the time of the last commit, or ``SOURCE_DATE_EPOCH``. ``--check`` builds all of it
a second time, and fails where a byte differs or a file names the place where it was built.

A wheel with C code gets the oldest manylinux tag that it fits (auditwheel). Nothing is bundled:
libqatzip, libqpl, ISA-L and libdeflate are the system's, and are left out of the question, for the
plugins work without them. tools/libqpl has a static library only, so that one is not built against.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SYSTEM = ("libqatzip.so*", "libqpl.so*", "libisal.so*", "libdeflate.so*")


def main() -> None:
    """Build, and compare if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="build twice, and compare")
    parser.add_argument("--outdir", type=Path, default=ROOT / "dist")
    parser.add_argument("-C", dest="settings", action="append", default=[], metavar="KEY[=VALUE]")
    parser.add_argument("directories", nargs="*", type=Path, metavar="DIRECTORY")
    given = parser.parse_args()
    directories = [each.resolve() for each in given.directories] or list(distributions())
    outdir = given.outdir.resolve()
    os.umask(0o022)
    built = build(directories, outdir, given.settings)
    if given.check:
        with tempfile.TemporaryDirectory() as place:
            again = build(directories, Path(place), given.settings)
            problems = [*differences(built, again), *places(built)]
        if problems:
            sys.exit("\n".join(f"error: {problem}" for problem in problems))
    for path in built:
        print(digest(path), path.name)


def distributions() -> Iterator[Path]:
    """The directories of the core, the plugins and the integrations."""
    yield ROOT
    for group in ("plugins", "integrations"):
        yield from sorted(each.parent for each in ROOT.glob(f"{group}/*/pyproject.toml"))


def build(directories: Sequence[Path], outdir: Path, settings: Sequence[str]) -> list[Path]:
    """Build the distributions' sdists and wheels into a directory, and return them."""
    outdir.mkdir(parents=True, exist_ok=True)
    if ROOT in directories:
        shutil.rmtree(ROOT / "share", ignore_errors=True)
        run("tools/share.py")
    with tempfile.TemporaryDirectory(dir=outdir) as place:
        options = [f"-C{setting}" for setting in settings]
        for each in directories:
            run("-m", "build", "--no-isolation", f"--outdir={place}", *options, str(each))
        made = Path(place, "made")
        made.mkdir()
        for file in sorted(Path(place).glob("*.*")):
            if file.name.endswith((".tar.gz", "-any.whl")):
                file.rename(made / file.name)
            else:
                repair(file, made)
        return [file.rename(outdir / file.name) for file in sorted(made.iterdir())]


def repair(wheel: Path, outdir: Path) -> None:
    """Take the run paths of this host out of a wheel's libraries, and give it its manylinux tag."""
    with tempfile.TemporaryDirectory(dir=wheel.parent) as place:
        run("-m", "wheel", "unpack", f"--dest={place}", str(wheel))
        (tree,) = Path(place).iterdir()
        for library in tree.rglob("*.so"):
            # Removed alone, it would stay in the table of strings.
            for change in (["--set-rpath", ""], ["--remove-rpath"]):
                subprocess.run(["patchelf", *change, library], env=environment(), check=True)
        run("-m", "wheel", "pack", f"--dest-dir={wheel.parent}", str(tree))
    excluded = [f"--exclude={library}" for library in SYSTEM]
    run("-m", "auditwheel", "repair", f"--wheel-dir={outdir}", *excluded, str(wheel))


def run(*arguments: str) -> None:
    """Run Python there, and show what it says only where it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nerror: {' '.join(arguments)} failed")


def environment() -> dict[str, str]:
    """The environment of builds: the same whoever builds, with the libqatzip of tools/libqatzip."""
    libqatzip = str(ROOT / "build/libqatzip/lib/pkgconfig")
    return os.environ | {
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or last_commit(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PKG_CONFIG_PATH": f"{libqatzip}:{os.environ.get('PKG_CONFIG_PATH', '')}",
    }


def last_commit() -> str:
    """The time of the last commit; 1980 outside of a repository."""
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "315532800"


def differences(first: Sequence[Path], second: Sequence[Path]) -> Iterator[str]:
    """What two builds do not have in common."""
    here, there = ({path.name: digest(path) for path in build} for build in (first, second))
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            yield f"{name} is another in a second build"


def places(built: Sequence[Path]) -> Iterator[str]:
    """The files in wheels that name this checkout."""
    for wheel in (path for path in built if path.suffix == ".whl"):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if os.fsencode(ROOT) in archive.read(name):
                    yield f"{wheel.name}: {name} names {ROOT}"


def digest(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
