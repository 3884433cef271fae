#!/usr/bin/env bash
# Run a command on a cluster of its own, with the images and fixtures loaded; take it down after.
# AGENTRUN_TARGETS names images that are not always built.
set -euo pipefail
export AGENTRUN_CLUSTER=${AGENTRUN_CLUSTER:-agentrun-test}
down() {
  # What a test runner printed last stays last; only a failure to clean up is worth more words.
  python -m dev down >/dev/null
}
trap down EXIT
python -m dev up
python -m dev images
python -m dev images stores ${AGENTRUN_TARGETS:-}
python -m dev fixtures
python -m dev run -- "$@"
