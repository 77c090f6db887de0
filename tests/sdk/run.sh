#!/usr/bin/env bash
# The published SDKs drive a running server: one line a check, `N passed, N failed` at the end.
# MUXI_BIN_DIR names the folder of the built programs; without it they are built into target/debug.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/tests/.tools
formation_id=sdk-check
second_id=sdk-second
driver_seconds_max=300
ports_needed=8
# The drivers' exit status after failed checks, which they have named.
checks_failed=3
driver_pid='' server_pid='' fake_pid='' silent_pid='' work=''

die() {
    echo "tests/sdk: $*" >&2
    exit 1
}

finish() {
    local status=$?
    trap - EXIT INT TERM
    # The manager stops its formations first, each within a deadline of its own.
    for pid in $driver_pid $server_pid $fake_pid $silent_pid; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [[ -n $work ]]; then rm -rf "$work"; fi
    exit "$status"
}

# === what the drivers need ===

require_system_packages() {
    local missing=()
    command -v curl >/dev/null || missing+=(curl)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    if ((${#missing[@]} == 0)); then return; fi
    local install="apt-get install -y --no-install-recommends ${missing[*]}"
    ((EUID == 0)) || die "system packages are missing; run: sudo $install"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; } >&2 ||
        die "failed to install ${missing[*]}"
}

# Sets `python` to an interpreter that has the SDK.
prepare_python() {
    local requirements=$here/python/requirements.txt wanted
    wanted="$(python3 -V) $(sha256sum <"$requirements")"
    local venv=$tools/sdk-python
    python=$venv/bin/python
    if [[ $(cat "$venv/installed" 2>/dev/null) == "$wanted" ]]; then return; fi
    rm -rf "$venv"
    python3 -m venv "$venv" || die "failed to make a virtual environment in $venv"
    "$python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r "$requirements" ||
        die "failed to install the Python SDK of $requirements (is the Python package index reachable?)"
    echo "$wanted" >"$venv/installed"
}

# Sets `rust_driver` to the built program.
prepare_rust() {
    local target=${CARGO_TARGET_DIR:-$root/target}/sdk-rust
    cargo build -q --locked --manifest-path "$here/rust/Cargo.toml" --target-dir "$target" ||
        die "failed to build the Rust driver with the SDK muxi-rust (is cargo's registry reachable?)"
    rust_driver=$target/debug/sdk-driver
    rust_methods=$(python3 "$here/rust/methods.py" "$here/rust/Cargo.toml") && [[ -n $rust_methods ]] ||
        die "failed to list the methods of the SDK muxi-rust"
}

# Sets `bin`. Without a folder given, programs are built anew, so that no stale one is tested.
prepare_programs() {
    if [[ -z ${MUXI_BIN_DIR:-} ]]; then
        bin=${CARGO_TARGET_DIR:-$root/target}/debug
        (cd "$root" && cargo build -q --locked -p muxi-server -p formation-runtime -p muxi-testkit) ||
            die "failed to build the programs"
        return
    fi
    bin=$(cd "$MUXI_BIN_DIR" && pwd) || die "MUXI_BIN_DIR names no folder"
    local program
    for program in muxi-server formation-runtime fake-llm; do
        [[ -x $bin/$program ]] || die "$bin/$program is missing"
    done
}

# === the system under test ===

# await_line FILE PID PATTERN: prints the first match once the process has written it.
await_line() {
    timeout 60 grep -m1 -oE "$3" <(tail -n +1 -F --pid="$2" "$1" 2>/dev/null) || {
        cat "$1" "${1%.out}.err" >&2
        die "no line like '$3' came from the process above"
    }
}

# Prints the first of $ports_needed neighbouring ports that are free, below those the system hands out.
free_port_block() {
    python3 - "$ports_needed" <<'PYTHON'
import random, socket, sys

needed = int(sys.argv[1])

def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

starts = range(10_000, 30_000, needed)
print(next(s for s in random.sample(starts, len(starts)) if all(map(free, range(s, s + needed)))))
PYTHON
}

start_fake() {
    "$bin/fake-llm" --script "$here/script.json" >"$work/fake.out" 2>"$work/fake.err" &
    fake_pid=$!
    fake_url=$(await_line "$work/fake.out" "$fake_pid" 'http://127\.0\.0\.1:[0-9]+' | head -n1)
}

# start_server FOLDER
start_server() {
    export MUXI_CONFIG_DIR=$1/config MUXI_DATA_DIR=$1/data
    local init first
    init=$("$bin/muxi-server" init --non-interactive)
    key_id=$(sed -n 's/^Key ID: *//p' <<<"$init")
    secret=$(sed -n 's/^Secret key: *//p' <<<"$init")
    [[ -n $key_id && -n $secret ]] || die "muxi-server init printed no key pair"
    first=$(free_port_block)
    # Updates are watched for a moment only before they count as done.
    sed -i -E -e "s/^( *port_range_start:).*/\1 $first/" \
        -e "s/^( *port_range_end:).*/\1 $((first + ports_needed - 1))/" \
        -e 's/^formations:/&\n  deployment: {watch_window: 0}/' "$MUXI_CONFIG_DIR/config.yaml"
    "$bin/muxi-server" start --port 0 >"$1/server.out" 2>"$1/server.err" &
    server_pid=$!
    server_url=$(await_line "$1/server.out" "$server_pid" 'http://[0-9.]+:[0-9]+')
}

# Takes connections and says nothing: a formation that keeps its memory there starts for ever.
start_silent() {
    python3 -u - >"$work/silent.out" 2>"$work/silent.err" <<'PYTHON' &
import signal, socket

listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1])
signal.pause()
PYTHON
    silent_pid=$!
    silent_port=$(await_line "$work/silent.out" "$silent_pid" 'port [0-9]+' | cut -d' ' -f2)
}

# pack NAME ID SED…: the formation under another id, changed, as NAME.tar.gz.
pack() {
    local name=$1 id=$2 folder
    shift 2
    folder=$(mktemp -d "$work/pack.XXXX")
    cp -r "$here/formation" "$folder/$id"
    sed -i -E -e "s|^( *fake:).*|\1 $fake_url/v1|" -e "s|^id: .*|id: $id|" "$@" "$folder/$id/formation.afs"
    tar -C "$folder" -czf "$work/bundles/$name.tar.gz" "$id"
}

pack_bundles() {
    local manifest=$here/formation/formation.afs
    admin_key=$(sed -n 's/^ *admin_key: *//p' "$manifest")
    client_key=$(sed -n 's/^ *client_key: *//p' "$manifest")
    mkdir "$work/bundles"
    pack first "$formation_id"
    pack next "$formation_id" -e 's/^version: .*/version: "1.3.0"/'
    pack stuck "$formation_id" -e 's/^version: .*/version: "1.4.0"/' \
        -e "s|^( *connection_string:).*|\1 postgresql://sdk:sdk@127.0.0.1:$silent_port/sdk|"
    pack "$second_id" "$second_id"
}

# As the API reference shows it: no SDK can upload a bundle. Prints the answer when it is a refusal.
deploy() {
    local path=/rpc/formations timestamp signature status
    timestamp=$(date +%s)
    signature=$(printf '%s;POST;%s' "$timestamp" "$path" | openssl dgst -sha256 -hmac "$secret" -binary | base64 -w0)
    status=$(curl -sS --max-time 60 -o "$work/deploy.json" -w '%{http_code}' "$server_url$path" \
        -H "Authorization: MUXI-HMAC key=$key_id, timestamp=$timestamp, signature=$signature" \
        -H 'Content-Type: application/gzip' --data-binary "@$work/bundles/first.tar.gz")
    [[ $status == 201 ]] || die "the deploy was answered with $status: $(<"$work/deploy.json")"
}

result() {
    echo "$*" | tee -a "$work/results"
}

# drive NAME COMMAND…: a server, a deploy and a script of its own for each driver.
drive() {
    local name=$1 folder="$work/${1// /-}" status=0
    shift
    # The SDKs write a cache into the home folder.
    mkdir -p "$folder/home"
    start_server "$folder"
    deploy
    curl -sSf --max-time 10 -X PUT "$fake_url/__script" -H 'Content-Type: application/json' \
        --data-binary "@$here/script.json"
    env HOME="$folder/home" SDK_SERVER_URL="$server_url" SDK_KEY_ID="$key_id" SDK_SECRET="$secret" \
        SDK_FORMATION_ID="$formation_id" SDK_ADMIN_KEY="$admin_key" SDK_CLIENT_KEY="$client_key" \
        SDK_FAKE_URL="$fake_url" SDK_BUNDLES="$work/bundles" SDK_CANNOT_PASS="$here/cannot-pass.json" \
        SDK_METHODS="$rust_methods" \
        timeout "$driver_seconds_max" "$@" >"$folder/driver.out" &
    # In the background, so that a signal is heard at once.
    driver_pid=$!
    wait "$driver_pid" || status=$?
    driver_pid=''
    sed -E "s/^(ok|FAILED) /\1 $name: /" "$folder/driver.out" | tee -a "$work/results"
    # A driver that breaks down, or ends without a word, has not checked what it should.
    if [[ $status != 0 && $status != "$checks_failed" ]] || ! grep -q '^ok ' "$folder/driver.out"; then
        result "FAILED $name: the driver ended with status $status"
        tail -n 20 "$folder/server.err" >&2
    fi
    kill -TERM "$server_pid"
    status=0
    wait "$server_pid" || status=$?
    server_pid=''
    if [[ $status == 0 ]]; then
        result "ok $name: the server ends cleanly"
    else
        result "FAILED $name: the server ended with status $status"
    fi
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
require_system_packages
prepare_programs
prepare_python
prepare_rust
work=$(mktemp -d)
start_fake
start_silent
pack_bundles
drive "python sync" "$python" "$here/python/driver.py" sync
drive "python async" "$python" "$here/python/driver.py" async
drive rust "$rust_driver"

passed=$(grep -c '^ok ' "$work/results" || true)
failed=$(grep -c '^FAILED ' "$work/results" || true)
echo "$passed passed, $failed failed"
((failed == 0))
