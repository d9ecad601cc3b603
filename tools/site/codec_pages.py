"""The reference of the codecs: the first page, from their dataclasses."""

from __future__ import annotations

from collections.abc import Iterator

from codecs_core.codec import Parameter
from codecs_core.registry import FIRST_PARTY, default_registry


def pages() -> dict[str, str]:
    """Return the page by its place."""
    return {"codecs/index.md": "".join(_page())}


def _page() -> Iterator[str]:
    registry = default_registry()
    rows = [(name, registry[name]) for name in ("none", *sorted(FIRST_PARTY))]
    yield (
        "# Codecs\n\n"
        "What the codecs of this repository are called, and what each takes. `multifd codecs`\n"
        "shows those that are installed on a host, with their backends.\n\n"
        "| codec | QEMU's method | files | distribution |\n|---|---|---|---|\n"
    )
    for name, info in rows:
        method = "by name" if info.method is None else info.method
        files = f"`{info.suffix}`" if info.suffix else ""
        title = f"[`{name}`]({name}.md)" if info.parameters else f"`{name}`"
        yield f"| {title} | {method} | {files} | `{info.distribution}` |\n"
    yield (
        "\nA codec that QEMU has no method for is agreed on by its name in the handshake, and\n"
        "travels between ends of this project alone. *Files* is the ending of its standard file\n"
        "format.\n\n"
        "## Parameters\n\n"
        "Each is an option of [`multifd send`](../cli/send.md) with `--` in front, and of\n"
        "[`codecs_core.Sender`](../api/transfers.md) without `multifd-` and the codec's name. A\n"
        "*local* one concerns its own end alone, and is an option of\n"
        "[`multifd recv`](../cli/recv.md), too.\n\n"
    )
    for name, info in rows:
        if info.parameters:
            yield f"### {name}\n\n| parameter | values | default | |\n|---|---|---|---|\n"
            for each in info.parameters:
                default = str(each.default).lower() if each.kind is bool else each.default
                meaning = f"{each.help} *(local)*" if each.local else each.help
                yield f"| `{each.name}` | {_values(each)} | `{default}` | {meaning} |\n"
            yield "\n"


def _values(parameter: Parameter) -> str:
    if parameter.choices is not None:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{parameter.minimum} to {parameter.maximum}"
    return parameter.expectation
