#!/usr/bin/env bash
# The action's step: its inputs, which are variables, as arguments of scripts/verify-models.
set -euo pipefail
arguments=()
# add FLAG LINES: the flag once for each line that is not empty.
add() {
  local line
  while IFS= read -r line; do
    if [ -n "$line" ]; then arguments+=("$1=$line"); fi
  done <<<"$2"
}
add --device "${INPUT_DEVICE:-}"
add --target "${INPUT_TARGET:-}"
add --budget "${INPUT_BUDGET:-}"
add --max-latency "${INPUT_MAX_LATENCY:-}"
add --percentile "${INPUT_PERCENTILE:-}"
add --baseline "${INPUT_BASELINE:-}"
add --data "${INPUT_DATA:-}"
arguments+=(--)
while IFS= read -r line; do
  if [ -n "$line" ]; then arguments+=("$line"); fi
done <<<"${INPUT_MODELS:-}"
exec "$(dirname "$0")/../../../scripts/verify-models" "${arguments[@]}"
