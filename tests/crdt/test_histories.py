"""Genuine traffic is never refused, and everybody ends with the same content."""

import pytest

from .histories import Mesh, check


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_converge(seed: int) -> None:
    mesh = Mesh(seed, replicas=2 + seed % 3)
    for _ in range(6):
        mesh.run(25)
        for node in mesh.nodes:
            check(node.document)
            assert {entry.id: entry for entry in node.document.entries()} == node.present
    mesh.settle()
    assert len({node.document.digest for node in mesh.nodes}) == 1
    assert len({node.document.encoded_state_vector() for node in mesh.nodes}) == 1
    first, *others = [node.present for node in mesh.nodes]
    assert all(present == first for present in others)


def test_the_histories_are_worth_their_name() -> None:
    meshes = [Mesh(seed) for seed in range(20)]
    for mesh in meshes:
        mesh.run(150)
    assert sum(mesh.counts.applied for mesh in meshes) > 400
    assert sum(mesh.counts.gaps for mesh in meshes) > 20
    assert sum(mesh.counts.nothing_new for mesh in meshes) > 50
    assert sum(mesh.counts.restarts for mesh in meshes) > 50
    assert sum(mesh.counts.truncations for mesh in meshes) > 50
