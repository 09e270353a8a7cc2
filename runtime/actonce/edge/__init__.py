"""The edge: the only modules of the runtime that touch the clock, the disk, threads, the event loop or the network."""
