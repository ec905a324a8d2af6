//! Bilinear resizing as two matrix products, one an axis: exact, and with a gradient on every device, where Burn's
//! interpolation has none on some.

use burn::tensor::{Tensor, TensorData};

/// Brings a map to this `[height, width]`, as [`graph::Op::Resize`] says.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`
/// - returns `[batch, channels, size[0], size[1]]`
pub fn resize(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    // Where an axis grows, the other goes first: less is moved.
    if size[0] < height {
        last_axis(last_axis(x.swap_dims(2, 3), size[0]).swap_dims(2, 3), size[1])
    } else {
        let x = if size[1] == width { x } else { last_axis(x, size[1]) };
        if size[0] == height { x } else { last_axis(x.swap_dims(2, 3), size[0]).swap_dims(2, 3) }
    }
}

/// `[a, b, c, from]` to `[a, b, c, to]`.
fn last_axis(x: Tensor<4>, to: usize) -> Tensor<4> {
    let [a, b, c, from] = x.dims();
    let matrix = Tensor::<2>::from_data(TensorData::new(taps(from, to), [from, to]), &x.device());
    x.reshape([a * b * c, from]).matmul(matrix).reshape([a, b, c, to])
}

/// How much of each old pixel is in each new one, along an axis.
///
/// # Shapes
/// - returns `[from, to]`; each column sums to 1
fn taps(from: usize, to: usize) -> Vec<f32> {
    let mut taps = vec![0.0; from * to];
    for at in 0..to {
        let middle = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let place = middle.clamp(0.0, (from - 1) as f64);
        let (first, part) = (place.floor() as usize, place.fract());
        let second = (first + 1).min(from - 1);
        taps[first * to + at] += (1.0 - part) as f32;
        taps[second * to + at] += part as f32;
    }
    taps
}

#[cfg(test)]
mod tests {
    use burn::tensor::{
        Distribution, Tensor,
        module::interpolate,
        ops::{InterpolateMode, InterpolateOptions},
    };

    use super::*;
    use crate::Compute;

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    /// PyTorch's `interpolate(..., mode="bilinear", align_corners=False)` gives these.
    #[test]
    fn rows_are_interpolated_between_the_middles_of_pixels() {
        let device = Compute::Cpu.device();
        let check = |row: &[f32], to: usize, expected: &[f32]| {
            let data = TensorData::new(row.to_vec(), [1, 1, 1, row.len()]);
            let found = values(resize(Tensor::from_data(data.clone(), &device), [1, to]));
            assert_eq!(found, expected, "{row:?} to {to}");
            let column = Tensor::<4>::from_data(data, &device).swap_dims(2, 3);
            assert_eq!(values(resize(column, [to, 1])), expected, "{row:?} to {to}, a column");
        };
        check(&[0.0, 4.0], 4, &[0.0, 1.0, 3.0, 4.0]);
        check(&[1.0, 2.0, 3.0, 4.0], 2, &[1.5, 3.5]);
        check(&[1.0, 2.0, 3.0, 4.0], 4, &[1.0, 2.0, 3.0, 4.0]);
        check(&[5.0], 3, &[5.0, 5.0, 5.0]);
        check(&[0.0, 6.0, 12.0], 1, &[6.0]);
        // The middle of the second of two pixels over five is at 3.25.
        check(&[0.0, 1.0, 2.0, 3.0, 4.0], 2, &[0.75, 3.25]);
    }

    #[test]
    fn it_is_burns_interpolation() {
        let device = Compute::Cpu.device();
        for (from, to) in [([3, 5], [6, 10]), ([7, 4], [3, 9]), ([8, 8], [3, 2]), ([1, 6], [4, 6]), ([5, 2], [5, 1])] {
            let x = Tensor::<4>::random([2, 3, from[0], from[1]], Distribution::Uniform(-1.0, 1.0), &device);
            let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_output_size(to);
            let theirs = interpolate(x.clone(), options.with_align_corners(false));
            let difference = (resize(x, to) - theirs).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{from:?} to {to:?}: {difference}");
        }
    }

    /// `<resize(x), y> = <x, gradient>`: the map is linear, so that is what a gradient is.
    #[test]
    fn the_gradient_is_the_adjoint() {
        let device = Compute::Cpu.device();
        for (from, to) in [([3, 5], [6, 10]), ([7, 4], [3, 9]), ([8, 8], [3, 2])] {
            let random =
                |[h, w]: [usize; 2]| Tensor::<4>::random([2, 3, h, w], Distribution::Uniform(-1.0, 1.0), &device);
            let (x, y, other) = (random(from), random(to), random(from));
            let tracked = x.autodiff().require_grad();
            let mut gradients = (resize(tracked.clone(), to) * y.clone().autodiff()).sum().backward();
            let gradient = tracked.grad_remove(&mut gradients).expect("it is tracked");
            let sum = |x: Tensor<4>| x.sum().into_scalar::<f32>();
            let (image, pulled) = (sum(resize(other.clone(), to) * y), sum(other * gradient));
            assert!((image - pulled).abs() < 1e-4, "{from:?} to {to:?}: {image}, not {pulled}");
        }
    }
}
