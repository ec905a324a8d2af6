//! An interpreter of networks, written from the documentation of `Op`: loops, `f64`, no shortcuts.

use graph::{Activation, Conv2d, Graph, NodeId, Op, Pads, Pool2d, Shape, weights::Weights};

/// The value of one node: `data[(c * height + y) * width + x]`; a vector has one row and one column.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: Vec<f64>,
}

impl Value {
    fn from_fn(channels: usize, height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f64) -> Self {
        let mut data = Vec::new();
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    data.push(value(c, y, x));
                }
            }
        }
        Self { channels, height, width, data }
    }

    fn at(&self, c: usize, y: usize, x: usize) -> f64 {
        self.data[(c * self.height + y) * self.width + x]
    }

    /// The value at a place that may lie outside.
    fn inside(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < self.height && x < self.width).then(|| self.at(c, y, x))
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::from_fn(self.channels, self.height, self.width, |c, y, x| f(self.at(c, y, x)))
    }
}

/// The network's output for one image, batch norm by its running statistics.
pub(crate) fn run(graph: &Graph, weights: &Weights, image: &[f32]) -> Vec<f64> {
    let mut values: Vec<Value> = Vec::new();
    for id in graph.ids() {
        let inputs: Vec<&Value> = graph.inputs(id).iter().map(|it| &values[it.index()]).collect();
        let value = step(graph, weights, id, &inputs, image);
        let dims = match graph.shape(id) {
            Shape::Map(dims) => dims,
            Shape::Vector(features) => [features, 1, 1],
        };
        assert_eq!([value.channels, value.height, value.width], dims, "shape of {}", graph.name(id));
        values.push(value);
    }
    values.pop().expect("a network has an output").data
}

fn step(graph: &Graph, weights: &Weights, id: NodeId, inputs: &[&Value], image: &[f32]) -> Value {
    let name = graph.name(id);
    let parameter = |suffix: &str| -> Vec<f64> {
        let tensor = weights.get(&name, suffix).expect("every parameter has weights");
        tensor.values.iter().map(|&it| f64::from(it)).collect()
    };
    let x = inputs.first().copied();
    let x = || x.expect("every operation but the input reads something");
    match graph.op(id) {
        Op::Input => {
            let [height, width] = graph.shape(id).spatial();
            let data = image.iter().map(|&it| f64::from(it)).collect();
            Value { channels: graph.shape(id).channels(), height, width, data }
        }
        Op::Conv2d(it) => {
            let bias = if it.bias { parameter("bias") } else { vec![0.0; it.channels] };
            convolve(it, x(), &parameter("weight"), &bias)
        }
        Op::Linear(features) => {
            let (weight, bias, x) = (parameter("weight"), parameter("bias"), x());
            Value::from_fn(*features, 1, 1, |o, _, _| {
                (0..x.channels).map(|i| weight[o * x.channels + i] * x.data[i]).sum::<f64>() + bias[o]
            })
        }
        Op::BatchNorm => {
            let (gamma, beta, mean, var) = (parameter("gamma"), parameter("beta"), parameter("mean"), parameter("var"));
            let input = x();
            Value::from_fn(input.channels, input.height, input.width, |c, y, x| {
                (input.at(c, y, x) - mean[c]) / (var[c] + 1e-5).sqrt() * gamma[c] + beta[c]
            })
        }
        Op::Activation(it) => x().map(|x| activate(*it, x)),
        Op::MaxPool(it) => pool(it, x(), |seen| seen.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        Op::AvgPool(it) => pool(it, x(), |seen| seen.iter().sum::<f64>() / seen.len() as f64),
        Op::GlobalAvgPool => {
            let x = x();
            let area = x.height * x.width;
            Value::from_fn(x.channels, 1, 1, |c, _, _| {
                x.data[c * area..(c + 1) * area].iter().sum::<f64>() / area as f64
            })
        }
        Op::Add => {
            let first = x();
            Value::from_fn(first.channels, first.height, first.width, |c, y, x| {
                inputs.iter().map(|it| it.at(c, y, x)).sum()
            })
        }
        Op::Mix(_) | Op::Weigh { .. } => unreachable!("what is still open has no one value"),
        Op::Mul => {
            let first = x();
            Value::from_fn(first.channels, first.height, first.width, |c, y, x| {
                inputs.iter().map(|it| it.at(c, y, x)).product()
            })
        }
        Op::Sub => {
            let (a, b) = (inputs[0], inputs[1]);
            Value::from_fn(a.channels, a.height, a.width, |c, y, x| a.at(c, y, x) - b.at(c, y, x))
        }
        Op::Mean => {
            let first = x();
            Value::from_fn(first.channels, first.height, first.width, |c, y, x| {
                inputs.iter().map(|it| it.at(c, y, x)).sum::<f64>() / inputs.len() as f64
            })
        }
        Op::Embed(table) => {
            let (rows, word) = (parameter("weight"), x().data[0] as usize);
            Value::from_fn(table.features, 1, 1, |feature, _, _| rows[word * table.features + feature])
        }
        Op::Memory(features) => Value::from_fn(*features, 1, 1, |_, _, _| 0.0),
        Op::Concat => {
            let (height, width) = (x().height, x().width);
            let data: Vec<f64> = inputs.iter().flat_map(|it| it.data.clone()).collect();
            Value { channels: inputs.iter().map(|it| it.channels).sum(), height, width, data }
        }
        Op::ChannelsLast => {
            let x = x();
            Value::from_fn(x.height, x.width, x.channels, |c, row, column| x.at(column, c, row))
        }
        Op::Slice { from, channels } => {
            let x = x();
            Value::from_fn(*channels as usize, x.height, x.width, |c, row, column| {
                x.at(*from as usize + c, row, column)
            })
        }
        Op::Resize([height, width]) => {
            let input = x();
            // The two pixels whose middles are nearest to the middle of this one, and how far it is to the second.
            let tap = |at: usize, to: usize, from: usize| {
                let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
                (place.floor() as usize, place.ceil() as usize, place.fract())
            };
            Value::from_fn(input.channels, *height, *width, |c, y, x| {
                let (top, bottom, down) = tap(y, *height, input.height);
                let (left, right, across) = tap(x, *width, input.width);
                let row = |y: usize| (1.0 - across) * input.at(c, y, left) + across * input.at(c, y, right);
                (1.0 - down) * row(top) + down * row(bottom)
            })
        }
        Op::Identity => x().clone(),
        Op::Zero(stride) => {
            let x = x();
            let starts = |size: usize| (0..size).step_by(*stride).count();
            Value::from_fn(x.channels, starts(x.height), starts(x.width), |_, _, _| 0.0)
        }
    }
}

fn convolve(conv: &Conv2d, input: &Value, weight: &[f64], bias: &[f64]) -> Value {
    let Conv2d { channels, kernel, stride, dilation, pads, groups, bias: _, fixed: _ } = *conv;
    let (in_group, out_group) = (input.channels / groups, channels / groups);
    let [height, width] = places(input, kernel, stride, dilation, pads);
    Value::from_fn(channels, height, width, |o, y, x| {
        let mut sum = bias[o];
        for i in 0..in_group {
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let row = (y * stride[0] + ky * dilation[0]) as isize - pads.top as isize;
                    let column = (x * stride[1] + kx * dilation[1]) as isize - pads.left as isize;
                    let pixel = input.inside(o / out_group * in_group + i, row, column).unwrap_or(0.0);
                    sum += pixel * weight[((o * in_group + i) * kernel[0] + ky) * kernel[1] + kx];
                }
            }
        }
        sum
    })
}

/// Applies `of` to the pixels that each window sees.
fn pool(pool: &Pool2d, input: &Value, of: impl Fn(&[f64]) -> f64) -> Value {
    let Pool2d { kernel, stride, pads } = *pool;
    let [height, width] = places(input, kernel, stride, [1, 1], pads);
    Value::from_fn(input.channels, height, width, |c, y, x| {
        let mut seen = Vec::new();
        for ky in 0..kernel[0] {
            for kx in 0..kernel[1] {
                let row = (y * stride[0] + ky) as isize - pads.top as isize;
                let column = (x * stride[1] + kx) as isize - pads.left as isize;
                seen.extend(input.inside(c, row, column));
            }
        }
        of(&seen)
    })
}

/// How many positions a window has, found by moving it until it leaves the padded input.
fn places(input: &Value, kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], pads: Pads) -> [usize; 2] {
    let sizes = [pads.top + input.height + pads.bottom, pads.left + input.width + pads.right];
    [0, 1].map(|axis| {
        let last_tap = (kernel[axis] - 1) * dilation[axis];
        (0..).map(|place| place * stride[axis] + last_tap).take_while(|&tap| tap < sizes[axis]).count()
    })
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp() - 1.0
            }
        }
        Activation::Selu => {
            let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
            scale * if x > 0.0 { x } else { alpha * (x.exp() - 1.0) }
        }
        Activation::Swish => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::NegativeRelu => (-x).max(0.0),
        Activation::Square => x * x,
        Activation::Log => x.ln(),
    }
}
