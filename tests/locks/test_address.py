"""URLs of lock services, and what an agent without one is told."""

import pytest
from click.testing import CliRunner

from actonce import Agent, Replica
from actonce.cli.main import commands
from actonce.errors import ConfigError
from actonce.locks import parse_lock_url
from actonce.locks.nats import NatsLocks
from actonce.locks.service import LockRefused

from .servers import Server, nats_server, running


def test_parts() -> None:
    address = parse_lock_url("nats+tls://me:p%40ss@one.example,[::1]:4223/agents")
    assert (address.scheme, address.tls, address.folder) == ("nats", True, "agents")
    assert address.hosts == ("one.example:4222", "[::1]:4223")
    assert (address.user, address.password) == ("me", "p@ss")
    assert address.where == "nats+tls://one.example:4222,[::1]:4223/agents"


def test_defaults_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTONCE_LOCK_USER", "token")
    address = parse_lock_url("etcd://localhost")
    assert (address.where, address.user) == ("etcd://localhost:2379/actonce", "token")


@pytest.mark.parametrize(
    "url",
    ["redis://h", "nats:h", "nats+ssl://h", "nats://h:0", "nats://h:99999", "nats://", "nats://h/a.b", "nats://a b"],
)
def test_not_a_url(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is not the URL|is not HOST|cannot name a bucket"):
        parse_lock_url(url)


def test_credentials_are_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lock_url("nats://me:secret@host:0/x")
    assert "secret" not in str(caught.value)


def fenced_agent() -> Agent:
    agent = Agent("kevin")
    agent.task("pay", guard="fenced")(lambda ctx, payload: None)
    return agent


def test_without_a_lock_service() -> None:
    """It says what to do."""
    with pytest.raises(ConfigError, match=r"pay: guard='fenced' needs a lock service: declare one with agent\.lock"):
        Replica(fenced_agent(), name="a", data="unused")
    with pytest.raises(ConfigError, match="is not the URL of a lock service"):
        fenced_agent().lock("postgres://host")
    assert CliRunner().invoke(commands, ["run", "nowhere:agent", "--name", "a", "--lock", "nats://h"]).exit_code != 0


def test_a_bucket_in_memory_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A restart would forget who holds what."""
    import nats
    from nats.js.api import KeyValueConfig, StorageType

    with running(nats_server(tmp_path_factory.mktemp("nats"))) as server:

        async def test() -> None:
            client = await nats.connect(f"nats://127.0.0.1:{server.port}")
            for name, storage, ttl in (("fast", StorageType.MEMORY, None), ("short", StorageType.FILE, 60.0)):
                await client.jetstream().create_key_value(KeyValueConfig(bucket=name, storage=storage, ttl=ttl))
            await client.close()
            for name, why in (("fast", "is in memory"), ("short", "forgets keys after 60 s")):
                locks = NatsLocks(parse_lock_url(f"nats://127.0.0.1:{server.port}/{name}"))
                with pytest.raises(LockRefused, match=why):
                    await locks.get("k")
                await locks.aclose()

        server.run(test)


def test_wrong_credentials_are_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = nats_server(tmp_path_factory.mktemp("nats"), "--user", "me", "--pass", "right")
    server.url = server.url.replace("//", "//me:right@")
    with running(server):
        server.run(lambda: refused(server))


async def refused(server: Server) -> None:
    locks = NatsLocks(parse_lock_url(server.url.replace("right", "wrong")))
    with pytest.raises(LockRefused, match="it wants other credentials"):
        await locks.get("k")
    await locks.aclose()
