"""What tests read out of a page."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class Numeral:
    """A number on a page: its field of the recommendation, exact value and text."""

    field: str | None
    value: str
    text: str = ""


@dataclass
class PageReader(HTMLParser):
    """Collects a page's numbers, its words, its embedded JSON and what it would load."""

    numerals: list[Numeral] = field(default_factory=list)
    words: str = ""
    embedded: dict[str, str] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    inside: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a tag says."""
        given = {name: value or "" for name, value in attrs}
        self.loaded += [given[name] for name in ("src", "href", "data", "action") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        if tag == "data":
            self.numerals.append(Numeral(given.get("data-field"), given["value"]))
        if tag in ("data", "script", "style"):
            self.inside.append((tag, given.get("id")))

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag whose text is kept apart."""
        if self.inside and self.inside[-1][0] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        """Put text where it belongs."""
        tag, name = self.inside[-1] if self.inside else ("", None)
        if tag == "data":
            self.numerals[-1].text += data
        if tag == "script" and name is not None:
            self.embedded[name] = self.embedded.get(name, "") + data
        if tag not in ("script", "style"):
            self.words += data

    def json(self, name: str) -> Any:
        """The embedded JSON of that id."""
        return json.loads(self.embedded[name])


def read_page(html: str) -> PageReader:
    """What a page says."""
    reader = PageReader()
    reader.feed(html)
    reader.words = " ".join(reader.words.split())
    return reader
