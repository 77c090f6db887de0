"""Where and as whom to call; run.sh sets it."""

import os

SERVER_URL = os.environ["SDK_SERVER_URL"]
KEY_ID = os.environ["SDK_KEY_ID"]
SECRET = os.environ["SDK_SECRET"]
FORMATION_ID = os.environ["SDK_FORMATION_ID"]
ADMIN_KEY = os.environ["SDK_ADMIN_KEY"]
CLIENT_KEY = os.environ["SDK_CLIENT_KEY"]
FAKE_URL = os.environ["SDK_FAKE_URL"]
BUNDLES = os.environ["SDK_BUNDLES"]
CANNOT_PASS = os.environ["SDK_CANNOT_PASS"]
