"""Prints every method that the Rust SDK lets its users call: `methods.py MANIFEST`, of the driver."""

import json
import re
import subprocess
import sys
from pathlib import Path

SOURCES = {"server": "server_client.rs", "formation": "formation_client.rs"}
METHOD = re.compile(r"^\s+pub (?:async )?fn (\w+)(?:<[^>]*>)?\(&", re.MULTILINE)
FUNCTION = re.compile(r"^pub fn (\w+)", re.MULTILINE)
ASSOCIATED = re.compile(r"^\s+pub fn (\w+)", re.MULTILINE)

# For this machine only: the others' crates need not be here.
version = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
host = re.search(r"^host: (.+)$", version, re.MULTILINE).group(1)
command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", sys.argv[1]]
command += ["--filter-platform", host]
metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
manifest = next(it["manifest_path"] for it in metadata["packages"] if it["name"] == "muxi-rust")


def source(file):
    return (Path(manifest).parent / "src" / file).read_text(encoding="utf-8").split("#[cfg(test)]")[0]


for kind, file in SOURCES.items():
    print(*(f"{kind}.{name}" for name in METHOD.findall(source(file))), sep="\n")
for name in FUNCTION.findall(source("formation_client.rs")):
    print(f"muxi.{name}")
for name in ASSOCIATED.findall(source("webhook.rs")):
    print(f"webhook.{name}")
