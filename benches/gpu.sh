#!/usr/bin/env bash
# The whole check on a machine with an NVIDIA GPU: gpu.sh CIFAR-10-FOLDER OUT.json [--compute cpu --quick]
# A training step beside PyTorch on the same GPU, then B-ENAS at the paper's schedule with its final training. The
# figures are written to OUT.json with the date and the device. About ten minutes after the build, which takes longer.
# With `--compute cpu --quick` the same way is taken on any machine, at the demo's size: what it writes is no GPU's.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
data=$(realpath "$1")
out=$(realpath -m "$2")
shift 2
compute=cuda
quick=
while [ $# -gt 0 ]; do
  case "$1" in
    --compute) compute=$2; shift ;;
    --quick) quick=--quick ;;
    *) echo "gpu.sh: $1: say --compute cpu or --quick" >&2; exit 2 ;;
  esac
  shift
done
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/pipeline-target}
features=()
[ "$compute" = cpu ] || features=(--features cuda)
venv=${PIPELINE_TORCH_VENV:-$HOME/.cache/pipeline-torch}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: torch==2.15.0 numpy==2.4.6 >&2
cargo build --release --workspace --example step --bin pipeline "${features[@]}" >&2
pipeline=$CARGO_TARGET_DIR/release/pipeline

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$compute" = cuda ]; then
  device=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -n 1)
  size=(--preset paper --deadline 5min)
else
  device=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
  size=(--preset demo --deadline 3min)
fi
"$venv/bin/python" benches/step.py "$CARGO_TARGET_DIR/release/examples/step" --compute "$compute" $quick > "$work/steps.jsonl"
started=$(date +%s)
code=0
"$pipeline" search --target host --device none --data "$data" --strategy b-enas --baseline searched "${size[@]}" \
  --compute "$compute" --seed 0 --run "$work/run" --json > "$work/search.json" || code=$?
took=$(($(date +%s) - started))
"$venv/bin/python" - "$work" "$device" "$compute" "$took" "$code" "$(git rev-parse --short HEAD)" > "$out.part" <<'X'
import datetime, json, pathlib, sys
work, device, compute, took, code, commit = sys.argv[1:]
work = pathlib.Path(work)
lines = lambda name: [json.loads(line) for line in (work / name).read_text().splitlines()]
receipt = work / "run" / "receipt.json"
print(json.dumps({
    "date": datetime.date.today().isoformat(),
    "device": device,
    "compute": compute,
    "commit": commit,
    "steps": lines("steps.jsonl"),
    "search": {"seconds": int(took), "exit": int(code), "said": lines("search.json")},
    "receipt": json.loads(receipt.read_text()) if receipt.exists() else None,
}, indent=1))
X
mv "$out.part" "$out"
echo "written to $out: search and final training took $took s (exit $code)"
