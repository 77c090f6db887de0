"""Chats, and the sessions that come of them."""

import json
import urllib.request

import muxi
from muxi import errors

from checking import Watched, check, each, equal, refused, result
from settings import FAKE_URL

GREETING = "Hello from the model."
# As in script.json; Python cuts lines at the three separators, so they must not appear raw in a frame.
UNICODE = 'grün 日本語 🦀\u2028next\u2029line\u0085end\nof "it"'

# A sound, in base64, and what the fake model hears in each.
RECORDING = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA=="
HEARD = "greet me"


async def run(way, client):
    await check_chat(way, client)
    await check_streams(way, client)
    await check_sessions(way, client)
    await check_restore(way, client)
    await check_audio(way, client)


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
    with check(f"{way} parse_ui_widgets of a stream"):
        parse = Watched(muxi, "muxi").parse_ui_widgets
        equal([widget for frame in frames for widget in parse(frame)], [])
        widget = {"type": "options", "options": []}
        equal(parse({"event": "ui", "data": json.dumps({"ui": [widget]})}), [widget])
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


async def check_audio(way, client):
    def question(session):
        return {"files": [{"filename": "note.wav", "content": RECORDING}], "session_id": session}

    async def asked(session):
        found = await result(client.get_session_messages(session, "ada"))
        return found["messages"][0]["text"]

    whole, streamed = f"{way}-heard", f"{way}-heard-stream"
    with check(f"{way} audio_chat"):
        said = await result(client.audio_chat(question(whole), user_id="ada"))
        equal(said["message"]["content"], GREETING)
        assert HEARD in await asked(whole), await asked(whole)
    with check(f"{way} audio_chat_stream"):
        stream = client.audio_chat_stream(question(streamed), user_id="ada")
        events = tokens([frame async for frame in each(stream)])
        equal("".join(it["content"] for it in events if it["type"] == "content"), GREETING)
        assert HEARD in await asked(streamed), await asked(streamed)
    with check(f"{way} audio_chat without a recording: ValidationError"):
        await refused(
            errors.ValidationError, lambda: client.audio_chat({"files": []}, user_id="ada")
        )


async def check_restore(way, client):
    session, user = f"{way}-restored", f"{way}-restorer"
    kept = [
        {"role": "user", "content": "what was it?", "timestamp": "2026-01-01T10:00:00Z"},
        {"role": "assistant", "content": "a heron", "timestamp": "2026-01-01T10:00:01Z"},
    ]
    with check(f"{way} restore_session, then its messages"):
        await result(client.restore_session(session, user, kept))
        found = await result(client.get_session_messages(session, user))
        said = [(it["metadata"]["role"], it["text"]) for it in found["messages"]]
        equal(said, [("user", "what was it?"), ("assistant", "a heron")])
    with check(f"{way} restore_session with a role that there is not: ValidationError"):
        faulty = [{"role": "narrator", "content": "x", "timestamp": "2026-01-01T10:00:00Z"}]
        await refused(
            errors.ValidationError, lambda: client.restore_session(session, user, faulty)
        )
        equal((await result(client.get_session(session, user)))["message_count"], 2)


def tokens(frames):
    """The events of a stream's frames without a name."""
    return [json.loads(it["data"])["token"] for it in frames if it["event"] == "message"]


def open_gate(name):
    request = urllib.request.Request(f"{FAKE_URL}/__gate/{name}", method="POST")
    with urllib.request.urlopen(request, timeout=10):
        pass


