"""Redis 7 of Debian behind Sentinel and as a cluster, and with the certificates of both sides."""

import shutil
from pathlib import Path

import pytest

from storage.errors import Unavailable
from storage.redis.presence import PresenceStore
from tests.services.redis7 import Redis7
from tests.services.site import Site
from tests.support.buses import FAILOVER_SECONDS, hears, open_servers, running_bus, works
from tests.support.redises import running_redis_cluster, running_sentinels
from tests.support.waiting import wait_for


def program() -> str:
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed")
    return found


@pytest.mark.short
async def test_failover_by_redis_sentinel_is_followed() -> None:
    heard: list[bytes] = []
    with running_sentinels(program=program()) as watched:
        async with open_servers(watched.url()) as servers, running_bus(servers, heard) as bus:
            store = PresenceStore(servers, namespace="n")
            assert await store.beat()
            before = watched.primary()
            before.kill()
            await wait_for(lambda: watched.primary() is not before, limit_seconds=FAILOVER_SECONDS, what="the failover")
            await wait_for(lambda: works(store), limit_seconds=FAILOVER_SECONDS, what="presence")
            await wait_for(lambda: hears(bus, heard, bus), limit_seconds=FAILOVER_SECONDS, what="the bus")


@pytest.mark.short
async def test_death_of_a_clusters_node_is_followed() -> None:
    heard: list[bytes] = []
    with running_redis_cluster(program=program()) as cluster:
        async with open_servers(cluster.url()) as servers, running_bus(servers, heard) as bus:
            store = PresenceStore(servers, namespace="n")
            assert await store.beat()
            cluster.nodes[0].kill()
            assert not await works(store)
            await wait_for(lambda: works(store), limit_seconds=FAILOVER_SECONDS, what="presence")
            await wait_for(lambda: hears(bus, heard, bus), limit_seconds=FAILOVER_SECONDS, what="the bus")


@pytest.mark.short
async def test_certificates_of_both_sides_are_given_by_the_url(site: Site, tmp_path: Path) -> None:
    redis = Redis7(site, has_tls=True)
    redis.start()
    redis.cli("CONFIG", "SET", "tls-ca-cert-file", str(redis.certificate_file))
    redis.cli("CONFIG", "SET", "tls-auth-clients", "yes")
    own = f"&ssl_certfile={redis.certificate_file}&ssl_keyfile={redis.directory / 'key.pem'}"
    async with open_servers(redis.url() + own) as servers:
        assert await PresenceStore(servers, namespace="n").beat()
    async with open_servers(redis.url()) as servers:
        with pytest.raises(Unavailable):
            await PresenceStore(servers, namespace="n").beat()
    unknown = redis.url().replace("?", "?ssl_check_hostname=true&").partition("ssl_ca_certs")[0].rstrip("&?")
    async with open_servers(unknown + own) as servers:
        with pytest.raises(Unavailable, match="its certificate is not trusted; name the authority by ssl_ca_certs="):
            await PresenceStore(servers, namespace="n").beat()
    async with open_servers(unknown.replace("ssl_check_hostname=true", "ssl_cert_reqs=none") + own) as servers:
        assert await PresenceStore(servers, namespace="n").beat()
    async with open_servers(f"redis://localhost:{redis.port}") as servers:
        with pytest.raises(Unavailable):
            await PresenceStore(servers, namespace="n").beat()
