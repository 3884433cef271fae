#!/usr/bin/env bash
# The tests of opencode and the Gemini CLI, on a cluster of their own. Their image is built for them
# alone, and opencode takes 1 GB for each run.
set -euo pipefail
export AGENTRUN_CLUSTER=agentrun-test
down() {
  # What a test runner printed last stays last; only a failure to clean up is worth more words.
  python -m dev down >/dev/null
}
trap down EXIT
python -m dev up
python -m dev images
python -m dev images agent-more
python -m dev fixtures
python -m dev run -- pytest -q --durations=15 tests/e2e/test_backends.py
