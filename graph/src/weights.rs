//! The parameters of a network by name, and their file: safetensors.
//!
//! A parameter's key is the node's full name, a dot and one of `weight`, `bias`, `gamma`, `beta`,
//! `mean`, `var`. Layouts, all row-major `f32`: convolution `[out, in / groups, height, width]`,
//! linear `[out, in]`, embedding `[words, features]`, everything else `[channels]`. What several nodes share has the key of
//! the first of them.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Graph, NodeId, Op, Table};

/// A row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Values; their number is the product of the axes.
    pub values: Vec<f32>,
}

/// Parameters by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// `node.suffix` to tensor, in name order, so that the file's bytes depend on the values alone.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Key of the caller's text in a file's header.
const ABOUT: &str = "about";

/// Why weights do not serve a graph, or a file does not hold weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The graph has a parameter that the weights lack.
    #[error("no weights for {key}; were they trained for another architecture?")]
    Missing {
        /// Key of the parameter.
        key: String,
    },
    /// A parameter has another shape than the graph says.
    #[error(
        "{key} has shape {found:?}, the network needs {expected:?}; were the weights trained for another architecture?"
    )]
    Shape {
        /// Key of the parameter.
        key: String,
        /// Axes in the weights.
        found: Vec<usize>,
        /// Axes in the graph.
        expected: Vec<usize>,
    },
    /// The bytes are not a safetensors file of `f32` tensors.
    #[error("not a weights file: {0}")]
    Format(String),
}

/// Suffix and axes of each parameter of node `id`, running statistics included.
pub fn parameters(graph: &Graph, id: NodeId) -> Vec<(&'static str, Vec<usize>)> {
    let fan_in = graph.inputs(id).first().map_or(0, |&input| graph.shape(input).channels());
    match graph.op(id) {
        Op::Conv2d(conv) => {
            let [height, width] = conv.kernel;
            let mut parts = vec![("weight", vec![conv.channels, fan_in / conv.groups, height, width])];
            if conv.bias {
                parts.push(("bias", vec![conv.channels]));
            }
            parts
        }
        Op::Linear(features) => vec![("weight", vec![*features, fan_in]), ("bias", vec![*features])],
        Op::Embed(Table { words, features }) => vec![("weight", vec![*words, *features])],
        Op::BatchNorm => ["gamma", "beta", "mean", "var"].map(|it| (it, vec![fan_in])).to_vec(),
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Mul
        | Op::Sub
        | Op::Mean
        | Op::Memory(_)
        | Op::Concat
        | Op::ChannelsLast
        | Op::Resize(_)
        | Op::Slice { .. }
        | Op::Identity
        | Op::Zero(_)
        | Op::Mix(_)
        | Op::Weigh { .. } => Vec::new(),
    }
}

/// The node whose parameter of this suffix and these axes node `id` uses: itself, or the one that it is tied to
/// ([`Graph::tie`]).
pub fn owner(graph: &Graph, mut id: NodeId, suffix: &str, axes: &[usize]) -> NodeId {
    while let Some([_, of]) = graph.ties.iter().find(|it| it[0] == id)
        && parameters(graph, *of).iter().any(|it| it.0 == suffix && it.1 == axes)
    {
        id = *of;
    }
    id
}

/// As [`parameters`], without those that are an earlier node's.
pub fn own_parameters(graph: &Graph, id: NodeId) -> Vec<(&'static str, Vec<usize>)> {
    let mut parts = parameters(graph, id);
    parts.retain(|(suffix, axes)| owner(graph, id, suffix, axes) == id);
    parts
}

/// Values of node `id` that are an earlier node's; 0 for most.
pub(crate) fn tied(graph: &Graph, id: NodeId) -> u64 {
    let values =
        |parts: Vec<(&str, Vec<usize>)>| parts.iter().map(|it| it.1.iter().product::<usize>() as u64).sum::<u64>();
    match graph.ties.iter().any(|it| it[0] == id) {
        true => values(parameters(graph, id)) - values(own_parameters(graph, id)),
        false => 0,
    }
}

impl Weights {
    /// The parameter `suffix` of the node called `node`.
    pub fn get(&self, node: &str, suffix: &str) -> Result<&Tensor, WeightsError> {
        let key = format!("{node}.{suffix}");
        self.tensors.get(&key).ok_or(WeightsError::Missing { key })
    }

    /// Sets the parameter `suffix` of the node called `node`.
    pub fn insert(&mut self, node: &str, suffix: &str, shape: Vec<usize>, values: Vec<f32>) {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        self.tensors.insert(format!("{node}.{suffix}"), Tensor { shape, values });
    }

    /// Whether every parameter of `graph` is here in its shape.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        for id in graph.ids() {
            for (suffix, expected) in own_parameters(graph, id) {
                let name = graph.name(id);
                let found = &self.get(&name, suffix)?.shape;
                if *found != expected {
                    let (key, found) = (format!("{name}.{suffix}"), found.clone());
                    return Err(WeightsError::Shape { key, found, expected });
                }
            }
        }
        Ok(())
    }

    /// The bytes of a safetensors file; equal weights give equal bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        self.to_safetensors_about(None)
    }

    /// As [`Weights::to_safetensors`], with a text of the caller's in the file's header.
    pub fn to_safetensors_about(&self, about: Option<&str>) -> Result<Vec<u8>, WeightsError> {
        let bytes: Vec<(&String, Vec<u8>, &Vec<usize>)> = self
            .tensors
            .iter()
            .map(|(key, it)| (key, it.values.iter().flat_map(|v| v.to_le_bytes()).collect(), &it.shape))
            .collect();
        let views = bytes
            .iter()
            .map(|(key, data, shape)| Ok((*key, TensorView::new(Dtype::F32, (*shape).clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        // One entry alone: the header keeps its entries in a hash map, whose order is not fixed.
        let header = about.map(|about| [(ABOUT.to_owned(), about.to_owned())].into());
        views
            .and_then(|views| safetensors::serialize(views, header))
            .map_err(|error| WeightsError::Format(error.to_string()))
    }

    /// Weights from the bytes of a safetensors file.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, WeightsError> {
        Ok(Self::from_safetensors_about(bytes)?.0)
    }

    /// As [`Weights::from_safetensors`], with the text in the file's header.
    pub fn from_safetensors_about(bytes: &[u8]) -> Result<(Self, Option<String>), WeightsError> {
        let format = |error: safetensors::SafeTensorError| WeightsError::Format(error.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
        let about = header.metadata().as_ref().and_then(|it| it.get(ABOUT)).cloned();
        let file = SafeTensors::deserialize(bytes).map_err(format)?;
        let mut weights = Self::default();
        for (key, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(WeightsError::Format(format!("{key} is {:?}, not F32", view.dtype())));
            }
            let values = view.data().chunks_exact(4).map(|it| f32::from_le_bytes([it[0], it[1], it[2], it[3]]));
            weights.tensors.insert(key, Tensor { shape: view.shape().to_vec(), values: values.collect() });
        }
        Ok((weights, about))
    }
}
