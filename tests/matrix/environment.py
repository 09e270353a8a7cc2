"""Variables by which the tests tell a replica what only it has to know."""

TOKENS = "ACTONCE_MATRIX_TOKENS"
"""JSON: the access token of each replica, by its name."""
FOLDER = "ACTONCE_MATRIX_FOLDER"
"""Where replicas write how far they have heard."""
PLANT = "ACTONCE_MATRIX_PLANT"
"""A bug to plant: see `tests.matrix.agent`."""
