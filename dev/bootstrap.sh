#!/usr/bin/env bash
# Make the virtual environment in $1: the pinned dependencies of every program and of the checks.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2
  exit 1
}
echo "== Python environment: $venv"
rm -rf "$venv"
"$python" -c 'import ensurepip' 2>/dev/null || {
  # Debian keeps what makes environments in a package of its own.
  apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null
}
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --require-hashes -r requirements-dev.txt
touch "$venv/bin/.ready"
