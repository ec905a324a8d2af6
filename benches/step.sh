#!/usr/bin/env bash
# Times a training step here and in PyTorch: step.sh [--quick] [--network NAME] [--threads N] [--generic].
# One JSON line for each network and number of threads. The first run fetches PyTorch (several GB).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/pipeline-target}
venv=${PIPELINE_TORCH_VENV:-$HOME/.cache/pipeline-torch}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: torch==2.15.0 numpy==2.4.6 >&2
cargo build --release --workspace --example step >&2
exec "$venv/bin/python" benches/step.py "$CARGO_TARGET_DIR/release/examples/step" "$@"
