#!/usr/bin/env bash
# schemathesis reads openapi.json from a running manager and from a running formation, and tries to prove them
# wrong: answers that are not documented, bodies that are not as described, failures of the server, keys that
# are not asked for. `N passed, N failed` at the end; what is counted are operations.
# MUXI_BIN_DIR names the folder of the built programs; without it they are built into target/debug.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
formation_id=contract
seconds_max=180
examples_max=8
ports_needed=16
fake_pid='' server_pid='' formation_pid='' work=''
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth

die() {
    echo "tests/contract: $*" >&2
    exit 1
}

finish() {
    local status=$?
    trap - EXIT INT TERM
    for pid in $server_pid $formation_pid $fake_pid; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [[ -n $work ]]; then rm -rf "$work"; fi
    exit "$status"
}

# Sets `tools` to a folder with schemathesis.
prepare_schemathesis() {
    local venv=$root/tests/.tools/schemathesis requirements=$here/requirements.txt wanted
    tools=$venv/bin
    wanted="$(python3 -V) $(sha256sum <"$requirements")"
    if [[ $(cat "$venv/installed" 2>/dev/null) == "$wanted" ]]; then return; fi
    rm -rf "$venv"
    python3 -m venv "$venv" || die "failed to make a virtual environment in $venv (is python3-venv installed?)"
    "$tools/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements" ||
        die "failed to install schemathesis of $requirements (is the Python package index reachable?)"
    echo "$wanted" >"$venv/installed"
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
}

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

start_server() {
    export MUXI_CONFIG_DIR=$work/config MUXI_DATA_DIR=$work/data
    local init first
    init=$("$bin/muxi-server" init --non-interactive)
    CONTRACT_KEY_ID=$(sed -n 's/^Key ID: *//p' <<<"$init")
    CONTRACT_SECRET=$(sed -n 's/^Secret key: *//p' <<<"$init")
    export CONTRACT_KEY_ID CONTRACT_SECRET
    first=$(free_port_block)
    sed -i -E "s/^( *port_range_start:).*/\1 $first/; s/^( *port_range_end:).*/\1 $((first + ports_needed - 1))/" \
        "$MUXI_CONFIG_DIR/config.yaml"
    # The fuzzer tries to get in without a signature, and must be able to ask on.
    sed -i -E "s/^auth:.*/&\n  failures_per_minute: 100000/" "$MUXI_CONFIG_DIR/config.yaml"
    "$bin/muxi-server" start --port 0 >"$work/server.out" 2>"$work/server.err" &
    server_pid=$!
    server_url=$(await_line "$work/server.out" "$server_pid" 'http://[0-9.]+:[0-9]+')
}

# The formation of the SDK tests, on a fake model.
pack_bundle() {
    "$bin/fake-llm" --script "$root/tests/sdk/script.json" >"$work/fake.out" 2>"$work/fake.err" &
    fake_pid=$!
    local fake_url
    fake_url=$(await_line "$work/fake.out" "$fake_pid" 'http://127\.0\.0\.1:[0-9]+' | head -n1)
    cp -r "$root/tests/sdk/formation" "$work/$formation_id"
    sed -i -E "s|^( *fake:).*|\1 $fake_url/v1|; s|^id:.*|id: $formation_id|" "$work/$formation_id/formation.afs"
    tar -C "$work" -czf "$work/bundle.tar.gz" "$formation_id"
    export CONTRACT_BUNDLE=$work/bundle.tar.gz CONTRACT_FORMATION_ID=$formation_id
}

deploy() {
    local path=/rpc/formations timestamp signature
    timestamp=$(date +%s)
    signature=$(printf '%s;POST;%s' "$timestamp" "$path" |
        openssl dgst -sha256 -hmac "$CONTRACT_SECRET" -binary | base64 -w0)
    curl -sSf --max-time 60 -o "$work/deploy.json" "$server_url$path" \
        -H "Authorization: MUXI-HMAC key=$CONTRACT_KEY_ID, timestamp=$timestamp, signature=$signature" \
        -H 'Content-Type: application/gzip' --data-binary "@$CONTRACT_BUNDLE" || { tail -n 60 "$work/server.err" >&2; die "the formation was not deployed"; }
}

# The same formation by itself, with something of one user in it.
start_formation() {
    local manifest=$work/$formation_id/formation.afs
    CONTRACT_USER=alice
    CONTRACT_CLIENT_KEY=$(sed -nE 's/^ *client_key: *//p' "$manifest")
    CONTRACT_ADMIN_KEY=$(sed -nE 's/^ *admin_key: *//p' "$manifest")
    export CONTRACT_USER CONTRACT_CLIENT_KEY CONTRACT_ADMIN_KEY
    cp -r "$here/formation/." "$work/$formation_id"
    "$bin/formation-runtime" "$work/$formation_id" --port 0 --data-dir "$work/formation-data" \
        >"$work/formation.out" 2>"$work/formation.err" &
    formation_pid=$!
    formation_url=$(await_line "$work/formation.out" "$formation_pid" 'http://127\.0\.0\.1:[0-9]+' | head -n1)
    CONTRACT_KNOWN=$(python3 "$here/seed.py" "$formation_url") || die "the formation took none of the first things"
    export CONTRACT_KNOWN
}

# fuzz NAME PID URL HOOKS EXCLUDED-PATHS: counts the operations as passed if all of them are.
fuzz() {
    local name=$1 pid=$2 url=$3 hooks=$4 excluded=$5 status=0 tested
    echo "--- $name"
    (
        cd "$work"
        SCHEMATHESIS_HOOKS="$here/$hooks" NO_COLOR=1 timeout "$seconds_max" \
            "$tools/schemathesis" --config-file "$here/schemathesis.toml" run "$url/openapi.json" --url "$url" \
            --phases examples,coverage,fuzzing --checks "$checks" --max-examples "$examples_max" \
            --exclude-path-regex "$excluded" --generation-deterministic --request-timeout 30 \
            --suppress-health-check all --warnings off
    ) | tee "$work/tested.out" || status=$?
    if ! kill -0 "$pid" 2>/dev/null; then
        tail -n 20 "$work/${name}.err" >&2
        echo "FAILED the $name ended while it was tested"
        status=1
    fi
    tested=$(sed -n 's/^ *Tested: *//p' "$work/tested.out")
    # A run that fails says what and where; one that does not has tried this many operations.
    if ((status == 0)) && ((${tested:-0} > 0)); then
        operations=$((operations + tested))
    else
        failed=$((failed + 1))
    fi
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
prepare_programs
prepare_schemathesis
work=$(mktemp -d)
operations=0 failed=0
pack_bundle
start_server
deploy
start_formation

# Streams that follow have no end on purpose: a fuzzer would only wait for it.
fuzz server "$server_pid" "$server_url" manager_hooks.py '^/rpc/formations/\{id\}/logs/stream$'
fuzz formation "$formation_pid" "$formation_url" formation_hooks.py '^/v1/(events|logs)'
echo "$operations passed, $failed failed"
((failed == 0))
