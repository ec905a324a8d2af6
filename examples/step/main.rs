//! The side of `benches/step.py` that trains by this project: `step describe` writes the networks, a line of JSON each;
//! `step train NETWORK [generic|cuda]` does one optimizer step for each line on its standard input and answers with its
//! time: by our kernels, by Burn's, or on a GPU.
//!
//! A step is what a search does: the next batch of images, varied and normalised, through
//! [`Supernet::train_step`].

mod networks;

use std::{
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    sync::Arc,
    time::Instant,
};

use ::train::{Compute, Recipe, Schedule, TrainingSet, ops, shared::Supernet};
use data::{Augment, Normalisation, Part, Role, Task};
use graph::{Graph, Op, Pads, cost};
use search::{evaluator::SharedWeights, pricing::Pricer};
use serde_json::{Value, json};
use targets::{Budget, CostModel, Target};

#[global_allocator]
static ALLOCATOR: memory::Keeping = memory::Keeping;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["describe"] => {
            for network in networks::all()? {
                let cost = cost::static_cost(&network.graph);
                let nodes: Vec<Value> = network.graph.ids().map(|id| node(&network.graph, id)).collect();
                let (params, macs) = (cost.params, cost.macs);
                let about = json!({ "network": network.name, "batch": network.batch, "params": params, "macs": macs });
                say(&json!({ "about": about, "nodes": nodes }))?;
            }
            Ok(())
        }
        ["train", name] => train(name, ops::Kernels::Own, Compute::Cpu),
        ["train", name, "generic"] => train(name, ops::Kernels::Generic, Compute::Cpu),
        ["train", _, "cuda"] if Compute::cuda_devices() == 0 => Err("no GPU, or built without --features cuda".into()),
        ["train", name, "cuda"] => train(name, ops::Kernels::Generic, Compute::Cuda),
        _ => Err("say `describe`, or `train NETWORK [generic|cuda]`".into()),
    }
}

fn train(name: &str, kernels: ops::Kernels, compute: Compute) -> Result<(), Box<dyn Error>> {
    let network = networks::all()?.into_iter().find(|it| it.name == name).ok_or("no such network")?;
    ops::select(kernels);
    memory::keep();
    let mut supernet = supernet(network.batch, compute);
    for line in stdin().lock().lines() {
        line?;
        let started = (Instant::now(), cpu_seconds());
        let step = supernet.train_step(&network.graph)?;
        let wall = started.0.elapsed().as_secs_f64();
        say(&json!({ "wall": wall, "cpu": cpu_seconds() - started.1, "loss": step.loss, "rss_mib": peak_mib()? }))?;
    }
    Ok(())
}

fn say(line: &Value) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Noise, as many images as four batches, and the recipe of the paper's shared training.
fn supernet(batch: usize, compute: Compute) -> Supernet {
    const CLASSES: usize = 10;
    let (n, shape) = (4 * batch, [3, 32, 32]);
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let part = Part {
        name: "noise".to_owned(),
        role: Role::Train,
        task: Task::Classification,
        shape,
        pixels: (0..n * shape.iter().product::<usize>()).map(|_| byte()).collect(),
        labels: (0..n as u32).map(|idx| idx % CLASSES as u32).collect(),
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        sound: None,
        text: None,
        groups: Vec::new(),
    };
    let train: Vec<usize> = (0..n).collect();
    let normalisation = Normalisation::of(&part, &train).expect("there are images");
    let augment = Augment { pad: 4, flip: true, ..Augment::NONE };
    let set = TrainingSet { part: Arc::new(part), validation: train.clone(), train, normalisation, augment };
    let schedule = Schedule { max: 0.01, min: 0.01, period: 1.0, growth: 1.0, warmup: 0.0, drops: None };
    let recipe = Recipe::published(1, batch, schedule);
    let model = CostModel::new(Target::find("rpi4").expect("a built-in target"));
    Supernet::new(set, recipe, compute, 0, Pricer::new(model, Budget::default(), None, 0))
}

/// CPU time of this process so far, all threads, user and system.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no peak memory in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("an empty line")?.parse()?;
    Ok(kib / 1024.0)
}

/// A node as the other side reads it.
fn node(graph: &Graph, id: graph::NodeId) -> Value {
    let sides = |pads: Pads| [pads.top, pads.bottom, pads.left, pads.right];
    let mut said = match graph.op(id) {
        Op::Conv2d(conv) => json!({
            "channels": conv.channels, "kernel": conv.kernel, "stride": conv.stride, "dilation": conv.dilation,
            "pads": sides(conv.pads), "groups": conv.groups, "bias": conv.bias,
        }),
        Op::Linear(features) => json!({ "features": features }),
        Op::MaxPool(pool) | Op::AvgPool(pool) => {
            json!({ "kernel": pool.kernel, "stride": pool.stride, "pads": sides(pool.pads) })
        }
        Op::Resize(size) => json!({ "size": size }),
        Op::Slice { from, channels } => json!({ "from": from, "channels": channels }),
        Op::Weigh { key, option } => json!({ "key": key, "option": option }),
        Op::Input
        | Op::Activation(_)
        | Op::BatchNorm
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Mul
        | Op::Sub
        | Op::Mean
        | Op::Embed(_)
        | Op::Memory(_)
        | Op::Concat
        | Op::ChannelsLast
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_) => json!({}),
    };
    said["op"] = json!(graph.op(id).name());
    said["inputs"] = graph.inputs(id).iter().map(|input| input.index()).collect();
    said["shape"] = json!(graph.shape(id).dims());
    said
}
