"""Man pages and completions: there for every command, with all that it takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tools import share

CONTEXTS = list(share.contexts(share.root()))
of_each = pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("share")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "86400")
        share.main(place)
    return place


def read(directory: Path, context: click.Context) -> str:
    name = context.command_path.replace(" ", "-")
    return (directory / f"man/man1/{name}.1").read_text()


@of_each
def test_every_command_has_a_page_that_names_its_options(
    directory: Path, context: click.Context
) -> None:
    page = read(directory, context).replace("\\-", "-")
    heads = re.findall(r"^\.TP\n\.B (.*)$", page, re.MULTILINE)
    named = {option for head in heads for option in re.findall(r"--?[a-z][\w-]*|-[1-9]\b", head)}
    options = [
        each
        for each in context.command.get_params(context)
        if isinstance(each, click.Option) and not each.hidden
    ]
    assert named == {name for each in options for name in (*each.opts, *each.secondary_opts)}
    assert page.startswith(f'.TH "{context.command_path.replace(" ", "-").upper()}" 1 1970-01-02 ')
    for part in (".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"):
        assert f"\n{part}\n" in page


@of_each
def test_what_is_not_filled_stays_so(directory: Path, context: click.Context) -> None:
    page = read(directory, context)
    assert "\b" not in page
    assert page.count("\n.nf\n") == page.count("\n.fi\n")


def test_a_group_leads_to_its_commands(directory: Path) -> None:
    page = (directory / "man/man1/multifd-relay.1").read_text()
    assert ".BR multifd\\-relay\\-egress (1)" in page
    assert ".SH SEE ALSO\n.BR multifd (1)" in page


def test_examples_and_exit_statuses_are_sections(directory: Path) -> None:
    page = (directory / "man/man1/multifd.1").read_text()
    headings = re.findall(r"^\.SH (.*)$", page, re.MULTILINE)
    assert {"COMMANDS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT"} <= set(headings)


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@of_each
def test_groff_has_nothing_to_say(directory: Path, context: click.Context) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", "-k"],
        input=read(directory, context),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("place", "begins"),
    [
        ("bash-completion/completions/multifd", "_multifd_completion() {"),
        ("fish/vendor_completions.d/multifd.fish", "function _multifd_completion;"),
        ("zsh/site-functions/_multifd", "#compdef multifd"),
    ],
)
def test_completions(directory: Path, place: str, begins: str) -> None:
    script = (directory / place).read_text()
    assert script.startswith(begins)
    assert "_MULTIFD_COMPLETE" in script
