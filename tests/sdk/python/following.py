"""Requests under way and the streams that tell of them; webhooks."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import muxi
from muxi import errors

from chats import GREETING, open_gate
from checking import Watched, check, each, equal, eventually, refused, result, while_doing
from settings import ADMIN_KEY

webhook = Watched(muxi.webhook, "webhook")


async def run(way, client):
    await check_requests(way, client)
    await check_streams(way, client)
    await check_webhook(way, client)


async def check_requests(way, client):
    user, other = f"{way}-waiter", f"{way}-nosy"
    follow, cancel = f"req-{way}-follow", f"req-{way}-cancel"

    async def ask(request, message):
        return await result(client.chat(
            {"message": message, "mode": "async", "request_id": request, "session_id": request},
            user_id=user,
        ))

    async def status(request):
        return (await result(client.get_request_status(request, user)))["status"]

    with check(f"{way} stream_request, from its beginning to its end"):
        equal((await ask(follow, f"follow {way}"))["status"], "processing")
        events = []
        async for frame in each(client.stream_request(user, follow, follow)):
            events.append(json.loads(frame["data"]))
            if events[-1].get("content") == "first":
                equal(await status(follow), "processing")
                open_gate(f"follow-{way}")
        contents = [it["content"] for it in events if it["type"] == "content"]
        equal("".join(contents), "first second third")
        equal(events[0]["type"], "stream_open")
        equal([it["type"] for it in events[-2:]], ["completed", "stream_completed"])
        equal({it["request_id"] for it in events}, {follow})
    with check(f"{way} get_request_status of one that is done"):
        found = await result(client.get_request_status(follow, user))
        equal((found["status"], found["result"]), ("completed", "first second third"))
    with check(f"{way} cancel_request, what was said is kept"):
        await ask(cancel, "wait for ever")
        await eventually(
            lambda: client.get_session_messages(cancel, user), lambda it: it["count"] >= 1
        )
        await result(client.cancel_request(cancel, user))
        found = await eventually(
            lambda: client.get_request_status(cancel, user),
            lambda it: it["status"] != "processing",
        )
        equal(found["status"], "cancelled")
        error = await refused(errors.MuxiError, lambda: client.cancel_request(cancel, user))
        assert "cancelled" in error.details["error"]["message"], error.details
    with check(f"{way} get_requests, of their user only"):
        found = await result(client.get_requests(user))
        listed = {it["request_id"]: it["status"] for it in found["requests"]}
        equal(listed, {follow: "completed", cancel: "cancelled"})
        equal((await result(client.get_requests(other)))["requests"], [])
    with check(f"{way} get_request_status of another user's: AuthorizationError"):
        await refused(
            errors.AuthorizationError, lambda: client.get_request_status(follow, other)
        )


async def check_streams(way, client):
    user, other = f"{way}-listener", f"{way}-talker"

    def said(session, whom):
        message = {"message": "greet me", "session_id": session}
        return lambda: result(client.chat(message, user_id=whom))

    async def both():
        await said(f"{way}-other", other)()
        await said(f"{way}-own", user)()

    def is_completed(frame):
        return "chat.completed" in frame["data"]

    with check(f"{way} stream_events, of a chat meanwhile, not of another user's"):
        frames = await while_doing(client.stream_events(user), is_completed, both)
        events = [json.loads(frame["data"]) for frame in frames]
        equal({it["user_id"] for it in events}, {user})
        equal(events[-1]["session_id"], f"{way}-own")
    with check(f"{way} stream_logs of a session, by kind"):
        filters = {"session_id": f"{way}-own", "event_type": "chat.*"}
        frames = await while_doing(client.stream_logs(filters), is_completed, both)
        events = [json.loads(frame["data"]) for frame in frames]
        equal({it["session_id"] for it in events}, {f"{way}-own"})
        assert all(it["event_type"].startswith("chat.") for it in events), events
    with check(f"{way} stream_logs of a level"):
        async def fail():
            await both()
            await refused(
                errors.ServerError,
                lambda: client.chat({"message": "fail at once"}, user_id=user),
            )

        frames = await while_doing(
            client.stream_logs({"level": "error"}), lambda it: "chat.failed" in it["data"], fail
        )
        equal({json.loads(frame["data"])["level"].lower() for frame in frames}, {"error"})


async def check_webhook(way, client):
    received = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            received.put((body, self.headers["X-Muxi-Signature"]))

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with check(f"{way} verify_signature and parse of a webhook"):
            asked = await result(client.chat(
                {
                    "message": "greet me",
                    "mode": "async",
                    "webhook_url": f"http://127.0.0.1:{server.server_port}/hook",
                },
                user_id="ada",
            ))
            body, signature = received.get()
            equal(webhook.verify_signature(body, signature, ADMIN_KEY), True)
            equal(webhook.verify_signature(body + b" ", signature, ADMIN_KEY), False)
            event = webhook.parse(body)
            equal((event.request_id, event.status), (asked["request_id"], "completed"))
            equal([(it.type, it.text) for it in event.content], [("text", GREETING)])
        server.shutdown()
