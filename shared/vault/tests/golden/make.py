"""Makes key.txt and secrets.enc with the `cryptography` package (any recent version):

    python3 -m venv venv && venv/bin/pip install cryptography && venv/bin/python make.py

The key, the time and the IV are fixed, so that the files come out the same every time.
"""

import base64
import json
import pathlib

from cryptography.fernet import Fernet

here = pathlib.Path(__file__).parent
key = base64.urlsafe_b64encode(bytes(range(32)))
secrets = {
    "OPENAI_API_KEY": 'sk-test "quoted" \\ and\nnew line',
    "formation admin api-key": "fma_0123456789",
    "EMPTY": "",
    "UNICODE": "clé ключ 鍵 🔑",
}
plain = json.dumps(secrets, indent=2).encode()
token = Fernet(key)._encrypt_from_parts(plain, 1_700_000_000, bytes(range(16)))
(here / "key.txt").write_bytes(key + b"\n")
(here / "secrets.enc").write_bytes(token + b"\n")
