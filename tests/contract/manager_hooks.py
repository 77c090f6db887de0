"""Signs each request as clients do, and makes bodies and ids that get past the first check."""

import base64
import hashlib
import hmac
import os
import time

import schemathesis
from hypothesis import strategies as st
from requests.auth import AuthBase

KEY_ID = os.environ["CONTRACT_KEY_ID"]
SECRET = os.environ["CONTRACT_SECRET"].encode()
FORMATION_ID = os.environ["CONTRACT_FORMATION_ID"]
with open(os.environ["CONTRACT_BUNDLE"], "rb") as file:
    BUNDLE = file.read()


class Signature(AuthBase):
    """Signs what is sent in the end, however it was generated."""

    def __call__(self, request):
        timestamp = str(int(time.time()))
        path = request.path_url.split("?", 1)[0]
        message = f"{timestamp};{request.method};{path}".encode()
        signature = base64.b64encode(hmac.new(SECRET, message, hashlib.sha256).digest()).decode()
        request.headers["Authorization"] = (
            f"MUXI-HMAC key={KEY_ID}, timestamp={timestamp}, signature={signature}"
        )
        return request


schemathesis.auth.set_from_requests(Signature())


@schemathesis.serializer("application/gzip")
def as_it_is(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


# The real bundle, the same cut short, and what is no archive at all.
schemathesis.openapi.media_type(
    "application/gzip", st.sampled_from([BUNDLE, BUNDLE[: len(BUNDLE) // 2], b"", b"not gzip"])
)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most ids that a fuzzer makes up are only ever unknown: every other one is the formation's."""
    if not path_parameters or "id" not in path_parameters:
        return path_parameters
    path = context.operation.path if context.operation else ""
    if path.startswith("/rpc/formations/") and len(str(path_parameters["id"])) % 2 == 0:
        path_parameters["id"] = FORMATION_ID
    return path_parameters


@schemathesis.hook
def map_query(_context, query):
    """A stream that follows has no end, which a fuzzer would wait for."""
    if query:
        query.pop("follow", None)
    return query
