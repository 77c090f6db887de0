#!/usr/bin/env bash
# From a fresh clone to an answer of a language model: `./scripts/quickstart.sh --help`.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly formation=hello
readonly question='Hello! Who are you, and what can you do for me?'
readonly start_wait_s=30
# The manager gives its formations 30 s to end; this waits a little longer.
readonly stop_wait_s=45

usage() {
    cat <<EOF_USAGE
Builds the manager and the runtime, deploys formations/$formation and streams one chat with it.

Usage: ./scripts/quickstart.sh [options]

  --once             stop everything at the end; the exit code is 0 only if the model answered
  --data-dir DIR     where this installation lives (default: $(default_data_dir))
  --port N           port of the manager (default: 7890); with --data-dir it keeps two runs apart
  --llm-url URL      use this OpenAI-compatible server instead of the local model, such as
                     http://localhost:11434/v1; a key for it is read from \$LLM_API_KEY
  --llm-model NAME   the model to ask for there (default: the first that URL/models lists)
  --bin-dir DIR      use the programs in DIR instead of building them
  --help             this text

Without --once the manager goes on in the background, and running this again starts it anew.
EOF_USAGE
}

default_data_dir() { printf '%s/muxi-quickstart' "${XDG_DATA_HOME:-${HOME:?HOME is not set}/.local/share}"; }

step() { printf '\n==> %s\n' "$*"; }
say() { printf '    %s\n' "$*"; }
fail() {
    printf '\nquickstart: %s\n' "$*" >&2
    exit 1
}

# === arguments ===

parse_arguments() {
    once=false port=7890 data_dir='' bin_dir='' llm_url='' llm_model=''
    while (($# > 0)); do
        case $1 in
            --once) once=true && shift ;;
            --help | -h) usage && exit 0 ;;
            --data-dir | --port | --llm-url | --llm-model | --bin-dir)
                [[ -n ${2-} ]] || fail "$1 needs a value; see --help"
                case $1 in
                    --data-dir) data_dir=$2 ;;
                    --port) port=$2 ;;
                    --llm-url) llm_url=${2%/} ;;
                    --llm-model) llm_model=$2 ;;
                    --bin-dir) bin_dir=$(cd -- "$2" && pwd) ;;
                esac
                shift 2
                ;;
            *) fail "unknown option $1; see --help" ;;
        esac
    done
    if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
        fail "--port takes 1 to 65535, not $port"
    fi
    [[ -z $llm_model || -n $llm_url ]] || fail '--llm-model goes with --llm-url'
    [[ -z $llm_url || $llm_url == http://* || $llm_url == https://* ]] ||
        fail '--llm-url must begin with http:// or https://'
    data_dir=${data_dir:-$(default_data_dir)}
    # Bundles, conversations and keys: nobody else reads them.
    (umask 077 && mkdir -p -- "$data_dir")
    data_dir=$(cd -- "$data_dir" && pwd)
    log=$data_dir/quickstart-manager.log
    pid_file=$data_dir/quickstart-manager.pid
    manager_url=http://127.0.0.1:$port
    # One folder for both, so that one --data-dir says it all.
    export MUXI_CONFIG_DIR=$data_dir MUXI_DATA_DIR=$data_dir
}

# === the machine ===

missing_packages() {
    command -v curl >/dev/null || echo curl
    command -v openssl >/dev/null || echo openssl
    if [[ -z $bin_dir ]]; then
        command -v gcc >/dev/null || echo gcc
        [[ -e /usr/include/stdio.h ]] || echo libc6-dev
    fi
    if [[ -z $llm_url ]]; then
        python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    else
        command -v python3 >/dev/null || echo python3
    fi
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
    command -v apt-get >/dev/null ||
        fail "please install what these Debian packages hold, and run this again: ${missing[*]}"
    if ((EUID != 0)); then
        fail "some packages are missing. Run this line, and then this script again:
    sudo apt-get update && sudo apt-get install --yes ${missing[*]}"
    fi
    step "Installing system packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends -qq "${missing[@]}"
}

build() {
    if [[ -z $bin_dir ]]; then
        # Where rustup puts it, for shells that have not read its profile.
        command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
        command -v cargo >/dev/null || fail 'cargo is missing; install Rust with https://rustup.rs'
        step 'Building the manager and the runtime (the first time takes some minutes)'
        (cd -- "$root" && cargo build --release --locked -p muxi-server -p formation-runtime)
        bin_dir=${CARGO_TARGET_DIR:-$root/target}/release
    fi
    for program in muxi-server formation-runtime; do
        [[ -x $bin_dir/$program ]] || fail "there is no $program in $bin_dir"
    done
}

# === the model ===

obtain_model() {
    if [[ -n $llm_url ]]; then
        choose_remote_model
        return
    fi
    step 'Obtaining the local model'
    local file code=0
    file=$("$root/scripts/fetch-model.sh") || code=$?
    if ((code == 3)); then
        fail 'there is no local model (the reason is above). Any OpenAI-compatible server does as well:
    ./scripts/quickstart.sh --llm-url http://localhost:11434/v1 --llm-model NAME
  with its key, if it needs one, in the environment variable LLM_API_KEY.'
    fi
    ((code == 0)) || fail 'fetching the model failed (see above)'
    "$bin_dir/formation-runtime" models import "$file"
}

choose_remote_model() {
    step "Using the model server at $llm_url"
    if [[ -z $llm_model ]]; then
        llm_model=$(curl --silent --show-error --fail --max-time 30 \
            --header "@"<(llm_key_header) "$llm_url/models" | json_field data 0 id) ||
            fail 'it did not list its models; name one with --llm-model'
    fi
    say "model: $llm_model"
}

llm_key_header() { [[ -z ${LLM_API_KEY-} ]] || printf 'Authorization: Bearer %s\n' "$LLM_API_KEY"; }

# === the manager ===

initialise() {
    if [[ -f $data_dir/config.yaml ]]; then
        return
    fi
    step "Initialising in $data_dir"
    # The pair that `init` prints stays in the file; a log of this run need not hold it.
    "$bin_dir/muxi-server" init --non-interactive --port "$port" >/dev/null
    # Formations see none of the manager's environment but what is named here.
    printf '  pass_environment: [LLM_API_KEY]\n' >>"$data_dir/config.yaml"
    say "the key pair is in $data_dir/config.yaml"
}

# The manager holds this lock for as long as it lives.
is_running() { [[ -e $data_dir/manager.lock ]] && ! flock --nonblock "$data_dir/manager.lock" true; }

stop_earlier_manager() {
    local pid
    pid=$(cat -- "$pid_file" 2>/dev/null || true)
    if [[ -z $pid || $(readlink "/proc/$pid/exe" 2>/dev/null) != */muxi-server* ]]; then
        fail "a manager that this script did not start works on $data_dir; stop it first"
    fi
    kill -TERM "$pid"
    flock --wait "$stop_wait_s" "$data_dir/manager.lock" true ||
        fail "the manager (process $pid) did not stop in $stop_wait_s s; see $log"
}

start_manager() {
    if is_running; then
        step 'Stopping the manager of an earlier run'
        stop_earlier_manager
    fi
    step "Starting the manager on $manager_url"
    # A session of its own: neither Ctrl-C here nor the end of the terminal reaches it.
    setsid "$bin_dir/muxi-server" start --port "$port" >>"$log" 2>&1 </dev/null &
    manager_pid=$!
    printf '%s\n' "$manager_pid" >"$pid_file"
    say "log: $log"
    local deadline=$((SECONDS + start_wait_s))
    until local_curl --max-time 2 --output /dev/null "$manager_url/health" 2>/dev/null; do
        if ! kill -0 "$manager_pid" 2>/dev/null; then
            manager_pid=''
            tail -n 5 -- "$log" >&2
            fail 'the manager did not start (the end of its log is above); is the port taken? try --port'
        fi
        ((SECONDS < deadline)) || fail "the manager did not answer in $start_wait_s s; see $log"
        sleep 0.05
    done
    # Another program could have answered; only this manager knows the key.
    signed GET /rpc/server/status >/dev/null ||
        fail "what listens on port $port is not the manager that was started; try --port"
    say 'it is healthy'
}

# === requests ===

# No proxy: everything that is asked with it is on this machine.
local_curl() { curl --silent --show-error --fail-with-body --noproxy '*' "$@"; }

# The Authorization line for METHOD PATH, as the API reference makes it.
#
# `openssl dgst` takes a key only as an argument, so another user of this machine could see it for
# the milliseconds of that process. On a shared machine sign with one of the SDKs instead.
authorization() {
    local key secret now signature
    key=$(sed -n 's/^ *- id: *//p' "$data_dir/config.yaml" | head -n 1)
    secret=$(sed -n 's/^ *secret: *//p' "$data_dir/config.yaml" | head -n 1)
    now=$(date +%s)
    signature=$(printf '%s;%s;%s' "$now" "$1" "$2" |
        openssl dgst -sha256 -hmac "$secret" -binary | base64)
    printf 'Authorization: MUXI-HMAC key=%s, timestamp=%s, signature=%s\n' "$key" "$now" "$signature"
}

# signed METHOD PATH [options of curl]
signed() {
    local method=$1 path=$2
    shift 2
    # Headers come through a pipe: arguments can be read in the process list.
    local_curl --request "$method" --header "@"<(authorization "$method" "$path") "$@" "$manager_url$path"
}

# The value under the given keys of the JSON document on standard input.
json_field() {
    python3 -c '
import json, sys

try:
    value = json.load(sys.stdin)
    for key in sys.argv[1:]:
        value = value[int(key)] if isinstance(value, list) else value[key]
except (ValueError, LookupError, TypeError):
    sys.exit("the answer has no " + ".".join(sys.argv[1:]))
print(value)' "$@"
}

# Prints a stream of server-sent events as it comes: `progress` of a deploy or `tokens` of a chat.
# It succeeds only if the stream ended as a good one does: with `complete`, or with text and `done`.
print_events() {
    python3 -c '
import json, signal, sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
kind = sys.argv[1]
last = {"progress": "complete", "tokens": "done"}[kind]
event, ended, text = "message", False, ""
for line in sys.stdin:
    line = line.rstrip("\r\n")
    if line.startswith("event:"):
        event = line[6:].strip()
    elif line.startswith("data:"):
        data = json.loads(line[5:])
        if event == "error":
            sys.exit("\n".join(["", str(data.get("message", data)), *data.get("details", [])]))
        ended = ended or event == last
        if kind == "tokens" and event == "message":
            text += data["token"]
            print(data["token"], end="", flush=True)
        elif event == "progress":
            print("    {stage}: {message}".format(**data), flush=True)
    elif not line:
        event = "message"
    elif not line.startswith((":", "id:", "retry:")):
        print(line, file=sys.stderr)  # not a stream: an error as plain JSON
if kind == "tokens":
    print(flush=True)
if not ended or (kind == "tokens" and not text.strip()):
    sys.exit("the stream ended early")' "$1"
}

# === the formation ===

# Packs the formation into $work/bundle.tar.gz; with --llm-url a copy of it that names the server.
pack() {
    local source=$root/formations/$formation
    if [[ -n $llm_url ]]; then
        cp -R -- "$source" "$work/$formation"
        source=$work/$formation
        use_remote_model "$source/formation.afs"
    fi
    tar --create --gzip --file "$work/bundle.tar.gz" --directory "$source" .
}

use_remote_model() {
    python3 - "$1" "$llm_url" "$llm_model" <<'PYTHON'
import json, sys

path, url, model = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    text = file.read()
for old, new in [
    ("\nllm:\n", f"\nllm:\n  base_urls:\n    llm: {json.dumps(url)}\n"),
    ("text: local/smollm2-135m-instruct", "text: " + json.dumps("llm/" + model)),
]:
    if text.count(old) != 1:
        sys.exit(f"{path} does not have {old.strip()!r} exactly once")
    text = text.replace(old, new)
with open(path, "w", encoding="utf-8") as file:
    file.write(text)
PYTHON
}

deploy() {
    if signed GET "/rpc/formations/$formation" >/dev/null 2>&1; then
        step "Removing the earlier deployment of $formation, conversations included"
        signed DELETE "/rpc/formations/$formation" >/dev/null
    fi
    step "Deploying formations/$formation"
    pack
    signed POST /rpc/formations --no-buffer \
        --header 'Content-Type: application/gzip' --header 'Accept: text/event-stream' \
        --data-binary "@$work/bundle.tar.gz" | print_events progress ||
        fail "the deploy failed; see $log and $data_dir/logs/$formation"
    formation_port=$(signed GET "/rpc/formations/$formation" | json_field data port)
    keys_file=$data_dir/formations/$formation/data/keys.json
    say "it is served on http://127.0.0.1:$formation_port; its keys are in $keys_file"
}

client_key_header() { printf 'X-Muxi-Client-Key: %s\n' "$(json_field client_key <"$keys_file")"; }

chat() {
    step "Asking: $question"
    printf '\n'
    local_curl --no-buffer "http://127.0.0.1:$formation_port/v1/chat" \
        --header "@"<(client_key_header) --header 'X-Muxi-User-ID: quickstart' \
        --header 'Accept: text/event-stream' --header 'Content-Type: application/json' \
        --data "{\"message\": \"$question\"}" | print_events tokens ||
        fail "no whole answer came; see $data_dir/logs/$formation and $data_dir/logs/_model-host"
}

what_next() {
    cat <<EOF_NEXT

==> What to try next

Chat again:

    key=\$(sed -n 's/.*"client_key": *"\([^"]*\)".*/\1/p' '$keys_file')
    curl -N http://127.0.0.1:$formation_port/v1/chat -H "X-Muxi-Client-Key: \$key" \\
        -H 'X-Muxi-User-ID: quickstart' -H 'Accept: text/event-stream' \\
        -d '{"message": "Tell me a short story."}'

List the formations, signed:

    id=\$(sed -n 's/^ *- id: *//p' '$data_dir/config.yaml')
    secret=\$(sed -n 's/^ *secret: *//p' '$data_dir/config.yaml')
    now=\$(date +%s)
    signature=\$(printf '%s;GET;/rpc/formations' "\$now" | openssl dgst -sha256 -hmac "\$secret" -binary | base64)
    curl $manager_url/rpc/formations \\
        -H "Authorization: MUXI-HMAC key=\$id, timestamp=\$now, signature=\$signature"

Kill the formation's process and ask again, as above: the manager starts it anew, and the request
waits instead of failing:

    kill -9 $(signed GET "/rpc/formations/$formation" | json_field data pid)

Stop the manager and its formations:

    kill \$(cat '$pid_file')
EOF_NEXT
}

# === the end ===

# Whatever happened: no half-done run is left behind.
clean_up() {
    local code=$?
    trap - EXIT
    [[ -z $work ]] || rm -rf -- "$work"
    if [[ -n $manager_pid ]] && ! $keep_running; then
        step 'Stopping the manager and its formations'
        kill -TERM "$manager_pid" 2>/dev/null || true
        # The manager bounds its own end; it fails if something did not stop in time.
        wait "$manager_pid" || { say "it did not stop in good order; see $log" && code=1; }
        rm -f -- "$pid_file"
    fi
    exit "$code"
}

main() {
    manager_pid='' work='' keep_running=false
    parse_arguments "$@"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d)
    install_packages
    build
    obtain_model
    initialise
    start_manager
    deploy
    chat
    if ! $once; then
        keep_running=true
        what_next
    fi
}

main "$@"
