//! Windows over lines: maps of one row, such as a sequence of features.

use crate::{Graph, Op, Pads, Shape};

impl Graph {
    /// Takes from every window over a map of one row the rows that only ever see its border, and from its stride what
    /// would lead beyond: the network computes the same with fewer weights. A space of plane cells becomes one of
    /// one-dimensional cells that way.
    pub fn narrow(&mut self) {
        for id in self.ids() {
            let Some(&input) = self.inputs(id).first() else { continue };
            let (Shape::Map([_, 1, _]), Shape::Map([_, 1, _])) = (self.shape(input), self.shape(id)) else { continue };
            let kind = self.nodes[id.index()].kind as usize;
            let in_a_row = |pads: &mut Pads| (pads.top, pads.bottom) = (0, 0);
            // Copies of a section share their operations; doing the same again changes nothing.
            match &mut self.ops[kind] {
                // The middle row of the window is the one that stays.
                Op::Conv2d(conv) if conv.pads.top == (conv.kernel[0] - 1) * conv.dilation[0] / 2 => {
                    (conv.kernel[0], conv.stride[0], conv.dilation[0]) = (1, 1, 1);
                    in_a_row(&mut conv.pads);
                }
                Op::MaxPool(pool) | Op::AvgPool(pool) => {
                    (pool.kernel[0], pool.stride[0]) = (1, 1);
                    in_a_row(&mut pool.pads);
                }
                Op::Conv2d(_)
                | Op::Input
                | Op::Linear(_)
                | Op::BatchNorm
                | Op::Activation(_)
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
                | Op::Resize(_)
                | Op::Slice { .. }
                | Op::Weigh { .. }
                | Op::Mix(_) => {}
            }
        }
    }
}
