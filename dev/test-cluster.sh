#!/usr/bin/env bash
# The tests that need a cluster. They mostly wait, so two halves run side by side, each on a
# cluster of its own; then come those that look back at what both halves did.
set -euo pipefail

first=agentrun-test
second=agentrun-test-2
# Whatever is not named here is in the first half.
second_half=(tests/e2e/test_{agent_tools,backends,clocks,continue,failures_*,nodes,profiles,removal,replicas,seldom,upgrade}.py)
output=$(mktemp)
other=

down() {
  # What a test runner printed last stays last; only a failure to clean up is worth more words.
  [[ -z $other ]] || kill "$other" 2>/dev/null || true
  for name in $first $second; do
    python -m dev --name $name down >/dev/null
  done
  rm -f "$output"
}
trap down EXIT

# Also what only some tests need: no test's time is to be spent on building it.
python -m dev tools >/dev/null

for name in $first $second; do
  export AGENTRUN_CLUSTER=$name
  python -m dev up
  python -m dev images
  python -m dev images stores
  # What only the slower agents need, where their tests are.
  [[ $name = "$first" ]] || python -m dev images agent-more agent-other
  python -m dev fixtures
done

on() {
  AGENTRUN_CLUSTER=$1 python -m dev run -- "${@:2}"
}

failed=0
on $second pytest -q --durations=15 ${second_half[@]} >"$output" 2>&1 &
other=$!
echo "== first half"
on $first pytest -q --durations=15 tests/apiserver tests/e2e ${second_half[@]/#/--ignore=} || failed=1
echo "== second half"
wait $other || failed=1
other=
cat "$output"
echo "== rights, after both halves"
AGENTRUN_AUDITED="$first $second" on $first pytest -q tests/rights || failed=1
exit $failed
