#!/usr/bin/env bash
# Runs every check and every test of the repository, and says at the end how it went.
#
#   ./scripts/test.sh        # nothing is asked; as root, missing system packages are installed
#
# A failed step does not keep later ones from running, so that one run shows every failure.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
cd -- "$root"

summary=() passed=0 failed=0

# === what the tests need ===

missing_packages() {
    command -v gcc >/dev/null || echo gcc
    [[ -e /usr/include/stdio.h ]] || echo libc6-dev
    command -v curl >/dev/null || echo curl
    command -v openssl >/dev/null || echo openssl
    # The published Rust SDK is built against the system's OpenSSL.
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists openssl 2>/dev/null || echo libssl-dev
    # A formation's memory is tested on a server, too.
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || echo postgresql
    # Servers of the Model Context Protocol that the tests talk to.
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    command -v git >/dev/null || echo git
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        printf 'Packages are missing. Run this line, and then this script again:\n' >&2
        printf '    sudo apt-get update && sudo apt-get install --yes %s\n' "${missing[*]}" >&2
        exit 1
    fi
    printf 'Installing %s\n' "${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends -qq "${missing[@]}"
}

find_cargo() {
    # Where rustup puts it, for shells that have not read its profile.
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null; then
        echo 'cargo is missing; install Rust with https://rustup.rs' >&2
        exit 1
    fi
    local component
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        # Without rustup the step that needs it fails and says so.
        rustup component add "$component" ||
            echo "$component is missing; install it with your Rust toolchain" >&2
    done
}

# === steps ===

# step NAME COMMAND…: runs it, keeps its time, and counts the tests that it reports.
step() {
    local name=$1 log="$work/step.log" began=$SECONDS status=0 counts
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 | tee "$log" || status=$?
    counts=$(count_tests <"$log")
    local step_passed=${counts% *} step_failed=${counts#* }
    # A step that is one check, and a suite that broke down before it could count.
    if ((step_passed + step_failed == 0 && status == 0)); then step_passed=1; fi
    if ((step_failed == 0 && status != 0)); then step_failed=1; fi
    passed=$((passed + step_passed)) failed=$((failed + step_failed))
    local outcome=ok
    ((status == 0)) || outcome=FAILED
    summary+=("$(printf '%-7s %5d s  %s' "$outcome" $((SECONDS - began)) "$name")")
    return "$status"
}

# "PASSED FAILED" from the summaries of nextest, of cargo test and of the SDK drivers.
count_tests() {
    python3 -c '
import re, sys

text = re.sub(r"\x1b\[[0-9;]*m", "", sys.stdin.read())
passed = failed = 0
# Only what stands for a whole suite: nextest shows the words of single failed tests indented.
suite = re.compile(r" *Summary \[|test result:|\d+ passed, \d+ failed$")
for line in filter(suite.match, text.splitlines()):
    for count, word in re.findall(r"(\d+) (passed|failed|exec failed|timed out)\b", line):
        if word == "passed":
            passed += int(count)
        else:
            failed += int(count)
print(passed, failed)'
}

workspace_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked
    else
        # Building nextest would take longer than it saves. Two at a time: many tests start daemons.
        cargo test --workspace --locked --no-fail-fast --lib --bins --tests -- --test-threads=2
    fi
}

# The tests of the whole use the model as users do: imported, below the user's cache.
import_model() {
    local file
    file=$(scripts/fetch-model.sh) && "$programs/formation-runtime" models import "$file"
}

quickstart() {
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    scripts/quickstart.sh --once --bin-dir "$programs" --data-dir "$work/quickstart" --port "$port"
}

report() {
    printf '\n=== Summary\n'
    printf '%s\n' "${summary[@]}"
    printf '%d minutes in all\n' $(((SECONDS + 59) / 60))
    printf '%d passed, %d failed\n' "$passed" "$failed"
}

main() {
    install_packages
    find_cargo
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
    programs=${CARGO_TARGET_DIR:-$root/target}/debug

    # `||`: the failure is counted already, and the next step is worth running all the same.
    step 'the model for tests' scripts/fetch-model.sh || true
    step 'MCP servers for tests' tests/mcp/install.sh || true
    step 'layers' cargo xtask layers || true
    step 'format' cargo fmt --all --check || true
    step 'lints' cargo clippy --workspace --all-targets --locked -- -D warnings || true
    # With the tests' own targets: their features are those of the next steps, so nothing is built twice.
    if step 'build' cargo build --workspace --all-targets --locked; then
        step 'the model is imported' import_model || true
        step 'tests of the workspace' workspace_tests || true
        step 'tests in the documentation' cargo test --workspace --doc --locked || true
        step 'the published SDKs' env MUXI_BIN_DIR="$programs" tests/sdk/run.sh || true
        step 'the API against its document' env MUXI_BIN_DIR="$programs" tests/contract/run.sh || true
        step 'quickstart' quickstart || true
    else
        summary+=('skipped          the tests: there is nothing to test without the build')
    fi
    report
    ((failed == 0))
}

main "$@"
