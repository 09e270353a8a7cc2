"""The parts of `actonce demo`: a feed to post to, and a proxy that can cut a replica off."""
