"""`actonce hook`: what the sender of a webhook has to be told."""

from __future__ import annotations

from pathlib import Path

import click

from actonce.cli.options import asking, read_secret
from actonce.cli.show import print_json, print_lines
from actonce.webhooks import hook_token


@click.command(epilog="Example: actonce hook shop/orders --at example.org:7421 --secret-file ./secret")
@click.argument("path")
@asking
def hook(path: str, at: str, secret_file: Path | None, as_json: bool) -> None:
    """Print the URL of the webhook PATH, and the header that opens it: this webhook, and nothing else.

    Any replica takes its events, and one that is sent to several is one task. Nothing is asked over the network. Put a
    proxy with TLS before a replica that others reach over a network: its port speaks plain HTTP.
    """
    secret = read_secret(secret_file)
    url = f"http://{at}/hook/{path}"
    header = f"Authorization: Bearer {hook_token(secret, path)}" if secret is not None else None
    if as_json:
        print_json({"url": url, "header": header})
    else:
        print_lines([url, header or "no header: without a secret only programs on the replica's own host can send"])
