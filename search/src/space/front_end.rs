//! What stands before a network that hears, as part of the network that is deployed: the board then needs nothing but
//! the model, and its costs count.
//!
//! [`FrontEnd`] computes features by a Fourier transform; here the same is a convolution with the windowed basis of the
//! transform, one window long and one hop apart, squares, the mel filters, a logarithm, perhaps a cosine transform, and
//! the normalisation. Its weights are given: nothing trains them, and they are no parameters.

use data::{FrontEnd, Matrix, Normalisation};
use graph::{Activation, Conv2d, Graph, GraphError, NodeId, Op, Pads, Shape, weights::Weights};

/// Name of the scope that the nodes stand in.
const SCOPE: &str = "front_end";

/// Names of the nodes with weights, in the order of [`matrices`].
const SPECTRUM: &str = "spectrum";
const BANDS: &str = "bands";
const CEPSTRUM: &str = "cepstrum";
const NORMALISE: &str = "normalise";

/// Adds the input of samples and what makes features of them.
///
/// # Shapes
/// - input: `[1, 1, clip]`, samples from -1 to 1
/// - returns: `[1, frames, coefficients]`, normalised, or `[coefficients, 1, frames]` as a line
pub(super) fn add(graph: &mut Graph, front_end: &FrontEnd, is_line: bool) -> Result<NodeId, GraphError> {
    let samples = graph.input(Shape::Map([1, 1, front_end.clip]));
    let given = |channels| Conv2d { fixed: true, ..Conv2d::same(channels, 1, 1) };
    graph.within(SCOPE, |graph| {
        let basis = Conv2d {
            kernel: [1, front_end.window],
            stride: [1, front_end.hop],
            pads: Pads::all(0),
            ..given(2 * front_end.bins().len())
        };
        let parts = graph.add(SPECTRUM, Op::Conv2d(basis), &[samples])?;
        let squares = graph.add("power", Op::Activation(Activation::Square), &[parts])?;
        let bands = Conv2d { bias: true, ..given(front_end.bands) };
        let bands = graph.add(BANDS, Op::Conv2d(bands), &[squares])?;
        let mut last = graph.add("log", Op::Activation(Activation::Log), &[bands])?;
        if let Some(coefficients) = front_end.coefficients {
            last = graph.add(CEPSTRUM, Op::Conv2d(given(coefficients)), &[last])?;
        }
        let channels = graph.shape(last).channels();
        let normalise = Conv2d { bias: true, groups: channels, ..given(channels) };
        let normalised = graph.add(NORMALISE, Op::Conv2d(normalise), &[last])?;
        if is_line { Ok(normalised) } else { graph.add("frames", Op::ChannelsLast, &[normalised]) }
    })
}

/// The front end as a network of its own.
///
/// # Errors
/// None for settings that [`FrontEnd::check`] accepts.
pub fn alone(front_end: &FrontEnd) -> Result<Graph, GraphError> {
    let mut graph = Graph::default();
    add(&mut graph, front_end, false)?;
    Ok(graph)
}

/// The given weights, under the names of the nodes.
pub fn weights(front_end: &FrontEnd, normalisation: &Normalisation) -> Weights {
    let mut weights = Weights::default();
    let mut insert = |node: &str, suffix: &str, shape: Vec<usize>, values: Vec<f32>| {
        weights.insert(&format!("{SCOPE}/{node}"), suffix, shape, values);
    };
    let Matrix { rows, columns, values } = front_end.dft_basis();
    insert(SPECTRUM, "weight", vec![rows, 1, 1, columns], values);
    let Matrix { rows, columns, values } = front_end.mel_filters();
    // A band sums the squares of cosines and of sines alike.
    let both = values.chunks_exact(columns).flat_map(|row| [row, row].concat()).collect();
    insert(BANDS, "weight", vec![rows, 2 * columns, 1, 1], both);
    insert(BANDS, "bias", vec![rows], vec![FrontEnd::FLOOR; rows]);
    if let Some(Matrix { rows, columns, values }) = front_end.dct() {
        insert(CEPSTRUM, "weight", vec![rows, columns, 1, 1], values);
    }
    let channels = front_end.coefficients.unwrap_or(front_end.bands);
    let (mean, std) = (normalisation.mean[0], normalisation.std[0]);
    insert(NORMALISE, "weight", vec![channels, 1, 1, 1], vec![1.0 / std; channels]);
    insert(NORMALISE, "bias", vec![channels], vec![-mean / std; channels]);
    weights
}
