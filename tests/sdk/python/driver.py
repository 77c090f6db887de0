"""Drives a running server through the published Python SDK: `driver.py sync|async`.

One line a check, `ok NAME` or `FAILED NAME: why`; the exit status is 3 when one failed. The checks are
written once: what a call of the synchronous client returns and what one of the asynchronous client
returns after an await must be the same.
"""

import asyncio
import base64
import hashlib
import hmac
import inspect
import json
import os
import signal
import sys
import time
import traceback
import urllib.request
from contextlib import contextmanager
from unittest import mock

from fault_proxy import FaultProxy
from muxi import (
    AsyncFormationClient,
    AsyncServerClient,
    FormationClient,
    ServerClient,
    errors,
)

SERVER_URL = os.environ["SDK_SERVER_URL"]
KEY_ID = os.environ["SDK_KEY_ID"]
SECRET = os.environ["SDK_SECRET"]
FORMATION_ID = os.environ["SDK_FORMATION_ID"]
ADMIN_KEY = os.environ["SDK_ADMIN_KEY"]
CLIENT_KEY = os.environ["SDK_CLIENT_KEY"]
FAKE_URL = os.environ["SDK_FAKE_URL"]

CHECK_SECONDS_MAX = 60
# An exit status of its own: a driver that breaks down ends with 1.
CHECKS_FAILED = 3
SIGNATURE_SECONDS_MAX = 300
GREETING = "Hello from the model."
# As in script.json; Python cuts lines at the three separators, so they must not appear raw in a frame.
UNICODE = 'grün 日本語 🦀\u2028next\u2029line\u0085end\nof "it"'

failures = 0


def main() -> int:
    flavour = sys.argv[1]
    signal.signal(signal.SIGALRM, out_of_time)
    if flavour == "sync":
        asyncio.run(drive(ServerClient, FormationClient))
    elif flavour == "async":
        asyncio.run(drive(AsyncServerClient, AsyncFormationClient))
    else:
        raise SystemExit(f"unknown flavour {flavour}")
    return CHECKS_FAILED if failures else 0


async def drive(server_class, formation_class):
    def formation(address, *, admin_key=ADMIN_KEY, client_key=CLIENT_KEY):
        return formation_class(**address, admin_key=admin_key, client_key=client_key)

    server = server_class(url=SERVER_URL, key_id=KEY_ID, secret_key=SECRET)
    await check_server(server)
    await check_signatures(server_class)
    await check_retries(server_class)
    port = (await result(server.get_formation(FORMATION_ID)))["port"]
    proxied = {"server_url": SERVER_URL, "formation_id": FORMATION_ID}
    direct = {"base_url": f"http://127.0.0.1:{port}/v1"}
    for way, address in (("proxied", proxied), ("direct", direct)):
        client = formation(address)
        await check_formation(way, client)
        await check_chat(way, client)
        await check_streams(way, client)
        await check_sessions(way, client)
        await check_keys(
            way,
            formation(address, admin_key="wrong", client_key="wrong"),
            formation(address, admin_key=CLIENT_KEY, client_key=ADMIN_KEY),
        )
    await check_lifecycle(server, formation(proxied), formation(direct))


# === the manager ===


async def check_server(server):
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


# === a formation ===


async def check_formation(way, client):
    with check(f"{way} health"):
        health = await result(client.health())
        equal((health["status"], health["version"]), ("healthy", "1.2.3"))
    with check(f"{way} get_status"):
        status = await result(client.get_status())
        equal(status["formation"]["id"], FORMATION_ID)
        equal(status["agents"]["count"], 1)
        assert status["request_id"] and status["timestamp"] > 0, status
    with check(f"{way} get_agents"):
        agents = await result(client.get_agents())
        equal((agents["count"], [it["id"] for it in agents["agents"]]), (1, ["parrot"]))
    with check(f"{way} get_agent"):
        equal((await result(client.get_agent("parrot")))["name"], "Parrot")
    with check(f"{way} get_agent of an unknown one: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.get_agent("no-such-agent"))
        equal(error.details["error"]["code"], "AGENT_NOT_FOUND")
    with check(f"{way} get_formation_info"):
        shown = await result(client.get_formation_info())
        equal(shown["id"], FORMATION_ID)
        text = json.dumps(shown)
        assert ADMIN_KEY not in text and CLIENT_KEY not in text, "shows the keys"


async def check_chat(way, client):
    session = f"{way}-chat"
    with check(f"{way} chat"):
        said = await result(
            client.chat({"message": "greet me", "session_id": session}, user_id="ada")
        )
        equal(said["message"]["role"], "assistant")
        equal(said["message"]["content"], GREETING)
        equal(said["response"], [{"type": "text", "text": GREETING}])
        equal((said["session_id"], said["user_id"]), (session, "ada"))
        equal(said["status"], "completed")
        assert said["request_id"] and said["usage"]["total_tokens"] > 0, said
    with check(f"{way} chat with a request id of its own"):
        own = f"req-{way}-own"
        said = await result(client.chat({"message": "greet me", "request_id": own}, user_id="ada"))
        equal(said["request_id"], own)
        assert said["session_id"], said
    with check(f"{way} chat, unicode"):
        said = await result(client.chat({"message": "unicode: ä 日\u2028🦀"}, user_id="ada"))
        equal(said["message"]["content"], UNICODE)
    with check(f"{way} chat without a message: ValidationError"):
        error = await refused(errors.ValidationError, lambda: client.chat({}, user_id="ada"))
        equal((error.status_code, error.details["error"]["code"]), (422, "VALIDATION_ERROR"))
        faults = error.details["error"]["data"]["validation_errors"]
        equal([fault["field"] for fault in faults], ["message"])
    with check(f"{way} chat, the model fails: ServerError 502"):
        error = await refused(
            errors.ServerError, lambda: client.chat({"message": "fail at once"}, user_id="ada")
        )
        equal((error.status_code, error.details["error"]["code"]), (502, "LLM_ERROR"))


async def check_streams(way, client):
    with check(f"{way} chat_stream"):
        session = f"{way}-stream"
        stream = client.chat_stream(
            {"message": "greet me", "session_id": session}, user_id="ada"
        )
        frames = [frame async for frame in each(stream)]
        events = tokens(frames)
        contents = [it["content"] for it in events if it["type"] == "content"]
        equal("".join(contents), GREETING)
        assert len(contents) > 1, contents
        completed = [it for it in events if it["type"] == "completed"]
        equal([it["content"] for it in completed], [GREETING])
        equal(events[-1], completed[0])
        for event in events:
            equal((event["session_id"], event["user_id"]), (session, "ada"))
        equal(len({event["request_id"] for event in events}), 1)
        equal(frames[-1]["event"], "done")
        equal(json.loads(frames[-1]["data"]), {"finished": True})
    with check(f"{way} chat_stream, unicode"):
        stream = client.chat_stream({"message": "unicode"}, user_id="ada")
        events = tokens([frame async for frame in each(stream)])
        equal("".join(it["content"] for it in events if it["type"] == "content"), UNICODE)
        equal(events[-1]["content"], UNICODE)
    with check(f"{way} chat_stream, words arrive while the model speaks"):
        contents = []
        stream = client.chat_stream({"message": f"hold {way}"}, user_id="ada")
        async for frame in each(stream):
            contents += [it["content"] for it in tokens([frame]) if it["type"] == "content"]
            if contents == ["first"]:
                # The model says nothing more before this.
                open_gate(way)
        equal("".join(contents), "first second third")
    with check(f"{way} chat_stream, the model fails midway: MuxiError"):
        contents = []

        async def listen():
            stream = client.chat_stream({"message": "fail midway"}, user_id="ada")
            async for frame in each(stream):
                contents.extend(it["content"] for it in tokens([frame]) if it["type"] == "content")

        error = await refused(errors.MuxiError, listen)
        equal((error.code, error.status_code, "".join(contents)), ("LLM_ERROR", 0, "half of"))


async def check_sessions(way, client):
    """Reads back what `check_chat` and `check_streams` said."""
    with check(f"{way} get_sessions"):
        found = await result(client.get_sessions("ada"))
        ids = [session["session_id"] for session in found["sessions"]]
        assert {f"{way}-chat", f"{way}-stream"} <= set(ids), ids
        equal(found["count"], len(ids))
    with check(f"{way} get_sessions with a limit"):
        equal((await result(client.get_sessions("ada", 1)))["count"], 1)
    with check(f"{way} get_session"):
        found = await result(client.get_session(f"{way}-chat", "ada"))
        equal((found["session_id"], found["message_count"]), (f"{way}-chat", 2))
    for session in (f"{way}-chat", f"{way}-stream"):
        with check(f"{way} get_session_messages of {session}"):
            found = await result(client.get_session_messages(session, "ada"))
            said = [(it["metadata"]["role"], it["text"]) for it in found["messages"]]
            equal(said, [("user", "greet me"), ("assistant", GREETING)])
    with check(f"{way} get_session of another user: NotFoundError"):
        error = await refused(
            errors.NotFoundError, lambda: client.get_session(f"{way}-chat", "eve")
        )
        equal(error.details["error"]["code"], "RESOURCE_NOT_FOUND")
    with check(f"{way} get_sessions of another user"):
        equal((await result(client.get_sessions("eve")))["sessions"], [])


async def check_keys(way, wrong, swapped):
    calls = {
        "chat": lambda client: client.chat({"message": "greet me"}, user_id="ada"),
        "get_sessions": lambda client: client.get_sessions("ada"),
        "get_session_messages": lambda client: client.get_session_messages("any", "ada"),
        "get_status": lambda client: client.get_status(),
        "get_agents": lambda client: client.get_agents(),
        "get_formation_info": lambda client: client.get_formation_info(),
    }
    for kind, client in (("wrong key", wrong), ("the other class's key", swapped)):
        for name, call in calls.items():
            with check(f"{way} {name}, {kind}: AuthenticationError"):
                error = await refused(errors.AuthenticationError, lambda: call(client))
                equal(error.status_code, 401)
                assert error.details["error"]["code"], error.details


# === helpers ===


@contextmanager
def check(name):
    """Prints how the block ended; a failure does not keep later checks from running."""
    global failures
    signal.alarm(CHECK_SECONDS_MAX)
    try:
        yield
    except Exception as error:
        failures += 1
        # The first frame is this one, the second the check's own.
        where = traceback.extract_tb(error.__traceback__)[1]
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"FAILED {name}: {why} (line {where.lineno})")
    else:
        print(f"ok {name}")
    finally:
        signal.alarm(0)
        sys.stdout.flush()


def out_of_time(_signal, _frame):
    raise TimeoutError(f"no end within {CHECK_SECONDS_MAX} seconds")


async def result(value):
    """What either client's call comes to."""
    return await value if inspect.isawaitable(value) else value


async def each(stream):
    """The frames of either client's stream."""
    stream = await result(stream)
    if hasattr(stream, "__aiter__"):
        async for frame in stream:
            yield frame
    else:
        for frame in stream:
            yield frame


async def refused(wanted, call):
    """The error of a call that must end in exactly that class."""
    try:
        value = await result(call())
    except errors.MuxiError as error:
        assert type(error) is wanted, f"{type(error).__name__} {error.status_code}: {error}"
        return error
    raise AssertionError(f"no {wanted.__name__}, but {value!r}")


def tokens(frames):
    """The events of a stream's frames without a name."""
    return [json.loads(it["data"])["token"] for it in frames if it["event"] == "message"]


def ended_operations(kind):
    """How many operations of a kind the audit log knows; no SDK reads it."""
    path, now = "/rpc/audit", str(int(time.time()))
    signature = hmac.digest(SECRET.encode(), f"{now};GET;{path}".encode(), hashlib.sha256)
    header = f"MUXI-HMAC key={KEY_ID}, timestamp={now}, signature={base64.b64encode(signature).decode()}"
    url = f"{SERVER_URL}{path}?action=operations.{kind}.ended"
    request = urllib.request.Request(url, headers={"Authorization": header})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return len(json.load(answer)["data"]["entries"])


def open_gate(name):
    request = urllib.request.Request(f"{FAKE_URL}/__gate/{name}", method="POST")
    with urllib.request.urlopen(request, timeout=10):
        pass


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


sys.exit(main())
