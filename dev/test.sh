#!/usr/bin/env bash
# Run stages of the proof, sum them up, and leave nothing running. Each argument names stages that run
# side by side, in the order in which they are begun; the Makefile says what a stage waits for.
# AGENTRUN_RESULTS gets what each stage printed, and what there is to see of each test that failed.
set -euo pipefail
groups=("$@")

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
# What a run that was interrupted has left is of no use.
down
python -m dev.memory

for group in "${groups[@]}"; do
  read -ra stages <<<"$group"
  # A stage that fails keeps none of the others from showing what they have to show.
  make --no-print-directory --jobs=7 --keep-going "${stages[@]/#/stage-}" || true
done
# shellcheck disable=SC2086 - several names in each
python -m dev.stages sum-up images ${groups[*]}
