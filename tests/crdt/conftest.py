"""Hypothesis for these tests: no deadlines (a busy machine is no failure), and how to repeat a failure is printed."""

from hypothesis import HealthCheck, settings

settings.register_profile("crdt", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("crdt")
