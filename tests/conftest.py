"""All tests: fewer looks for garbage. What was imported stays for good, and a simulation makes few cycles, so looking
for them every 700 objects takes a tenth of its time.
"""

import gc

import pytest

OBJECTS_BETWEEN_LOOKS = 50_000


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, 20, 20)
