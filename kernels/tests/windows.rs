//! The kernels against a loop over every tap.

use kernels::{Window, depthwise, pool};
use proptest::prelude::*;

/// Any window that the kernels know, with a plane under it.
fn windows() -> impl Strategy<Value = Window> {
    let sizes = (1..=40_usize, 1..=40_usize);
    let shape = (prop::sample::select(vec![3_usize, 5, 7]), 1..=3_usize, 1..=3_usize);
    let pads = prop::array::uniform4(0..=6_usize);
    (sizes, shape, pads).prop_filter_map(
        "no window of the kernels",
        |((height, width), (kernel, stride, dilation), pads)| {
            let pads = [(pads[0], pads[1]), (pads[2], pads[3])];
            Window::sliding([height, width], [kernel; 2], [stride; 2], pads, [dilation; 2]).filter(depthwise::supports)
        },
    )
}

/// For each position, the taps on the plane: their index and the value under them.
fn under(window: &Window, x: &[f32]) -> Vec<Vec<(usize, f32)>> {
    let [height, width] = window.output;
    let mut all = Vec::new();
    for (o, q) in (0..height).flat_map(|o| (0..width).map(move |q| (o, q))) {
        let mut here = Vec::new();
        for (i, j) in (0..window.kernel[0]).flat_map(|i| (0..window.kernel[1]).map(move |j| (i, j))) {
            let at = |axis: usize, position: usize, tap: usize| {
                let at = position * window.stride[axis] + tap * window.dilation[axis];
                at.checked_sub(window.start[axis]).filter(|&at| at < window.input[axis])
            };
            if let (Some(row), Some(column)) = (at(0, o, i), at(1, q, j)) {
                here.push((i * window.kernel[1] + j, x[row * window.input[1] + column]));
            }
        }
        all.push(here);
    }
    all
}

/// Numbers in [-1, 1) that differ from seed to seed.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected} at {idx}");
    }
}

proptest! {
    #[test]
    fn depthwise_is_a_sum_over_taps(window in windows(), channels in 1..=3_usize, n in 1..=2_usize, seed: u32) {
        let ([from, to], taps) = (window.areas(), window.kernel[0] * window.kernel[1]);
        let x = numbers(n * channels * from, seed);
        let (weights, bias) = (numbers(channels * taps, seed ^ 1), numbers(channels, seed ^ 2));
        let expected = |bias: &[f32]| -> Vec<f32> {
            let plane = |(idx, x): (usize, &[f32])| {
                let channel = idx % channels;
                let start = bias.get(channel).copied().unwrap_or(0.0);
                let sum = |here: Vec<(usize, f32)>| {
                    here.into_iter().map(|(tap, x)| weights[channel * taps + tap] * x).sum::<f32>() + start
                };
                under(&window, x).into_iter().map(sum).collect::<Vec<f32>>()
            };
            x.chunks_exact(from).enumerate().flat_map(plane).collect()
        };
        for bias in [&bias[..], &[]] {
            let mut y = vec![f32::NAN; n * channels * to];
            depthwise::forward(&window, channels, &x, &weights, bias, &mut y);
            close(&y, &expected(bias));
        }
    }

    #[test]
    fn pools_know_which_taps_are_on_the_plane(window in windows(), planes in 1..=3_usize, seed: u32) {
        prop_assume!(pool::supports(&window));
        let [from, to] = window.areas();
        let x = numbers(planes * from, seed);
        let each = |of: &dyn Fn(Vec<(usize, f32)>) -> f32| -> Vec<f32> {
            x.chunks_exact(from).flat_map(|x| under(&window, x).into_iter().map(of).collect::<Vec<_>>()).collect()
        };
        let mut y = vec![f32::NAN; planes * to];
        pool::largest(&window, &x, &mut y);
        assert_eq!(y, each(&|here| here.into_iter().map(|it| it.1).fold(f32::NEG_INFINITY, f32::max)));
        pool::average(&window, &pool::shares(&window), &x, &mut y);
        close(&y, &each(&|here| here.iter().map(|it| it.1).sum::<f32>() / here.len() as f32));
    }
}
