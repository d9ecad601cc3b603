"""Hooks of mkdocs: pages from elsewhere in the repository, and pages that are made from the code.

Pages are written for GitHub, too: they link to each other as files of the repository. A link to a
file that is a page of the site leads to that page; to another file of the repository, it is text.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import codec_pages
import command_pages
from mkdocs.structure.files import File

from codecs_core.registry import ALLOW_LIST, FIRST_PARTY

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

# The pages are the same wherever they are made.
os.environ[ALLOW_LIST] = ",".join(sorted(FIRST_PARTY))

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "hosts.md": "tests/hosts/README.md",
    **{
        f"{place}/{readme.parent.name}.md": str(readme.relative_to(ROOT))
        for place, kind in (("codecs", "plugins"), ("integrations", "integrations"))
        for readme in sorted(ROOT.glob(f"{kind}/*/README.md"))
    },
    "codecs/xz.md": "examples/codecs-core-xz/README.md",
}
"""Pages of the site that are files outside of docs/."""

_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]"
    r"\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def made() -> dict[str, str]:
    """Return the pages that are made from the code: place → Markdown."""
    return {**command_pages.pages(), **codec_pages.pages()}


def on_config(config: MkDocsConfig) -> None:
    """Put what the directories of the navigation stand for into their place."""
    there = [
        *(str(page.relative_to(config.docs_dir)) for page in Path(config.docs_dir).rglob("*.md")),
        *(uri for uri, source in ELSEWHERE.items() if (ROOT / source).exists()),
        *made(),
    ]
    config.nav = _filled(config.nav, there)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in docs/."""
    for uri, source in ELSEWHERE.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for uri, text in made().items():
        files.append(File.generated(config, uri, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links between files of the repository to pages of the site."""
    if page.parent is None:
        # It is a tab of its own: there is nothing to list beside it.
        page.meta["hide"] = ["navigation"]
    source = page.file.abs_src_path
    if source is None:
        return markdown
    pages = {Path(each.abs_src_path): each.src_uri for each in files if each.abs_src_path}

    def led(link: re.Match[str]) -> str:
        target = Path(source, "..", link["path"]).resolve()
        page_of = {ROOT: ROOT / "docs/index.md"}.get(target, target)
        uri = pages.get(page_of, pages.get(page_of / "README.md"))
        if uri is not None:
            path = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri))
            return f"{link['mark']}[{link['text']}]({path}{link['anchor'] or ''})"
        return link["text"] if target.exists() else link[0]

    parts = _FENCE.split(markdown)
    parts[::2] = (_LINK.sub(led, part) for part in parts[::2])
    return "".join(parts)


def _filled(entries: Any, there: list[str]) -> list[Any]:
    """Return the navigation with directories expanded, and without those that are not there."""
    filled: list[Any] = []
    for entry in entries:
        [(title, place)] = entry.items()
        if isinstance(place, list):
            filled.append({title: _filled(place, there)})
        elif place.endswith("/"):
            inside = [uri for uri in there if uri.startswith(place)]
            if inside:
                filled.append({title: sorted(inside, key=lambda uri: not uri.endswith("index.md"))})
        else:
            filled.append(entry)
    return filled
