#!/usr/bin/env bash
# Bring the cluster $1 up for tests, with the images that follow, or whatever of it is missing.
set -euo pipefail
export AGENTRUN_CLUSTER=$1
python -m dev up
python -m dev images "${@:2}"
python -m dev fixtures
# The images are unpacked, and what they were unpacked from is not read again.
python -m dev.memory
