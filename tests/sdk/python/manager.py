"""The manager: what it shows, whom it refuses, updates, and a formation's life."""

import base64
import hashlib
import hmac
import json
import time
import urllib.request
from unittest import mock

from fault_proxy import FaultProxy
from muxi import errors

from checking import check, each, equal, refused, result, while_doing
from settings import BUNDLES, FORMATION_ID, KEY_ID, SECRET, SERVER_URL

SIGNATURE_SECONDS_MAX = 300
SECOND_ID = "sdk-second"


async def check_views(server):
    with check("ping"):
        equal(await result(server.ping()), len("pong"))
    with check("health"):
        health = await result(server.health())
        equal((health["status"], bool(health["version"])), ("ok", True))
    with check("status"):
        status = await result(server.status())
        equal(status["formations"]["total"], 1)
        equal(status["formations"]["running"], 1)
        assert status["server"]["version"], status
    with check("list_formations"):
        listed = await result(server.list_formations())
        found = [(it["id"], it["status"]) for it in listed["formations"]]
        equal((listed["total"], found), (1, [(FORMATION_ID, "running")]))
    with check("get_formation"):
        found = await result(server.get_formation(FORMATION_ID))
        equal((found["id"], found["status"]), (FORMATION_ID, "running"))
        equal(found["version"]["semantic"], "1.2.3")
        assert found["port"] > 0 and found["pid"] > 0, found
    with check("get_formation of an unknown one: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: server.get_formation("no-such-formation"))
        equal((error.status_code, error.details["error"]), (404, "NotFound"))


async def check_signatures(server_class):
    cases = [
        ("wrong secret", KEY_ID, "not-the-secret", 0, "Invalid signature"),
        ("unknown key", "not-the-key", SECRET, 0, "Invalid key"),
        ("expired", KEY_ID, SECRET, -SIGNATURE_SECONDS_MAX - 60, "Request expired"),
        ("from the future", KEY_ID, SECRET, SIGNATURE_SECONDS_MAX + 60, "Request expired"),
    ]
    for name, key_id, secret, shift, message in cases:
        client = server_class(url=SERVER_URL, key_id=key_id, secret_key=secret)
        for method in ("status", "list_formations"):
            with check(f"{method}, signature {name}: AuthenticationError"):
                moved = time.time() + shift
                with mock.patch("muxi.auth.time.time", return_value=moved):
                    error = await refused(errors.AuthenticationError, getattr(client, method))
                equal(error.status_code, 401)
                assert error.message.startswith(message), error.message


async def check_retries(server_class):
    """The SDK's own retry sends the same signature and idempotency key again: the act is done once."""
    with check("restart_formation, two answers are lost: done once"), FaultProxy(SERVER_URL, 2) as proxy:
        before = ended_operations("restart")
        client = server_class(url=proxy.url, key_id=KEY_ID, secret_key=SECRET, max_retries=2)
        restarted = await result(client.restart_formation(FORMATION_ID))
        equal((len(proxy.posts), len(set(proxy.posts))), (3, 1))
        equal(ended_operations("restart"), before + 1)
        equal((await result(client.get_formation(FORMATION_ID)))["pid"], restarted["pid"])
    with check("stop_formation, an answer is lost: a success, not `already stopped`"):
        with FaultProxy(SERVER_URL, 1) as proxy:
            client = server_class(url=proxy.url, key_id=KEY_ID, secret_key=SECRET, max_retries=2)
            equal((await result(client.stop_formation(FORMATION_ID)))["status"], "stopped")
            equal(len(proxy.posts), 2)
            await result(client.start_formation(FORMATION_ID))


async def version(server):
    return (await result(server.get_formation(FORMATION_ID)))["version"]["semantic"]


async def check_updates(server):
    """Each ends with the version with which it began, or a higher one."""

    async def completed(stream):
        frames = [frame async for frame in each(stream)]
        equal(frames[-1]["event"], "complete")
        assert any(frame["event"] == "progress" for frame in frames), frames
        return json.loads(frames[-1]["data"])

    with check("update_formation with a bundle in the JSON"):
        with open(f"{BUNDLES}/next.tar.gz", "rb") as file:
            bundle = base64.b64encode(file.read()).decode()
        await result(server.update_formation(FORMATION_ID, {"bundle": bundle}))
        equal(await version(server), "1.3.0")
    with check("rollback_formation"):
        await result(server.rollback_formation(FORMATION_ID))
        equal(await version(server), "1.2.3")
    with check("update_formation_stream with the bundle's path"):
        payload = {"bundle_path": f"{BUNDLES}/next.tar.gz"}
        done = await completed(server.update_formation_stream(FORMATION_ID, payload))
        equal((done["status"], await version(server)), ("running", "1.3.0"))
    with check("rollback_formation_stream"):
        await completed(server.rollback_formation_stream(FORMATION_ID))
        equal(await version(server), "1.2.3")
    with check("cancel_update: the update ends, the version stays"):
        cancelled = None
        # This one waits for a database that says nothing.
        payload = {"bundle_path": f"{BUNDLES}/stuck.tar.gz"}
        async for frame in each(server.update_formation_stream(FORMATION_ID, payload)):
            if cancelled is None and "spawning_staging" in frame["data"]:
                cancelled = await result(server.cancel_update(FORMATION_ID))
        equal(cancelled["formation_id"], FORMATION_ID)
        equal((frame["event"], await version(server)), ("error", "1.2.3"))
    with check("cancel_update without one: MuxiError 400"):
        error = await refused(errors.MuxiError, lambda: server.cancel_update(FORMATION_ID))
        equal(error.status_code, 400)
    with check("restart_formation_stream"):
        before = (await result(server.get_formation(FORMATION_ID)))["pid"]
        done = await completed(server.restart_formation_stream(FORMATION_ID))
        assert done["pid"] != before, done
    with check("start_formation_stream"):
        await result(server.stop_formation(FORMATION_ID))
        done = await completed(server.start_formation_stream(FORMATION_ID))
        equal(done["status"], "running")
    with check("get_formation_logs with a limit"):
        logs = await result(server.get_formation_logs(FORMATION_ID, limit=2))
        equal(logs["formation_id"], FORMATION_ID)
        assert 1 <= len(logs["logs"]["stderr"]) <= 2, logs
    with check("stream_formation_logs, of a restart meanwhile"):
        last = (await result(server.get_formation_logs(FORMATION_ID)))["entries"][-1]["instance"]
        frames = await while_doing(
            server.stream_formation_logs(FORMATION_ID),
            lambda it: it["event"] == "log" and json.loads(it["data"])["instance"] > last,
            lambda: result(server.restart_formation(FORMATION_ID)),
        )
        equal(frames[0]["event"], "connected")
    with check("get_server_logs with a limit"):
        lines = (await result(server.get_server_logs(limit=3))).splitlines()
        equal(len(lines), 3)
        assert all("path=" in line for line in lines), lines


async def check_second(server):
    """A second formation comes and goes."""

    async def ids():
        return {it["id"] for it in (await result(server.list_formations()))["formations"]}

    payload = {"bundle_path": f"{BUNDLES}/{SECOND_ID}.tar.gz"}
    with check("deploy_formation with the bundle's path"):
        await result(server.deploy_formation(SECOND_ID, payload))
        equal((await result(server.get_formation(SECOND_ID)))["status"], "running")
        equal(await ids(), {FORMATION_ID, SECOND_ID})
    with check("deploy_formation of one that is there: ConflictError"):
        await refused(errors.ConflictError, lambda: server.deploy_formation(SECOND_ID, payload))
    with check("stream_formation_logs ends when its formation is deleted"):
        frames = []
        async for frame in each(server.stream_formation_logs(SECOND_ID)):
            frames.append(frame)
            if frame["event"] == "connected":
                await result(server.delete_formation(SECOND_ID))
        equal((frame["event"], json.loads(frame["data"])["reason"]), ("end", "deleted"))
        equal(await ids(), {FORMATION_ID})
    with check("deploy_formation_stream"):
        frames = [frame async for frame in each(server.deploy_formation_stream(SECOND_ID, payload))]
        equal(frames[-1]["event"], "complete")
        equal(await ids(), {FORMATION_ID, SECOND_ID})
        await result(server.delete_formation(SECOND_ID))
    with check("deploy_formation of a bundle that there is not: ValidationError"):
        missing = {"bundle_path": f"{BUNDLES}/no-such.tar.gz"}
        await refused(errors.ValidationError, lambda: server.deploy_formation(SECOND_ID, missing))


async def check_lifecycle(server, proxied, direct):
    """Stops, starts, restarts and deletes; what was said before is there until the delete."""
    said = await result(
        proxied.chat({"message": "greet me", "session_id": "kept"}, user_id="lifecycle")
    )
    before = await result(server.get_formation(FORMATION_ID))

    async def state():
        found = await result(server.get_formation(FORMATION_ID))
        return found["status"], found["port"]

    with check("stop_formation"):
        equal((await result(server.stop_formation(FORMATION_ID)))["status"], "stopped")
        equal(await state(), ("stopped", before["port"]))
    with check("stop_formation of a stopped one: ConflictError"):
        await refused(errors.ConflictError, lambda: server.stop_formation(FORMATION_ID))
    with check("health proxied to a stopped formation: ServerError 503"):
        error = await refused(errors.ServerError, proxied.health)
        equal(error.status_code, 503)
    with check("start_formation"):
        await result(server.start_formation(FORMATION_ID))
        equal(await state(), ("running", before["port"]))
        equal((await result(direct.health()))["status"], "healthy")
    with check("restart_formation"):
        running = await result(server.get_formation(FORMATION_ID))
        await result(server.restart_formation(FORMATION_ID))
        equal(await state(), ("running", before["port"]))
        restarted = await result(server.get_formation(FORMATION_ID))
        assert restarted["pid"] != running["pid"], restarted
    with check("get_session_messages after stop, start and restart"):
        kept = await result(proxied.get_session_messages("kept", "lifecycle"))
        texts = [message["text"] for message in kept["messages"]]
        equal(texts, ["greet me", said["message"]["content"]])
    with check("delete_formation"):
        await result(server.delete_formation(FORMATION_ID))
        await refused(errors.NotFoundError, lambda: server.get_formation(FORMATION_ID))
        equal((await result(server.list_formations()))["formations"], [])
    with check("delete_formation of a deleted one: NotFoundError"):
        await refused(errors.NotFoundError, lambda: server.delete_formation(FORMATION_ID))
    with check("health proxied to a deleted formation: NotFoundError"):
        await refused(errors.NotFoundError, proxied.health)
    with check("health direct of a deleted formation: ConnectionError"):
        await refused(errors.ConnectionError, direct.health)


def ended_operations(kind):
    """How many operations of a kind the audit log knows; no SDK reads it."""
    path, now = "/rpc/audit", str(int(time.time()))
    signature = hmac.digest(SECRET.encode(), f"{now};GET;{path}".encode(), hashlib.sha256)
    header = f"MUXI-HMAC key={KEY_ID}, timestamp={now}, signature={base64.b64encode(signature).decode()}"
    url = f"{SERVER_URL}{path}?action=operations.{kind}.ended"
    request = urllib.request.Request(url, headers={"Authorization": header})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return len(json.load(answer)["data"]["entries"])


