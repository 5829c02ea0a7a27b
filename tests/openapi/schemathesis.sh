#!/usr/bin/env bash
# Holds a running registry against its own description: openapi-spec-validator reads the description, and schemathesis makes
# thousands of requests from it, good and bad ones, and judges each answer (tests/openapi/schemathesis.toml says how).
#
#     tests/openapi/schemathesis.sh [BINARY] [MAX_EXAMPLES] [SEED]
#
# BINARY is target/debug/registry by default. It serves a database of its own on a free port of 127.0.0.1 and is
# stopped at the end. The Python tools go into target/openapi-venv, from PyPI. The exit code is 0 only if nothing was found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

binary=$(realpath -m "${1:-target/debug/registry}")
max_examples=${2:-60}
seed=${3:-1}
venv=$PWD/target/openapi-venv
requirements=tests/openapi/requirements.txt
# The run takes about a minute; what takes this long hangs.
limit_seconds=600

fail() { echo "schemathesis.sh: $*" >&2; exit 1; }

[ -x "$binary" ] || fail "there is no $binary; build it first (cargo build)"
command -v python3 >/dev/null || fail "python3 is missing (Debian: apt-get install python3 python3-venv)"
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 can't make a virtual environment (Debian: apt-get install python3-venv)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" \
        || fail "the tools could not be installed; PyPI has to be reachable for that"
    cp "$requirements" "$venv/installed.txt"
fi

folder=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap stop EXIT

# In a folder of its own, so that no configuration of this machine has a say.
export REGISTRY_TEST_KEY="openapi-test-$RANDOM$RANDOM$RANDOM"
(cd "$folder" && exec env -u CAIA_REGISTRY_API_KEYS CAIA_REGISTRY_API_KEY="$REGISTRY_TEST_KEY" CAIA_REGISTRY_LOG=warn \
    CAIA_REGISTRY_TRUSTED_PROXIES=127.0.0.1 \
    "$binary" serve --host 127.0.0.1 --port 0 --db-path registry.db) > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    url=$(grep -om1 'http://127\.0\.0\.1:[0-9]*' "$folder/log" || true)
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[ -n "$url" ] || { cat "$folder/log" >&2; fail "the server did not start"; }

post() {
    "$venv/bin/python" - "$url$1" "$2" <<'PYTHON'
import os, sys, urllib.request
headers = {"X-API-Key": os.environ["REGISTRY_TEST_KEY"], "Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers), timeout=10)
PYTHON
}
# What the examples of the description are about, so that they find it.
post /models '{"name": "minilm", "version": "v1", "artifact_uri": "s3://models/minilm/v1", "status": "production"}'
post /models/1/metrics '{"suite": "smoke-v1", "metrics": {"score": 0.82}}'

"$venv/bin/python" -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' \
    "$url/openapi.json" "$folder/openapi.json"
"$venv/bin/openapi-spec-validator" "$folder/openapi.json" || fail "the description is no sound OpenAPI"

cd tests/openapi
export PYTHONDONTWRITEBYTECODE=1
timeout "$limit_seconds" "$venv/bin/schemathesis" --config-file schemathesis.toml run "$url/openapi.json" \
    --checks all --max-examples "$max_examples" --seed "$seed" --no-color || fail "see above; the server said: $(tail -n 5 "$folder/log")"
kill -0 "$server" 2>/dev/null || fail "the server has ended"
