"""`actonce doubts`: effects of which nobody knows whether they happened, and what a person says about them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import limit_option, print_json, print_rows

ANSWERED = {
    "posted": "counts as posted",
    "skipped": "is given up",
    "resend": "is sent again, once: now if its handler waits for it, else when its task is retried",
}


@click.group(epilog="Example: actonce doubts list")
def doubts() -> None:
    """Effects of which nobody knows whether they happened: list them, and settle them.

    A replica died between sending and writing down the answer, and the sink could not tell. A task of a kind with
    on_doubt="ask" waits for your word; the other rules settle most doubts themselves.
    """


@doubts.command("list", epilog="Example: actonce doubts list --all --json")
@click.option("--all", "settled", is_flag=True, help="Also those that are settled, and how they ended.")
@limit_option
@asking
def list_doubts(settled: bool, limit: int, at: str, secret_file: Path | None, as_json: bool) -> None:
    """List the doubts: the effect, for whom it waits, where it went, since when, and its body."""
    rows = Client(at, secret_file).get("/doubts", {"limit": str(limit), "all": str(int(settled))})
    columns = ("effect", "waits", *(("settled",) if settled else ()), "sink", "since", "sent_by", "body")
    print_rows(rows, columns, as_json)


@doubts.command(epilog="Example: actonce doubts resolve 'pay/order-7/#1' --posted")
@click.argument("effect")
@click.option("--posted", "answer", flag_value="posted", help="It happened: the handler goes on, without a receipt.")
@click.option("--resend", "answer", flag_value="resend", help="It did not happen, or twice does no harm: send it once.")
@click.option("--skip", "answer", flag_value="skip", help="Give it up: it is not sent; the handler goes on.")
@asking
def resolve(effect: str, answer: str | None, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Say what became of EFFECT, at any replica. Of two answers the one that sends nothing counts.

    The answer is good for one sending: if that ends in doubt, too, you are asked again.
    """
    if answer is None:
        raise click.UsageError("say one of --posted, --resend, --skip")
    said = Client(at, secret_file).post(f"/doubts/{quote(effect, safe='')}", {"answer": answer})
    if as_json:
        print_json(said)
    else:
        click.echo(f"{said['effect']} {ANSWERED[said['answer']]}")
