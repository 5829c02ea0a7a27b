#!/usr/bin/env bash
# Installs MLflow from PyPI for the tests, each in a virtual environment of its own, unless it is there already:
#
#     tests/mlflow/install.sh [FOLDER]
#
#     FOLDER/client   the client, in its newest tested version
#     FOLDER/older    the client of the line before
#     FOLDER/server   the whole package with its server, from which models are imported
#
# FOLDER is target/mlflow by default, where the tests look; REGISTRY_TEST_MLFLOW names another one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${1:-target/mlflow}

fail() { echo "install.sh: $*" >&2; exit 1; }

command -v python3 >/dev/null || fail "python3 is missing (Debian: apt-get install python3 python3-venv)"
while read -r name package; do
    venv=$folder/$name
    if [ "$(cat "$venv/installed.txt" 2>/dev/null)" != "$package" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv" || fail "python3 can't make a virtual environment (Debian: apt-get install python3-venv)"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$package" < /dev/null \
            || fail "$package could not be installed; PyPI has to be reachable for that"
        echo "$package" > "$venv/installed.txt"
    fi
    echo "$venv has $package"
done <<'PACKAGES'
client mlflow-skinny==3.17.2
older mlflow-skinny==2.22.5
server mlflow==3.17.2
PACKAGES
