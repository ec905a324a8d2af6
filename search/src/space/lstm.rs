//! Recurrent networks that nobody searched for, to stand beside those that were: the LSTM (S. Hochreiter and J. Schmidhuber,
//! 1997, with the forget gate of F. A. Gers et al., 2000) and the plain recurrent network of J. L. Elman (1990).

use graph::{Activation, Graph, GraphError, NodeId, Op};

use super::{
    Scale,
    recurrent::{begin, end, of_both},
};

/// An LSTM of one layer. Of a [`Scale`] the channels count, as features, and the classes, as words.
///
/// # Errors
/// There are no channels or no classes.
pub fn lstm(scale: &Scale) -> Result<Graph, GraphError> {
    let mut graph = Graph::with_capacity(24);
    let (x, [h, c]) = begin(&mut graph, scale, ["h", "c"])?;
    let mut gate = |label: &'static str, activation: Activation| -> Result<NodeId, GraphError> {
        graph.within(label, |graph| {
            let sum = of_both(graph, [x, h], scale.channels)?;
            graph.add("gate", Op::Activation(activation), &[sum])
        })
    };
    let input = gate("input", Activation::Sigmoid)?;
    let forget = gate("forget", Activation::Sigmoid)?;
    let output = gate("output", Activation::Sigmoid)?;
    let candidate = gate("candidate", Activation::Tanh)?;
    let new = graph.add("new", Op::Mul, &[input, candidate])?;
    let old = graph.add("old", Op::Mul, &[forget, c])?;
    let cell = graph.add("cell", Op::Add, &[new, old])?;
    let squashed = graph.add("squashed", Op::Activation(Activation::Tanh), &[cell])?;
    let out = graph.add("hidden", Op::Mul, &[output, squashed])?;
    graph.remember(h, out)?;
    graph.remember(c, cell)?;
    end(&mut graph, x, out, scale)?;
    Ok(graph)
}

/// `h <- tanh(W x + W' h)`. Of a [`Scale`] the channels count, as features, and the classes, as words.
///
/// # Errors
/// There are no channels or no classes.
pub fn elman(scale: &Scale) -> Result<Graph, GraphError> {
    let mut graph = Graph::with_capacity(8);
    let (x, [h]) = begin(&mut graph, scale, ["h"])?;
    let sum = of_both(&mut graph, [x, h], scale.channels)?;
    let next = graph.add("hidden", Op::Activation(Activation::Tanh), &[sum])?;
    graph.remember(h, next)?;
    end(&mut graph, x, next, scale)?;
    Ok(graph)
}
