#!/usr/bin/env bash
# Installs the MCP servers that the tests of formation-runtime/tools talk to, and the A2A peer of tests/a2a; nobody
# here wrote them.
# Their folder is target/mcp-servers, or the one that MUXI_MCP_SERVERS names. Does nothing when they are there.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
target=${MUXI_MCP_SERVERS:-${CARGO_TARGET_DIR:-$root/target}/mcp-servers}

die() {
    echo "tests/mcp: $*" >&2
    exit 1
}

require_programs() {
    local missing=()
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v git >/dev/null || missing+=(git)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    if ((${#missing[@]} == 0)); then return; fi
    local install="apt-get install --yes --no-install-recommends ${missing[*]}"
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        die "system packages are missing; run: sudo $install"
    fi
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; } >&2 ||
        die "failed to install ${missing[*]}"
}

# is_installed FOLDER WANTED
is_installed() {
    [[ $(cat "$1/installed" 2>/dev/null) == "$2" ]]
}

install_node_servers() {
    local folder=$target/node wanted
    wanted="$(node --version) $(sha256sum <"$here/package-lock.json")"
    if is_installed "$folder" "$wanted"; then return; fi
    rm -rf -- "$folder"
    mkdir -p "$folder"
    cp "$here/package.json" "$here/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2 ||
        die "failed to install the servers of package.json (is the npm registry reachable?)"
    echo "$wanted" >"$folder/installed"
}

# install_python_servers NAME REQUIREMENTS
install_python_servers() {
    local folder=$target/$1 requirements=$here/$2 wanted
    wanted="$(python3 -V) $(sha256sum <"$requirements")"
    if is_installed "$folder" "$wanted"; then return; fi
    rm -rf -- "$folder"
    python3 -m venv "$folder" || die "failed to make a virtual environment in $folder"
    "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements" >&2 ||
        die "failed to install the servers of $2 (is the Python package index reachable?)"
    # Cold starts would otherwise compile everything, in each test again.
    "$folder/bin/python" -m compileall -q "$folder/lib" || true
    echo "$wanted" >"$folder/installed"
}

require_programs
mkdir -p "$target"
# Two runs at once would remove each other's work.
exec 9>"$target/.lock"
flock 9
install_node_servers
install_python_servers python requirements.txt
install_python_servers python-first-sdk requirements-first-sdk.txt
install_python_servers a2a ../a2a/requirements.txt
