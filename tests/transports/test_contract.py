"""All our transports keep the contract."""

from collections.abc import Iterator

import pytest

from actonce_transports.contract_suite import TransportContract
from actonce_transports.contract_tools import Mesh

from .meshes import SECRET, MemoryMesh, WebsocketMesh


class TestMemory(TransportContract):
    @pytest.fixture
    def mesh(self) -> Mesh:
        return MemoryMesh()


class TestWebsocket(TransportContract):
    @pytest.fixture
    def mesh(self) -> Iterator[Mesh]:
        mesh = WebsocketMesh()
        yield mesh
        mesh.close()


class TestWebsocketWithSecret(TransportContract):
    @pytest.fixture
    def mesh(self) -> Iterator[Mesh]:
        mesh = WebsocketMesh(SECRET)
        yield mesh
        mesh.close()
