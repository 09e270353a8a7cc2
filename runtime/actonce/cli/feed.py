"""`actonce feed`: a place to post to, for trying things out."""

from __future__ import annotations

import errno
from contextlib import suppress

import anyio
import click

from actonce.cli.failure import Failure
from actonce.cli.show import cell
from actonce.demo.feed import Feed, Post


@click.command(epilog="Example: actonce feed --port 7430, and in the agent HttpSink('http://127.0.0.1:7430/posts')")
@click.option("--port", type=click.IntRange(0, 65_535), default=7430, show_default=True, help="0 takes any free one.")
@click.option(
    "--delay-ms",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="MS",
    help="Wait so long, on average, before each answer to a post: time for a sender to die in.",
)
@click.option("--quiet", is_flag=True, help="Do not print the posts.")
def feed(port: int, delay_ms: float, quiet: bool) -> None:
    """Run a small server that records every post and prints it as it comes.

    It throws away no duplicates: what is posted twice stands there twice. POST /posts takes JSON, GET /posts lists all,
    GET /posts/by-key/KEY answers whether a post with that Idempotency-Key came.
    """
    seen: set[str | None] = set()

    def show(post: Post) -> None:
        again = " AGAIN" if post.key is not None and post.key in seen else ""
        seen.add(post.key)
        click.echo(f"{post.id}{again} {cell(post.key)} {cell(post.body)}")

    async def serve() -> None:
        try:
            async with Feed(port=port, delay_ms=delay_ms, on_post=None if quiet else show) as server:
                click.echo(f"feed at {server.url}/posts")
                await anyio.sleep_forever()
        except OSError as error:
            busy = "another process listens there; --port takes another one"
            why = busy if error.errno == errno.EADDRINUSE else error.strerror
            raise Failure(f"the feed cannot listen on port {port}: {why}") from None

    with suppress(KeyboardInterrupt):
        anyio.run(serve)
