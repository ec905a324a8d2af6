#!/bin/sh
# Makes the Python environment of the ONNX cross-check: the checker and a second runtime, pinned.
set -eu

venv="${PIPELINE_PYTHON_VENV:-$HOME/.cache/pipeline-python}"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$venv/bin/python" -c 'import onnx, onnxruntime; print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)'
