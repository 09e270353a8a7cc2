"""`actonce healthcheck`: for supervisors and containers."""

from __future__ import annotations

from pathlib import Path

import click

from actonce.cli.client import Client
from actonce.cli.options import asking
from actonce.cli.show import print_json


@click.command(epilog="Example: actonce healthcheck --at 127.0.0.1:7421 || echo not ready")
@asking
def healthcheck(at: str, secret_file: Path | None, as_json: bool) -> None:
    """Exit with status 0 if a replica is up and acts, with 1 if not, and say why.

    It does not act while it starts, leaves, or is out of contact with a replica that it holds to be live.
    """
    ready, degraded = Client(at, secret_file).ready()
    if as_json:
        print_json({"ready": ready, "degraded": degraded})
    else:
        click.echo("ready" if ready else "not ready")
        for fact in degraded:
            click.echo(f"  {fact}")
    if not ready:
        raise SystemExit(1)
