"""The example that polls a feed: what it reads of RSS and Atom, what it asks the server, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest

from actonce.polling import read_polled

PATH = Path(__file__).resolve().parents[2] / "runtime/examples/news_agent.py"

RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>
<item><guid>tag:1</guid><title>One &amp; <![CDATA[only]]></title><link>https://example.org/1</link></item>
<item><link>https://example.org/2</link><title>Two</title></item>
<item><description>nothing names it</description></item></channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>
<entry><id>urn:1</id><title type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">One <b>bold</b></div></title>
<link rel="self" href="https://example.org/self"/><link href="https://example.org/1"/></entry>
<entry><id>urn:1</id><title>again</title></entry></feed>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel rdf:about="x"/><item rdf:about="y"><title>One</title><link>https://example.org/1</link></item></rdf:RDF>"""
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><rss><item>&b;</item></rss>'


@pytest.fixture(name="example")
def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("news_agent", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "news_agent", module)
    spec.loader.exec_module(module)
    return module


def test_three_sorts_of_feeds(example: ModuleType) -> None:
    def read(text: str) -> list[tuple[str, str, str]]:
        return [(entry.id, entry.title, entry.link) for entry in example.read_feed(text.encode())]

    assert read(RSS) == [
        ("tag:1", "One & only", "https://example.org/1"),
        ("https://example.org/2", "Two", "https://example.org/2"),
    ]
    assert read(ATOM) == [("urn:1", "One bold", "https://example.org/1")]
    assert read(RDF) == [("https://example.org/1", "One", "https://example.org/1")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "declares a document type"),
        ("<html/>", "begins with <html>"),
        ("<rss>", "not a feed: "),
        ("", "not a feed: "),
    ],
)
def test_what_is_no_feed_is_refused(example: ModuleType, text: str, words: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(ValueError, match=words):
            example.read_feed(text.encode(encoding))


def feed_of(numbers: range) -> str:
    items = "".join(f"<item><guid>{n}</guid><title>Entry {n}</title></item>" for n in reversed(numbers))
    return f"<rss><channel>{items}</channel></rss>"


def test_only_what_is_new_becomes_a_task(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[int, str, str]] = []
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status, text, etag = answers.pop(0)
        return httpx.Response(status, text=text, headers={"etag": etag})

    client = httpx.AsyncClient
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: client(transport=transport, **options))
    poll = example.agent.polls["news"]

    def look(cursor: Any, *given: tuple[int, str, str]) -> tuple[list[Any], Any]:
        answers.extend(given)

        async def once() -> Any:
            return await poll.function(None, cursor)

        polled = anyio.run(once)
        read_polled(poll, polled, cursor, example.agent.tasks)  # it can be stored
        return [item.payload["title"] for item in polled.items], json.loads(json.dumps(polled.cursor))

    titles, cursor = look(None, (200, feed_of(range(10)), '"1"'))
    assert titles == ["Entry 7", "Entry 8", "Entry 9"]
    titles, same = look(cursor, (304, "", '"1"'))
    assert (titles, same) == ([], cursor)
    assert asked[-1].headers["if-none-match"] == '"1"'
    titles, cursor = look(cursor, (200, feed_of(range(5, 12)), '"2"'))
    assert titles == ["Entry 10", "Entry 11"]
    with pytest.raises(httpx.HTTPStatusError):
        look(cursor, (500, "", ""))
    monkeypatch.setattr(example, "BYTES_MAX", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        look(cursor, (200, feed_of(range(50)), ""))
