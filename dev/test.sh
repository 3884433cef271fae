#!/usr/bin/env bash
# Run stages of the proof side by side (the Makefile says which comes after which), sum them up, and
# leave nothing running. AGENTRUN_RESULTS gets what each printed, and what there is to see of each
# test that failed.
set -euo pipefail
stages=("$@")

export AGENTRUN_RESULTS=${AGENTRUN_RESULTS:-$AGENTRUN_CACHE/results}
rm -rf "$AGENTRUN_RESULTS"
mkdir -p "$AGENTRUN_RESULTS"

down() {
  # What is printed last stays last; only a failure to clean up is worth more words.
  for name in agentrun-test agentrun-test-2; do
    python -m dev --name $name down >/dev/null &
  done
  wait
}
trap down EXIT
# Each in a session of its own would outlive an interrupt; as one group they end together.
trap 'trap - INT TERM; kill 0; wait' INT TERM

# Also what only some tests need: no stage's time is to be spent on building it.
python -m dev tools

make --no-print-directory --jobs=6 --keep-going "${stages[@]/#/stage-}" || true
python -m dev.stages sum-up "${stages[@]}"
