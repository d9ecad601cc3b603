"""What shells complete beside the names of commands, options and codecs: URIs and files."""

from __future__ import annotations

import functools
import os

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_file", "complete_source", "complete_uri", "uri_option"]

_FORMS = {
    "tcp:": "HOST:PORT",
    "unix:": "the path of a socket",
    "fd:": "the number of an open descriptor",
    "exec:": "a command",
}
_UNIX = "unix:"


def complete_file(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Leave it to the shell, which knows about files."""
    return [CompletionItem(incomplete, type="file")]


def complete_uri(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the kinds of URI, and behind ``unix:`` what is there."""
    if not incomplete.startswith(_UNIX):
        return [
            CompletionItem(form, help=rest)
            for form, rest in _FORMS.items()
            if form.startswith(incomplete)
        ]
    place, beginning = os.path.split(incomplete.removeprefix(_UNIX))
    try:
        entries = sorted(os.scandir(place or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        CompletionItem(_UNIX + os.path.join(place, entry.name) + ("/" if entry.is_dir() else ""))
        for entry in entries
        if entry.name.startswith(beginning)
    ]


def complete_source(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer files; behind the first of them URIs too, for the next word may be the last.

    click has taken that first one for the URI.
    """
    uris = complete_uri(ctx, param, incomplete) if ctx.params.get("uri") else []
    return [*uris, *complete_file(ctx, param, incomplete)]


uri_option = functools.partial(click.option, metavar="URI", shell_complete=complete_uri)
"""`click.option` for an option whose value is a URI."""
