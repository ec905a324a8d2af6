//! Parts of a graph that come again with other inputs: a cell is stacked a dozen times, and a copy is made in a third of
//! the time that building it takes.

use std::ops::Range;

use crate::{Graph, Inputs, Node, NodeId, name::Scope};

/// A run of nodes that can be added again, with the scopes that were opened for them.
#[derive(Clone, Debug)]
pub struct Section {
    nodes: Range<usize>,
    edges: Range<usize>,
    scopes: Range<usize>,
    /// The scope that it stands in.
    scope: u32,
    /// The only nodes before it that it reads, and how often it reads each.
    inputs: [NodeId; 2],
    n_reads: [u32; 2],
    /// How often its nodes are read by its nodes.
    n_inner: u32,
}

/// A section, or a copy of one, among the nodes of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) nodes: Range<usize>,
    /// Where the nodes begin that these are a copy of: at themselves, unless they are one.
    pub(crate) of: usize,
    pub(crate) inputs: [NodeId; 2],
    n_inner: u32,
}

impl Run {
    /// Whether no node but the last is read from outside, so that what is known of one copy is true of all.
    pub(crate) fn is_closed(&self, graph: &Graph) -> bool {
        n_inner(&graph.nodes[self.nodes.clone()]) == self.n_inner
    }
}

/// How often nodes are read that stand before the last of these.
fn n_inner(nodes: &[Node]) -> u32 {
    nodes.split_last().map_or(0, |(_, inner)| inner.iter().map(|node| node.n_users).sum())
}

impl Graph {
    /// Runs `build`, and keeps what it adds as a section.
    ///
    /// # Errors
    /// Those of `build`.
    ///
    /// # Panics
    /// `build` reads a node that was there before and is none of `inputs`.
    pub fn section<T, E>(
        &mut self,
        inputs: [NodeId; 2],
        build: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(T, Section), E> {
        let ends = |graph: &Self| [graph.nodes.len(), graph.edges.len(), graph.scopes.len()];
        let n_users = |graph: &Self| inputs.map(|input| graph.nodes[input.index()].n_users);
        let (start, before, n_runs) = (ends(self), n_users(self), self.runs.len());
        let out = build(self)?;
        let (end, after) = (ends(self), n_users(self));
        let [nodes, edges, scopes] = std::array::from_fn(|idx| start[idx]..end[idx]);
        // One node in both places has all its readers in the first.
        let n_reads = [after[0] - before[0], if inputs[0] == inputs[1] { 0 } else { after[1] - before[1] }];
        let n_inner = n_inner(&self.nodes[nodes.clone()]);
        let n_single = self.nodes[nodes.clone()].iter().filter(|node| node.inputs.end == Inputs::ONE).count();
        let n_read = n_single + edges.len();
        assert_eq!(
            n_read as u32,
            n_inner + n_reads[0] + n_reads[1],
            "a section reads nothing but its inputs and itself"
        );
        // Of sections within sections the outermost counts.
        self.runs.truncate(n_runs);
        self.runs.push(Run { nodes: nodes.clone(), of: nodes.start, inputs, n_inner });
        Ok((out, Section { nodes, edges, scopes, scope: self.here, inputs, n_reads, n_inner }))
    }

    /// Adds the nodes of `section` again as if they were built on `inputs` in the scope at hand, and returns the last.
    ///
    /// `None`, and the graph stays as it was, where that takes building them: an input has another shape than the one in
    /// its place, one node stood in both places and now there are two, a node of the section that is not its last has
    /// been read from elsewhere, or the network has memories or ties: a copy would need its own.
    ///
    /// # Panics
    /// The section is of another, longer graph.
    pub fn repeat(&mut self, section: &Section, inputs: [NodeId; 2]) -> Option<NodeId> {
        let Section { nodes, edges, scopes, scope, inputs: stood, n_reads, n_inner } = section;
        let run = Run { nodes: nodes.clone(), of: nodes.start, inputs, n_inner: *n_inner };
        let fits = (0..2).all(|idx| self.nodes[stood[idx].index()].shape == self.nodes[inputs[idx].index()].shape);
        if !fits
            || !self.memories.is_empty()
            || !self.ties.is_empty()
            || (stood[0] == stood[1] && inputs[0] != inputs[1])
            || !run.is_closed(self)
        {
            return None;
        }
        let moves = Moves {
            first: nodes.start as u32,
            nodes: (self.nodes.len() - nodes.start) as u32,
            edges: (self.edges.len() - edges.start) as u32,
            stood: *stood,
            inputs,
        };
        let (further, here) = ((self.scopes.len() - scopes.start) as u32, self.here);
        let scope_of = |it: u32| if it == *scope { here } else { it + further };
        // Each list is copied in one piece and then changed in place, without a branch.
        let (n_nodes, n_edges, n_scopes) = (self.nodes.len(), self.edges.len(), self.scopes.len());
        self.scopes.extend_from_within(scopes.clone());
        self.edges.extend_from_within(edges.clone());
        self.nodes.extend_from_within(nodes.clone());
        for Scope { parent, .. } in &mut self.scopes[n_scopes..] {
            *parent = scope_of(*parent);
        }
        for edge in &mut self.edges[n_edges..] {
            *edge = moves.node(*edge);
        }
        for node in &mut self.nodes[n_nodes..] {
            node.scope = scope_of(node.scope);
            node.inputs = moves.inputs(node.inputs);
        }
        for (input, n_reads) in inputs.into_iter().zip(n_reads) {
            self.nodes[input.index()].n_users += n_reads;
        }
        self.nodes.last_mut()?.n_users = 0;
        self.runs.push(Run { nodes: n_nodes..self.nodes.len(), ..run });
        self.output()
    }
}

/// Where the nodes and edges of a section go.
struct Moves {
    /// The section's first node.
    first: u32,
    /// How far its nodes go.
    nodes: u32,
    /// How far its edges go.
    edges: u32,
    stood: [NodeId; 2],
    inputs: [NodeId; 2],
}

impl Moves {
    #[inline(always)]
    fn node(&self, id: NodeId) -> NodeId {
        let input = if id == self.stood[0] { self.inputs[0] } else { self.inputs[1] };
        if id.0 < self.first { input } else { NodeId(id.0.wrapping_add(self.nodes)) }
    }

    #[inline(always)]
    fn inputs(&self, Inputs { start, end }: Inputs) -> Inputs {
        let (one, many) = (self.node(start), NodeId(start.0.wrapping_add(self.edges)));
        if end == Inputs::ONE { Inputs { start: one, end } } else { Inputs { start: many, end: end + self.edges } }
    }
}
