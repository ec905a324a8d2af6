"""Checks exported networks with the ONNX project's own checker and runs them in onnxruntime.

Usage: check_onnx.py FOLDER

For each NAME.onnx in FOLDER: the full checker and strict shape inference pass, the metadata says
that the file is NAME, and NAME.logits receives the output for the image in NAME.image, both raw
little-endian float32. Exits with 1 and one line a failure on stderr.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime


def declared_shape(value):
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


def check(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"name": path.stem}, "metadata"

    shape = declared_shape(model.graph.input[0])
    image = numpy.fromfile(path.with_suffix(".image"), dtype="<f4").reshape(shape)
    (logits,) = session.run(["logits"], {"image": image})
    assert list(logits.shape) == declared_shape(model.graph.output[0]), "output shape"
    assert logits.dtype == numpy.float32, "output type"
    logits.astype("<f4").tofile(path.with_suffix(".logits"))


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    failed = 0
    for path in paths:
        try:
            check(path)
        except Exception as error:  # Every file is to be named, whatever is wrong with it.
            failed += 1
            print(f"{path.stem}: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"{len(paths) - failed} of {len(paths)} passed: onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
