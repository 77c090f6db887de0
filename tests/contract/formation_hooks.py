"""Names a known user and known things in every other case, and takes the keys in turn."""

import itertools
import json
import os

import schemathesis

KEYS = {
    "client": ("X-Muxi-Client-Key", os.environ["CONTRACT_CLIENT_KEY"]),
    "admin": ("X-Muxi-Admin-Key", os.environ["CONTRACT_ADMIN_KEY"]),
}
USER_HEADER = "X-Muxi-User-ID"
USER = os.environ["CONTRACT_USER"]
# By the beginning of the path: what the seed made there.
KNOWN = json.loads(os.environ["CONTRACT_KNOWN"])
turn = itertools.count()


# A key that was kept for the next operation would mostly be the wrong one.
@schemathesis.auth(refresh_interval=None)
class Keys:
    """An operation that takes both keys gets one after the other."""

    def get(self, case, _context):
        schemes = case.operation.definition.raw.get("security", [])
        names = [name for scheme in schemes for name in scheme]
        return KEYS[names[next(turn) % len(names)]] if names else None

    def set(self, case, key, _context):
        if key:
            name, value = key
            case.headers[name] = value


@schemathesis.hook
def map_headers(_context, headers):
    """Names that a fuzzer makes up are only ever those of users without anything."""
    if headers and USER_HEADER in headers and next(turn) % 4:
        headers[USER_HEADER] = USER
    return headers


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most ids that a fuzzer makes up are only ever unknown."""
    if not path_parameters or not context.operation or next(turn) % 2:
        return path_parameters
    for place, known in KNOWN.items():
        if context.operation.path.startswith(place):
            for name in path_parameters:
                path_parameters[name] = known.get(name, path_parameters[name])
            break
    return path_parameters
