"""Times a training step of the same networks here and in PyTorch, in turn: step.py STEP [--quick] [--network NAME]
[--threads N] [--generic] [--compute cuda]; step.sh prepares what it needs, and gpu.sh on a machine with a GPU.

STEP is the program of `examples/step`. Prints one JSON line for each network and number of threads; times are medians
over rounds, and ratios are medians of each round's ratio, PyTorch's time over ours. Our step takes its images from the
search's own pipeline (shuffled, cropped, mirrored, normalised); PyTorch is given a finished tensor, so that cost is ours
alone. PyTorch runs in the faster of its two memory formats, with rectifiers in place wherever autograd allows it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and not the largest network")
    parser.add_argument("--network", help="this one alone")
    parser.add_argument("--threads", type=int, help="this number alone instead of one, then two")
    parser.add_argument("--generic", action="store_true", help="our side by Burn's kernels")
    parser.add_argument("--compute", choices=["cpu", "cuda"], default="cpu", help="where both sides train")
    args = parser.parse_args()
    described = subprocess.run([args.step, "describe"], check=True, capture_output=True, text=True).stdout
    networks = [json.loads(line) for line in described.splitlines()]
    if args.network:
        networks = [it for it in networks if it["about"]["network"] == args.network]
        if not networks:
            sys.exit(f"no network is called {args.network}")
    elif args.quick:
        networks = networks[:-1]
    for network in networks:
        # On a GPU the threads are what feeds it.
        for threads in [args.threads] if args.threads else [2] if args.compute == "cuda" else [1, 2]:
            print(json.dumps(compare(args, network, threads)), flush=True)


def compare(args, network, threads):
    name, batch = network["about"]["network"], network["about"]["batch"]
    kernels = ["cuda"] if args.compute == "cuda" else ["generic"] if args.generic else []
    ours = Worker([args.step, "train", name, *kernels], threads)
    theirs = Worker([sys.executable, __file__, "--pytorch", args.compute], threads)
    theirs.ask(json.dumps(network))
    # The first steps allocate and choose algorithms.
    ours.ask()
    rounds, enough, least = [], 15 if args.quick else 60, 2 if args.quick else 3
    started = time.monotonic()
    while len(rounds) < least or time.monotonic() - started < enough and len(rounds) < 30:
        rounds.append((ours.ask(), theirs.ask()))
    peaks = [rounds[-1][side]["rss_mib"] for side in (0, 1)]
    idle = theirs.first["rss_mib"]
    fmt = theirs.first["memory_format"]
    for worker in (ours, theirs):
        worker.close()

    def middle(side, what):
        return statistics.median(round[side][what] for round in rounds)

    def ratio(what):
        return statistics.median(theirs[what] / ours[what] for ours, theirs in rounds)

    return {
        "network": name,
        "compute": args.compute,
        "threads": threads,
        "batch": batch,
        "ours_cpu_ms_per_image": round(1e3 * middle(0, "cpu") / batch, 4),
        "pytorch_cpu_ms_per_image": round(1e3 * middle(1, "cpu") / batch, 4),
        "ratio": round(ratio("cpu"), 3),
        "wall_ratio": round(ratio("wall"), 3),
        "ours_images_per_second": round(batch / middle(0, "wall"), 1),
        "pytorch_images_per_second": round(batch / middle(1, "wall"), 1),
        "ours_gflops": round(6e-9 * network["about"]["macs"] * batch / middle(0, "wall"), 1),
        "ours_rss_mib": round(peaks[0]),
        "pytorch_rss_mib": round(peaks[1]),
        "pytorch_idle_rss_mib": round(idle),
        "pytorch_memory_format": fmt,
        "rounds": len(rounds),
    }


class Worker:
    """A process that does one step for each line."""

    def __init__(self, command, threads):
        count = str(threads)
        env = os.environ | {"RAYON_NUM_THREADS": count, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        pipe, first = subprocess.PIPE, sorted(os.sched_getaffinity(0))[:threads]
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=env, preexec_fn=lambda: os.sched_setaffinity(0, first)
        )
        self.first = None

    def ask(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args} ended with {self.process.wait()}")
        answer = json.loads(answer)
        self.first = self.first or answer
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def pytorch(device):
    """The other side: reads a network, then does one step for each line. A step ends when its loss is known here."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    description = json.loads(sys.stdin.readline())
    nodes, about = description["nodes"], description["about"]
    idle = peak_mib()
    users = [sum(it["inputs"].count(idx) for it in nodes) for idx in range(len(nodes))]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.of_node = torch.nn.ModuleDict()
            for idx, node in enumerate(nodes):
                if node["op"] == "Conv2d":
                    fan_in = nodes[node["inputs"][0]]["shape"][0]
                    top, bottom, left, right = node["pads"]
                    assert (top, left) == (bottom, right), "the networks pad evenly"
                    self.of_node[str(idx)] = torch.nn.Conv2d(
                        fan_in, node["channels"], node["kernel"], node["stride"], (top, left), node["dilation"],
                        node["groups"], node["bias"],
                    )
                elif node["op"] == "BatchNorm":
                    self.of_node[str(idx)] = torch.nn.BatchNorm2d(node["shape"][0])
                elif node["op"] == "Linear":
                    self.of_node[str(idx)] = torch.nn.Linear(nodes[node["inputs"][0]]["shape"][0], node["features"])

        def forward(self, image):
            values, left = [], list(users)
            for idx, node in enumerate(nodes):
                inputs = [values[it] for it in node["inputs"]]
                for it in node["inputs"]:
                    left[it] -= 1
                    if left[it] == 0:
                        values[it] = None
                # What batch norms and sums give is not needed backward: the rectifier may overwrite it.
                alone = idx > 0 and users[node["inputs"][0]] == 1
                inplace = alone and nodes[node["inputs"][0]]["op"] in ("BatchNorm", "Add")
                match node["op"]:
                    case "Input":
                        value = image
                    case "Conv2d" | "BatchNorm" | "Linear":
                        value = self.of_node[str(idx)](inputs[0])
                    case "Relu":
                        value = F.relu(inputs[0], inplace=inplace)
                    case "Relu6":
                        value = F.relu6(inputs[0], inplace=inplace)
                    case "MaxPool":
                        value = F.max_pool2d(inputs[0], node["kernel"], node["stride"], node["pads"][0::2])
                    case "AvgPool":
                        value = F.avg_pool2d(
                            inputs[0], node["kernel"], node["stride"], node["pads"][0::2], count_include_pad=False
                        )
                    case "GlobalAvgPool":
                        value = F.adaptive_avg_pool2d(inputs[0], 1).flatten(1)
                    case "Add":
                        value = inputs[0]
                        for other in inputs[1:]:
                            value = value + other
                    case "Concat":
                        value = torch.cat(inputs, 1)
                    case other:
                        raise ValueError(other)
                values.append(value)
            return values[-1]

    net = Net().to(device)
    n_params = sum(it.numel() for it in net.parameters())
    assert n_params == about["params"], f"{n_params} parameters instead of {about['params']}"
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    batch = about["batch"]
    images = torch.randn(batch, *nodes[0]["shape"], device=device)
    labels = torch.arange(batch, device=device) % 10

    def step(memory_format):
        started, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(net(images.to(memory_format=memory_format)), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        return {"loss": loss.item(), "wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}

    clock = "cpu" if device == "cpu" else "wall"
    formats = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
    tried = {}
    for name, memory_format in formats.items():
        net.to(memory_format=memory_format)
        tried[name] = min(step(memory_format)[clock] for _ in range(2))
    best = min(tried, key=tried.get)
    net.to(memory_format=formats[best])
    print(json.dumps({"rss_mib": idle, "memory_format": best}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(step(formats[best]) | {"rss_mib": peak_mib()}), flush=True)


def peak_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    pytorch(sys.argv[2]) if sys.argv[1:2] == ["--pytorch"] else main()
