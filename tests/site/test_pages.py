"""The built site: its links, what it asks of others (nothing), and that the reference is whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import click
import pytest
import yaml
from mkdocstrings import Inventory

import codecs_core
from codecs_core import forecast, hardware
from codecs_core.cli import COMMANDS, cli

from .conftest import ROOT

HOST = "http://site"
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "use": "href"}
ELSEWHERE = re.compile(r"""(?:url\(|@import\s+)["']?(?:https?:)?//[^"')]+""")


class Document(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {"", "__top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "canonical" not in given.get("rel", ""):
            self.loads.append(given["href"])
        elif (name := LOADS.get(tag)) and name in given:
            self.loads.append(given[name])


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[str, Document]:
    """The pages by their address on the site."""
    return {
        f"/{path.relative_to(site)}".removesuffix("index.html"): Document(path)
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_every_link_leads_to_a_page_and_a_place_on_it(
    site: Path, documents: dict[str, Document]
) -> None:
    broken = []
    for place, document in documents.items():
        for link in document.links:
            target, anchor = urldefrag(urljoin(HOST + place, link))
            if not target.startswith(HOST):
                continue
            path = unquote(urlsplit(target).path)
            if path in documents:
                whole = anchor in documents[path].anchors
            else:
                whole = (site / path[1:]).is_file()
            if not whole:
                broken.append(f"{place}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_another_host(site: Path, documents: dict[str, Document]) -> None:
    loaded = {
        each
        for place, document in documents.items()
        for each in document.loads
        if not urljoin(HOST + place, each).startswith((HOST, "data:"))
    }
    for path in (each for kind in ("css", "svg") for each in site.rglob(f"*.{kind}")):
        loaded |= {f"{path.name}: {each}" for each in ELSEWHERE.findall(path.read_text())}
    assert loaded == set()


def test_no_page_is_missing_from_the_navigation() -> None:
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert pages - named == set(), "give each a line below nav in mkdocs.yml"


def test_the_reference_has_every_public_name(site: Path) -> None:
    with (site / "objects.inv").open("rb") as file:
        inventory = Inventory.parse_sphinx(file)
    public = {f"codecs_core.{name}" for name in codecs_core.__all__}
    for module in (forecast, hardware):
        public |= {f"{getattr(module, name).__module__}.{name}" for name in module.__all__}
    assert public - set(inventory) == set(), "give each a line on a page below docs/api"


def test_docstrings_are_read_as_they_are_meant(site: Path, documents: dict[str, Document]) -> None:
    """Blocks of code, code, and names that lead to what they name."""
    text = (site / "api/transfers/index.html").read_text()
    assert re.findall(r"``|<p>[^<]*::</p>", text) == []
    linked = {link.rpartition("#")[2] for link in documents["/api/transfers/"].links}
    named = {"codecs_core.errors.LinkError", "codecs_core.MemoryBlock", "codecs_core.Sender.sync"}
    assert named - linked == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_option(name: str, documents: dict[str, Document]) -> None:
    context = click.Context(cli, info_name="multifd")
    command = cli.get_command(context, name)
    assert command is not None
    anchors = documents[f"/cli/{name}/"].anchors
    for prefix, each in _leaves(command):
        with click.Context(each, parent=context) as inside:
            options = [
                p for p in each.get_params(inside) if isinstance(p, click.Option) and not p.hidden
            ]
        for option in options:
            assert prefix + max(option.opts, key=len).lstrip("-") in anchors


def _leaves(command: click.Command) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        return [(f"{name}-", each) for name, each in command.commands.items()]
    return [("", command)]
