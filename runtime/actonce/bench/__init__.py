"""Measurements that anyone can repeat with the installed command: `actonce bench`."""
