"""The command line. A face only: what it knows of a replica it asks over the replica's port, as any program could."""

from actonce.cli.main import main

__all__ = ["main"]
