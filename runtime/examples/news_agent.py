"""Posts each new entry of an RSS or Atom feed, once, however many replicas run: one of them polls, the others stand by.

Start `actonce feed` first: that is where the posts go. NEWS_URL names the feed.
"""

import hashlib
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

import httpx

from actonce import Agent, Context, HttpSink, Item, Polled, SourceContext

URL = os.environ.get("NEWS_URL", "http://127.0.0.1:8000/feed.xml")
FEED = "http://127.0.0.1:7430/posts"
BYTES_MAX = 5_000_000
ENTRIES_MAX = 500
"""The newest of a feed; what is older is not looked at."""
AT_FIRST = 3
"""Of the entries that are there at the first look so many are new."""

agent = Agent("kevin")
agent.sink("room", HttpSink(FEED, lookup_url=FEED + "/by-key/{key}"))


@agent.poll("1m", kind="entry", timeout="40s")
async def news(ctx: SourceContext, cursor: dict[str, Any] | None) -> Polled:
    """The cursor remembers which entries the feed held, and what lets the server say that nothing changed."""
    known: dict[str, Any] = cursor or {"etag": "", "modified": "", "seen": None}
    conditions = {"if-none-match": known["etag"], "if-modified-since": known["modified"]}
    async with (
        httpx.AsyncClient(timeout=20, follow_redirects=True) as client,
        client.stream("GET", URL, headers={name: value for name, value in conditions.items() if value}) as answer,
    ):
        if answer.status_code == 304:
            return Polled([], known)
        answer.raise_for_status()
        data = bytearray()
        async for part in answer.aiter_bytes():
            data += part
            if len(data) > BYTES_MAX:
                raise ValueError(f"the feed has more than {BYTES_MAX:,} bytes")
    entries = read_feed(bytes(data))[:ENTRIES_MAX]
    seen = set(known["seen"] or ())
    new = [entry for entry in entries if entry.digest not in seen]
    if known["seen"] is None:
        new = new[:AT_FIRST]
    known = {
        "etag": answer.headers.get("etag", ""),
        "modified": answer.headers.get("last-modified", ""),
        "seen": sorted(entry.digest for entry in entries),
    }
    return Polled([Item(entry.digest, {"title": entry.title, "link": entry.link}) for entry in reversed(new)], known)


@agent.task("entry", example={"title": "an example", "link": "https://example.org/1"})
async def entry(ctx: Context, found: dict[str, str]) -> None:
    await ctx.post("room", {"text": f"{found['title']} {found['link']}".strip()})


@dataclass(frozen=True)
class Entry:
    """One entry of a feed."""

    id: str
    title: str
    link: str

    @property
    def digest(self) -> str:
        """Names it: ids may be as long as they like."""
        return hashlib.blake2b(self.id.encode(), digest_size=8).hexdigest()


class _Builder(ET.TreeBuilder):
    """Feeds need no document type, and entities that expand without end come in one."""

    def doctype(self, *parts: Any) -> None:
        raise ValueError("the feed declares a document type: it is not read")


def read_feed(data: bytes) -> list[Entry]:
    """The entries of an RSS (0.9x, 1.0, 2.0) or Atom document, in its order, each once.

    Raises:
        ValueError: not a feed.
    """
    try:
        root = ET.fromstring(data, ET.XMLParser(target=_Builder()))
    except ET.ParseError as error:
        raise ValueError(f"not a feed: {error}") from None
    if _local(root) not in ("rss", "feed", "rdf"):
        raise ValueError(f"not a feed: it begins with <{_local(root)}>")
    found: dict[str, Entry] = {}
    for element in root.iter():
        if _local(element) in ("item", "entry"):
            parts = {_local(part): (part.text or "").strip() for part in reversed(element)}
            link = next((part.get("href", "") for part in element if _is_link(part)), "") or parts.get("link", "")
            title = " ".join("".join(part.itertext()) for part in element if _local(part) == "title").strip()
            name = parts.get("id") or parts.get("guid") or link or title
            if name:
                found.setdefault(name, Entry(name, title[:500], link[:2000]))
    return list(found.values())


def _local(element: ET.Element) -> str:
    """The name without its namespace."""
    return str(element.tag).rpartition("}")[2].lower()


def _is_link(element: ET.Element) -> bool:
    return (
        _local(element) == "link" and element.get("rel", "alternate") == "alternate" and element.get("href") is not None
    )
