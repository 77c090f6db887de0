"""Makes one thing of each kind in a formation and prints, by path, what it is called there."""

import json
import os
import sys
import urllib.error
import urllib.request

URL = sys.argv[1]
CLIENT = {"X-Muxi-Client-Key": os.environ["CONTRACT_CLIENT_KEY"]}
ADMIN = {"X-Muxi-Admin-Key": os.environ["CONTRACT_ADMIN_KEY"]}
USER = {"X-Muxi-User-ID": os.environ["CONTRACT_USER"]}


def post(path, headers, body):
    headers = {**headers, "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        sys.exit(f"POST {path}: {error.code} {error.read().decode()}")


post("/v1/chat", CLIENT | USER, {"message": "hi", "session_id": "s", "request_id": "r"})
memory = post("/v1/memories", CLIENT | USER, {"type": "fact", "detail": "likes tea"})
ingested = post("/v1/memories", CLIENT | USER, {"content": "has a cat", "source": "notes", "source_id": "1"})
credential = post("/v1/credentials", CLIENT | USER, {"service": "github", "credential": {"token": "0123456789abcdef"}})
person = post("/v1/users/identifiers", ADMIN, {"identifiers": ["alice", "alice@example.com"]})
job = post(
    "/v1/scheduler/jobs", ADMIN | USER, {"type": "recurring", "schedule": "0 0 1 1 *", "message": "Happy new year"}
)
post("/v1/secrets", ADMIN, {"key": "FUZZED", "value": "a value that nobody refers to"})
print(
    json.dumps(
        {
            "/v1/sessions/": {"id": "s"},
            "/v1/requests/": {"id": "r"},
            "/v1/memory/buffer/": {"session": "s"},
            "/v1/memories/ingestion/": {"id": ingested["processing_id"]},
            "/v1/memories/": {"id": memory["id"]},
            "/v1/credentials/": {"id": credential["credential_id"]},
            "/v1/users/identifiers/": {"identifier": person["muxi_user_id"]},
            "/v1/users/": {"identifier": "alice"},
            "/v1/scheduler/jobs/": {"id": job["id"]},
            "/v1/secrets/": {"key": "FUZZED"},
            "/v1/triggers/": {"name": "greet"},
            "/v1/agents/": {"id": "parrot"},
        }
    )
)
