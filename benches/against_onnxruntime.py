"""Times ONNX files in the engine and in ONNX Runtime, one thread each, in turn: against_onnxruntime.py PIPELINE FOLDER [ROUNDS].

PIPELINE is the program, FOLDER what `cargo run --release --example networks FOLDER` has written. Prints a Markdown table
of median CPU times; ONNX Runtime runs the plain form alone, and all its graph optimisations are on.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy
import onnxruntime

# CPU time that one visit to ONNX Runtime takes, in seconds.
VISIT = 0.5


def main(program, folder, rounds):
    files = sorted(pathlib.Path(folder).glob("*.onnx"))
    tract, ort, sessions = {}, {}, {}
    for _ in range(rounds):
        for file in files:
            tract.setdefault(file, []).append(measured(program, file))
            if form(file) == "plain":
                session = sessions.get(file) or sessions.setdefault(file, open_session(file))
                ort.setdefault(name(file), []).append(run(session))
    print(f"ONNX Runtime {onnxruntime.__version__}; {rounds} rounds; CPU time on one thread, milliseconds\n")
    print("| network | form | engine | over plain | rounds, over plain | ONNX Runtime | engine over ONNX Runtime |")
    print("|---|---|---|---|---|---|---|")
    for network in sorted({name(file) for file in files}):
        forms = sorted((file for file in files if name(file) == network), key=lambda it: (form(it) != "plain", str(it)))
        plain = tract[forms[0]]
        other = statistics.median(ort[network])
        for file in forms:
            ratios = sorted(time / base for time, base in zip(tract[file], plain))
            median = statistics.median(tract[file])
            print(
                f"| {network} | {form(file)} | {1e3 * median:.3f} | {statistics.median(ratios):.3f} "
                f"| {ratios[0]:.3f} to {ratios[-1]:.3f} | {1e3 * other:.3f} | {median / other:.2f} |"
            )


def name(file):
    return file.name.split(".")[0]


def form(file):
    return file.name.split(".")[1]


def measured(program, file):
    """Median CPU time of one inference by tract, in a fresh process, in seconds."""
    command = [program, "measure", str(file), "--quick", "--allow-noisy", "--json"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return 1e-9 * statistics.median(ns for block in answer["measurement"]["blocks"] for ns in block["cpu_ns"])


def open_session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    image = numpy.random.default_rng(0).uniform(-1, 1, shape).astype(numpy.float32)
    return session, {session.get_inputs()[0].name: image}


def run(session):
    """Median CPU time of one inference by ONNX Runtime, warm, in seconds."""
    session, inputs = session
    times = []
    for is_warm in (False, True):
        end = time.thread_time() + (VISIT if is_warm else VISIT / 5)
        while time.thread_time() < end:
            start = time.thread_time_ns()
            session.run(None, inputs)
            if is_warm:
                times.append(time.thread_time_ns() - start)
    return 1e-9 * statistics.median(times)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)
