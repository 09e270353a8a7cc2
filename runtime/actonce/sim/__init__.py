"""The simulated world: virtual time, a network, disks and sinks that fail by plan, all from one seed."""
