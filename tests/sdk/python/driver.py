"""Drives a running server through the published Python SDK: `driver.py sync|async`.

One line a check, `ok NAME` or `FAILED NAME: why`; the exit status is 3 when one failed. The checks are
written once: what a call of the synchronous client returns and what one of the asynchronous client
returns after an await must be the same.
"""

import asyncio
import sys

import muxi

import checking
import chats
import following
import jobs
import manager
import memories
import operating
import people
from checking import Watched, result
from settings import ADMIN_KEY, CLIENT_KEY, FORMATION_ID, KEY_ID, SECRET, SERVER_URL

FLAVOURS = {
    "sync": (muxi.ServerClient, muxi.FormationClient),
    "async": (muxi.AsyncServerClient, muxi.AsyncFormationClient),
}
# An exit status of its own: a driver that breaks down ends with 1.
CHECKS_FAILED = 3


def main() -> int:
    asyncio.run(drive(*FLAVOURS[sys.argv[1]]))
    return CHECKS_FAILED if checking.failures else 0


async def drive(server_class, formation_class):
    def formation(address, *, admin_key=ADMIN_KEY, client_key=CLIENT_KEY):
        client = formation_class(**address, admin_key=admin_key, client_key=client_key)
        return Watched(client, "formation")

    server = Watched(server_class(url=SERVER_URL, key_id=KEY_ID, secret_key=SECRET), "server")
    await manager.check_views(server)
    await manager.check_signatures(server_class)
    await manager.check_retries(server_class)
    port = (await result(server.get_formation(FORMATION_ID)))["port"]
    proxied = {"server_url": SERVER_URL, "formation_id": FORMATION_ID}
    direct = {"base_url": f"http://127.0.0.1:{port}/v1"}
    for way, address in (("proxied", proxied), ("direct", direct)):
        client = formation(address)
        await operating.check_views(way, client)
        await chats.run(way, client)
        await following.run(way, client)
        await memories.run(way, client)
        await people.run(way, client)
        await jobs.run(way, client)
        await operating.check_secrets_and_audit(way, client)
        await operating.check_unserved(way, client)
        await operating.check_keys(
            way,
            formation(address, admin_key="wrong", client_key="wrong"),
            formation(address, admin_key=CLIENT_KEY, client_key=ADMIN_KEY),
        )
    await manager.check_updates(server)
    await manager.check_second(server)
    await manager.check_lifecycle(server, formation(proxied), formation(direct))
    checking.check_coverage(checking.public_methods(server_class, formation_class))


sys.exit(main())
