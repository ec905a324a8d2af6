//! Own operations against Burn's, against finite differences, and against themselves on other
//! numbers of threads.

use burn::tensor::{
    Device, Tensor, TensorData, activation, module,
    ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions},
};
use data::keyed;
use kernels::Window;
use proptest::prelude::*;
use rand::Rng;

use super::{Chain, Dense, Depthwise, Rectifier};

/// A function of an image and two parameters.
type Operation<'a> = &'a dyn Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>;

/// An image, and parameters of these shapes; all values lie in `[-1, 1]` and hardly ever agree.
#[derive(Clone, Copy, Debug)]
struct Inputs {
    image: [usize; 4],
    weight: [usize; 4],
    vector: usize,
}

/// The result of an operation and the gradients of its inputs, for a gradient that differs by place.
fn run(inputs: Inputs, operation: Operation<'_>) -> Vec<Vec<f32>> {
    let device = Device::flex();
    let Inputs { image, weight, vector } = inputs;
    let [x, w] = [("image", image), ("weight", weight)].map(|(name, shape)| {
        let data = TensorData::new(numbers(name, shape.iter().product()), shape);
        Tensor::<4>::from_data(data, &device).autodiff().require_grad()
    });
    let data = TensorData::new(numbers("vector", vector), [vector]);
    let v = Tensor::<1>::from_data(data, &device).autodiff().require_grad();
    let y = operation(x.clone(), w.clone(), v.clone());
    let shape = y.dims();
    let data = TensorData::new(numbers("gradient", shape.iter().product()), shape);
    let mut gradients = (y.clone() * Tensor::<4>::from_data(data, &device).autodiff()).sum().backward();
    let mut all = vec![host(y.inner())];
    all.extend([&x, &w].into_iter().filter_map(|it| it.grad_remove(&mut gradients)).map(host));
    all.extend(v.grad_remove(&mut gradients).map(host));
    all
}

fn numbers(name: &str, n: usize) -> Vec<f32> {
    let mut rng = keyed::rng(7, name, n as u64);
    (0..n).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Results and gradients agree to `1e-4` of the largest value, or of 1 where all are smaller: sums of
/// thousands of numbers near 1 may nearly cancel, and their rounding does not.
fn check(inputs: Inputs, own: Operation<'_>, generic: Operation<'_>) {
    let (own, generic) = (run(inputs, own), run(inputs, generic));
    assert_eq!(own.len(), generic.len(), "gradients of {inputs:?}");
    for (at, (own, generic)) in own.iter().zip(&generic).enumerate() {
        assert_eq!(own.len(), generic.len(), "length of {at} of {inputs:?}");
        let largest = generic.iter().fold(1.0f32, |most, it| most.max(it.abs()));
        for (own, generic) in own.iter().zip(generic) {
            assert!((own - generic).abs() <= 1e-4 * largest, "{own} is not {generic} in {at} of {inputs:?}");
        }
    }
}

/// Each gradient is the slope of `sum(gradient * y)`, taken by central differences at a few places.
fn check_slopes(inputs: Inputs, operation: Operation<'_>) {
    let Inputs { image, weight, vector } = inputs;
    let device = Device::flex();
    let start = [
        numbers("image", image.iter().product()),
        numbers("weight", weight.iter().product()),
        numbers("vector", vector),
    ];
    let value = |at: &[Vec<f32>; 3]| -> f64 {
        let x = Tensor::from_data(TensorData::new(at[0].clone(), image), &device);
        let w = Tensor::from_data(TensorData::new(at[1].clone(), weight), &device);
        let v = Tensor::from_data(TensorData::new(at[2].clone(), [vector]), &device);
        let y = host(operation(x, w, v));
        let gradient = numbers("gradient", y.len());
        y.iter().zip(gradient).map(|(y, g)| f64::from(*y) * f64::from(g)).sum()
    };
    let gradients = run(inputs, operation);
    for (which, gradient) in gradients[1..].iter().enumerate() {
        let largest = gradient.iter().fold(1e-3f32, |most, it| most.max(it.abs()));
        for place in (0..gradient.len()).step_by(gradient.len().div_ceil(7)) {
            let moved = |by: f32| {
                let mut at = start.clone();
                at[which][place] += by;
                value(&at)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let error = (slope - f64::from(gradient[place])).abs();
            assert!(error <= 1e-2 * f64::from(largest), "{slope} is not {} of {inputs:?}", gradient[place]);
        }
    }
}

/// An axis of a window: input length, taps, stride, dilation, pads; the window fits.
fn axis(max_kernel: usize) -> impl Strategy<Value = (usize, usize, usize, usize, (usize, usize))> {
    let parts = (1..=max_kernel, 1..=3usize, 1..=2usize).prop_flat_map(|(kernel, stride, dilation)| {
        let reach = (kernel - 1) * dilation;
        (Just(kernel), Just(stride), Just(dilation), 0..=reach, 0..=reach, reach + 1..reach + 36)
    });
    parts.prop_map(|(kernel, stride, dilation, before, after, length)| {
        (length, kernel, stride, dilation, (before, after))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn dense_convolution((h, w) in (axis(3), axis(4)), n in 1..4usize, from in 1..7usize, to in 1..14usize, biased: bool) {
        let options = || ConvOptions::new_with_padding([h.2, w.2], [h.4, w.4], [h.3, w.3], 1);
        let inputs = Inputs { image: [n, from, h.0, w.0], weight: [to, from, h.1, w.1], vector: to };
        let bias = |v: Tensor<1>| biased.then_some(v);
        check(
            inputs,
            &|x, w, v| super::conv2d(x, w, bias(v), options()),
            &|x, w, v| module::conv2d(x, w, bias(v), options()),
        );
    }

    #[test]
    fn pointwise_convolution(h in 1..20usize, w in 1..20usize, stride in 1..3usize, n in 1..4usize, from in 1..40usize, to in 1..20usize) {
        let options = || ConvOptions::new([stride; 2], [0, 0], [1, 1], 1);
        let inputs = Inputs { image: [n, from, h, w], weight: [to, from, 1, 1], vector: 1 };
        check(inputs, &|x, w, _| super::conv2d(x, w, None, options()), &|x, w, _| module::conv2d(x, w, None, options()));
    }

    #[test]
    fn depthwise_convolution(
        k in prop::sample::select(vec![3usize, 5, 7]),
        (stride, dilation) in ([1..=3usize, 1..=3usize], [1..=2usize, 1..=2usize]),
        pads in prop::array::uniform4(0..=12usize),
        size in [1..34usize, 1..40usize],
        n in 1..4usize,
        channels in 2..5usize,
    ) {
        let reach = dilation.map(|it| (k - 1) * it);
        let pads = [(pads[0].min(reach[0]), pads[1].min(reach[0])), (pads[2].min(reach[1]), pads[3].min(reach[1]))];
        let size = [size[0] + reach[0], size[1] + reach[1]];
        let options = || ConvOptions::new_with_padding(stride, pads, dilation, channels);
        let inputs = Inputs { image: [n, channels, size[0], size[1]], weight: [channels, 1, k, k], vector: 1 };
        check(inputs, &|x, w, _| super::conv2d(x, w, None, options()), &|x, w, _| module::conv2d(x, w, None, options()));
    }

    #[test]
    fn batch_norm(n in 1..40usize, channels in 1..6usize, size in [1..9usize, 1..9usize], offset in -9f32..9.0) {
        prop_assume!(n * size[0] * size[1] > 3);
        let inputs = Inputs { image: [n, channels, size[0], size[1]], weight: [channels, 1, 1, 1], vector: channels };
        let gamma = |w: Tensor<4>| w.reshape([-1]).add_scalar(2.0);
        let own = |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
            let out = super::batch_norm_train(x.add_scalar(offset), gamma(w), v, 1e-3);
            assert!(out.mean.dims() == [channels] && out.variance.dims() == [channels]);
            out.output
        };
        let generic = |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
            module::batch_norm_train(x.add_scalar(offset), gamma(w), v, 1e-3).output
        };
        check(inputs, &own, &generic);
    }

    #[test]
    fn pools(
        k in prop::sample::select(vec![2usize, 3, 5]),
        stride in [1..=3usize, 1..=3usize],
        pads in prop::array::uniform4(0..=2usize),
        size in [5..34usize, 5..40usize],
        n in 1..4usize,
    ) {
        // Burn asks that no window lies in the padding.
        let limit = k / 2;
        let pads = [(pads[0].min(limit), pads[1].min(limit)), (pads[2].min(limit), pads[3].min(limit))];
        let inputs = Inputs { image: [n, 3, size[0], size[1]], weight: [1; 4], vector: 1 };
        let average = || {
            AvgPoolOptions::new([k; 2]).with_stride(stride).with_padding_pairs(pads).with_count_include_pad(false)
        };
        check(inputs, &|x, _, _| super::avg_pool2d(x, average()), &|x, _, _| module::avg_pool2d(x, average()));
        let largest = || MaxPoolOptions::new([k; 2]).with_stride(stride).with_padding_pairs(pads);
        check(inputs, &|x, _, _| super::max_pool2d(x, largest()), &|x, _, _| module::max_pool2d(x, largest()));
        // Equal values: the gradient goes to the first of them.
        let coarse = |x: Tensor<4>| (x.clone() * 1.5).round() + (x.clone() - x.detach());
        check(
            inputs,
            &|x, _, _| super::max_pool2d(coarse(x), largest()),
            &|x, _, _| module::max_pool2d(coarse(x), largest()),
        );
    }

    /// Groups of four images and more are there from 64 images on.
    #[test]
    fn narrow_planes_of_many_images(
        k in prop::sample::select(vec![3usize, 5, 7]),
        size in [1..12usize, 1..10usize],
        n in prop::sample::select(vec![64usize, 77, 112]),
        channels in 2..4usize,
        to in 1..3usize,
    ) {
        let options = |groups| ConvOptions::new([1, 1], [k / 2, k / 2], [1, 1], groups);
        let inputs = || Inputs { image: [n, channels, size[0], size[1]], weight: [channels, 1, k, k], vector: channels * to };
        check(inputs(), &|x, w, _| super::conv2d(x, w, None, options(channels)), &|x, w, _| module::conv2d(x, w, None, options(channels)));
        let window = |kernel: usize| {
            Window::sliding(size, [kernel; 2], [1; 2], [(kernel / 2, kernel / 2); 2], [1; 2]).expect("the window fits")
        };
        let chain = Chain {
            rectifier: Rectifier::RELU,
            depthwise: Some(Depthwise { window: window(k), channels }),
            dense: Some(Dense { window: window(1), from: channels, to }),
        };
        let line = |x: &Tensor<4>| Tensor::<1>::ones([to], &x.device());
        let parameters = |x: &Tensor<4>, w: Tensor<4>, v: Tensor<1>| super::Parameters {
            depthwise: Some(w.reshape([-1])),
            dense: Some(v),
            gamma: line(x),
            beta: line(x),
            epsilon: 1.0,
        };
        check(
            inputs(),
            &|x, w, v| {
                let parameters = parameters(&x, w, v);
                super::chain_norm_train((x, None), chain, parameters, false).0.output
            },
            &|x, w, v| {
                let y = module::conv2d(activation::relu(x.clone()), w, None, options(channels));
                let y = module::conv2d(y, v.reshape([to, channels, 1, 1]), None, ConvOptions::new([1, 1], [0, 0], [1, 1], 1));
                module::batch_norm_train(y, line(&x), line(&x), 1.0).output
            },
        );
    }

    #[test]
    fn chains_with_norm(
        rectifier in 0..3usize,
        (first, last) in prop::sample::select(vec![(3usize, 1usize), (5, 1), (3, 0), (0, 1), (0, 3)]),
        (stride, dilation) in (1..=2usize, 1..=2usize),
        size in [5..20usize, 5..36usize],
        n in prop::sample::select(vec![2usize, 3, 20]),
        (from, to) in (2..7usize, 1..10usize),
    ) {
        // A dense convolution with a stride has no dilation.
        let dilation = if first == 0 && stride == 2 { 1 } else { dilation };
        let window = |kernel: usize, stride: usize, input: [usize; 2]| {
            let pad = (kernel / 2 * dilation, kernel / 2 * dilation);
            Window::sliding(input, [kernel; 2], [stride; 2], [pad; 2], [dilation; 2]).expect("the window fits")
        };
        let depthwise = (first > 0).then(|| Depthwise { window: window(first, stride, size), channels: from });
        let (middle, rest) = depthwise.map_or((size, stride), |it| (it.window.output, 1));
        let dense = (last > 0).then(|| Dense { window: window(last, rest, middle), from, to });
        let chain = Chain {
            rectifier: [Rectifier::NONE, Rectifier::RELU, Rectifier::RELU6][rectifier],
            depthwise,
            dense,
        };
        prop_assert!(super::supports(&chain));
        let channels = if last > 0 { to } else { from };
        // Batch norm of next to nothing has gradients without measure.
        prop_assume!(n * chain.output()[1] * chain.output()[2] > 12);
        let inputs = Inputs {
            image: [n, from, size[0], size[1]],
            weight: [from, 1, first.max(1), first.max(1)],
            vector: to * from * last.max(1) * last.max(1),
        };
        let learned = |like: &Tensor<4>| {
            let line = |slope: f32, start: f32| (0..channels).map(|at| start + slope * at as f32).collect::<Vec<f32>>();
            [line(0.1, 0.8), line(-0.2, 0.3)].map(|it| Tensor::<1>::from_data(TensorData::new(it, [channels]), &like.device()))
        };
        let parameters = |like: &Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
            let [gamma, beta] = learned(like);
            super::Parameters {
                depthwise: (first > 0).then(|| w.reshape([-1])),
                dense: (last > 0).then_some(v),
                gamma,
                beta,
                epsilon: 1e-2,
            }
        };
        // Beyond 6, so that both ends of a rectifier are seen.
        let wide = |x: Tensor<4>| x * 9.0;
        let convolved = |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
            let x = match rectifier {
                0 => x,
                1 => activation::relu(x),
                _ => x.clamp(0.0, 6.0),
            };
            let pads = |kernel: usize| [kernel / 2 * dilation; 2];
            let x = match first {
                0 => x,
                k => module::conv2d(x, w, None, ConvOptions::new([stride; 2], pads(k), [dilation; 2], from)),
            };
            match last {
                0 => x,
                k => {
                    let weight = v.reshape([to, from, k, k]);
                    module::conv2d(x, weight, None, ConvOptions::new([rest; 2], pads(k), [dilation; 2], 1))
                }
            }
        };
        check(
            inputs,
            &|x, w, v| {
                let x = wide(x);
                let parameters = parameters(&x, w, v);
                super::chain_norm_train((x, None), chain, parameters, false).0.output
            },
            &|x, w, v| {
                let [gamma, beta] = learned(&x);
                module::batch_norm_train(convolved(wide(x), w, v), gamma, beta, 1e-2).output
            },
        );
        let device = Device::flex();
        let tensor = |name: &str, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(numbers(name, shape.iter().product()), shape), &device)
        };
        let (x, w) = (wide(tensor("image", inputs.image)), tensor("weight", inputs.weight));
        let v = Tensor::<1>::from_data(TensorData::new(numbers("vector", inputs.vector), [inputs.vector]), &device);
        let [mean, variance] = learned(&x).map(|it| it.abs());
        let statistics = [mean.clone(), variance.clone()];
        let own = host(super::chain_norm(x.clone(), chain, parameters(&x, w.clone(), v.clone()), statistics));
        let [gamma, beta] = learned(&x);
        let generic = host(module::batch_norm(convolved(x, w, v), gamma, beta, mean, variance, 1e-2));
        let largest = generic.iter().fold(1.0f32, |most, it| most.max(it.abs()));
        prop_assert!(own.iter().zip(&generic).all(|(own, generic)| (own - generic).abs() <= 1e-4 * largest));
    }

    #[test]
    fn rectifier(shape in prop::array::uniform4(1..7usize)) {
        let inputs = Inputs { image: shape, weight: [1; 4], vector: 1 };
        // Read twice, so that neither value nor gradient is anybody's own.
        check(inputs, &|x, _, _| super::relu(x.clone()) + x, &|x, _, _| activation::relu(x.clone()) + x);
        check(inputs, &|x, _, _| super::relu(x * 2.0), &|x, _, _| activation::relu(x * 2.0));
        check(inputs, &|x, _, _| super::relu6(x * 9.0), &|x, _, _| (x * 9.0).clamp(0.0, 6.0));
    }
}

/// Two chains, the first of which leaves its norm to the second, are as good as normalised in between.
#[test]
fn a_norm_may_be_left_to_the_reader() {
    let window = |kernel: usize, pad: usize, stride: usize, input: [usize; 2]| {
        Window::sliding(input, [kernel; 2], [stride; 2], [(pad, pad); 2], [1; 2]).expect("the window fits")
    };
    let (channels, size) = (6, [9, 16]);
    let dense = |window: Window| Some(Dense { window, from: channels, to: channels });
    let first = Chain { rectifier: Rectifier::NONE, depthwise: None, dense: dense(window(1, 0, 1, size)) };
    let depthwise = |stride: usize| Some(Depthwise { window: window(3, 1, stride, size), channels });
    let readers = [
        Chain { rectifier: Rectifier::RELU, depthwise: depthwise(1), dense: None },
        Chain { rectifier: Rectifier::RELU6, depthwise: depthwise(2), dense: None },
        Chain { rectifier: Rectifier::NONE, depthwise: depthwise(1), dense: None },
        Chain { rectifier: Rectifier::RELU, depthwise: None, dense: dense(window(1, 0, 1, size)) },
        Chain { rectifier: Rectifier::RELU, depthwise: None, dense: dense(window(1, 0, 2, size)) },
        Chain { rectifier: Rectifier::RELU, depthwise: None, dense: dense(window(3, 1, 2, size)) },
    ];
    for reader in readers {
        let kernel = if reader.depthwise.is_some() || reader.dense == dense(window(3, 1, 2, size)) { 3 } else { 1 };
        let groups = if reader.depthwise.is_some() { channels } else { 1 };
        let inputs = Inputs {
            image: [20, channels, size[0], size[1]],
            weight: [channels, channels / groups, kernel, kernel],
            vector: channels * channels,
        };
        let run = |left: bool| {
            move |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
                let line = |slope: f32, start: f32| -> Tensor<1> {
                    let values: Vec<f32> = (0..channels).map(|at| start + slope * at as f32).collect();
                    Tensor::from_data(TensorData::new(values, [channels]), &x.device())
                };
                let parameters = |depthwise, dense| super::Parameters {
                    depthwise,
                    dense,
                    gamma: line(0.5, 0.8),
                    beta: line(-0.2, 0.7),
                    epsilon: 1e-3,
                };
                let (made, lines) = super::chain_norm_train((x.clone(), None), first, parameters(None, Some(v)), left);
                assert_eq!(lines.is_some(), left);
                let weight = Some(w.reshape([-1]));
                let weights = if reader.depthwise.is_some() { (weight, None) } else { (None, weight) };
                let parameters = parameters(weights.0, weights.1);
                super::chain_norm_train((made.output, lines), reader, parameters, false).0.output
            }
        };
        check(inputs, &run(true), &run(false));
    }
}

/// Norms that a sum applies are as good as applied before; so is a sum of one that is left and one that is done.
#[test]
fn a_norm_may_be_left_to_a_sum() {
    let (channels, size) = (5, [6, 7]);
    let window = Window::sliding(size, [1; 2], [1; 2], [(0, 0); 2], [1; 2]).expect("the window fits");
    let chain = Chain {
        rectifier: Rectifier::RELU,
        depthwise: None,
        dense: Some(Dense { window, from: channels, to: channels }),
    };
    for left_at_most in [[true, true], [true, false], [false, true]] {
        let inputs = Inputs {
            image: [20, channels, size[0], size[1]],
            weight: [channels, channels, 1, 1],
            vector: channels * channels,
        };
        let run = |left: [bool; 2]| {
            move |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
                let side = |dense: Tensor<1>, left: bool, start: f32| {
                    let values: Vec<f32> = (0..channels).map(|at| start + 0.3 * at as f32).collect();
                    let line = || Tensor::<1>::from_data(TensorData::new(values.clone(), [channels]), &x.device());
                    let parameters = super::Parameters {
                        depthwise: None,
                        dense: Some(dense),
                        gamma: line(),
                        beta: line(),
                        epsilon: 1e-3,
                    };
                    let (made, lines) = super::chain_norm_train((x.clone(), None), chain, parameters, left);
                    (made.output, lines)
                };
                super::sum(side(w.reshape([-1]), left[0], 0.8), side(v, left[1], -0.4))
            }
        };
        check(inputs, &run(left_at_most), &run([false, false]));
    }
}

/// A few of each kind, some with more images than there are groups.
fn cases() -> Vec<(Inputs, Box<dyn Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4> + Sync>)> {
    let conv = |stride, pad, dilation, groups| {
        move |x, w, _| super::conv2d(x, w, None, ConvOptions::new([stride; 2], [pad; 2], [dilation; 2], groups))
    };
    let image = [70, 6, 9, 9];
    let plain = Inputs { image, weight: [1; 4], vector: 6 };
    let window = |kernel: usize, pad: usize| {
        Window::sliding([9, 9], [kernel; 2], [1; 2], [(pad, pad); 2], [1; 2]).expect("the window fits")
    };
    let chain = Chain {
        rectifier: Rectifier::RELU,
        depthwise: Some(Depthwise { window: window(3, 1), channels: 6 }),
        dense: Some(Dense { window: window(1, 0), from: 6, to: 10 }),
    };
    let norm = move |x: Tensor<4>, w: Tensor<4>, v: Tensor<1>| {
        let ones = Tensor::<1>::ones([10], &x.device());
        let (depthwise, dense) = (Some(w.reshape([-1])), Some(v));
        let parameters = super::Parameters { depthwise, dense, gamma: ones.clone(), beta: ones, epsilon: 1e-3 };
        super::chain_norm_train((x, None), chain, parameters, false).0.output
    };
    vec![
        (Inputs { weight: [6, 1, 3, 3], vector: 60, ..plain }, Box::new(norm)),
        (Inputs { weight: [6, 1, 3, 3], ..plain }, Box::new(conv(1, 1, 1, 6))),
        (Inputs { weight: [6, 1, 5, 5], ..plain }, Box::new(conv(2, 2, 1, 6))),
        (Inputs { weight: [6, 1, 3, 3], ..plain }, Box::new(conv(1, 2, 2, 6))),
        (Inputs { weight: [10, 6, 1, 1], ..plain }, Box::new(conv(1, 0, 1, 1))),
        (Inputs { weight: [10, 6, 1, 1], ..plain }, Box::new(conv(2, 0, 1, 1))),
        (Inputs { weight: [10, 6, 3, 3], ..plain }, Box::new(conv(1, 1, 1, 1))),
        (Inputs { image: [70, 6, 16, 16], weight: [10, 6, 1, 1], ..plain }, Box::new(conv(1, 0, 1, 1))),
        (
            Inputs { weight: [6, 1, 1, 1], ..plain },
            Box::new(|x, w, v| super::batch_norm_train(x, w.reshape([-1]).add_scalar(2.0), v, 1e-3).output),
        ),
        (
            plain,
            Box::new(|x, _, _| {
                super::avg_pool2d(
                    x,
                    AvgPoolOptions::new([3, 3]).with_padding([1, 1]).with_stride([1, 1]).with_count_include_pad(false),
                )
            }),
        ),
        (
            plain,
            Box::new(|x, _, _| {
                super::max_pool2d(x, MaxPoolOptions::new([3, 3]).with_padding([1, 1]).with_stride([2, 2]))
            }),
        ),
        (plain, Box::new(|x, _, _| super::relu(x))),
    ]
}

#[test]
fn gradients_are_slopes() {
    for (inputs, operation) in &cases()[1..10] {
        let [_, channels, height, width] = inputs.image;
        check_slopes(Inputs { image: [2, channels, height, width], ..*inputs }, operation.as_ref());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads can be started");
    for (at, (inputs, operation)) in cases().iter().enumerate() {
        let bits = |n| -> Vec<Vec<u32>> {
            let all = pool(n).install(|| run(*inputs, operation.as_ref()));
            all.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect()
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(3), "case {at}: {inputs:?}");
    }
}
