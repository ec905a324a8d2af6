//! The operations that may be written in more than one form: see [`crate::Lowering`].

use graph::{Conv2d, NodeId, Pads, Pool2d};

use super::{Writer, convolution, window};
use crate::{
    Average, BORDER, Depthwise, DepthwiseStride, ExportError, Max, Stride, Sum, Swish,
    lowering::{is_depthwise, pixels, steps_over_pixels},
    proto::{Attribute, Tensor, integers},
};

impl Writer<'_> {
    pub(super) fn average_pool(&mut self, id: NodeId, pool: &Pool2d, input: &str) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        let counted = |counts| ("count_include_pad", Attribute::Int(counts));
        match self.lowering.average {
            // The default of 0 is written out because border values depend on it.
            Average::Pool => {
                self.node(&name, "AveragePool", &[input], &output, window(pool).into_iter().chain([counted(0)]))
            }
            Average::Separable => {
                let (rows, [over_rows, over_columns]) = (self.inner(id, "rows"), one_axis_each(pool));
                let attributes = window(&over_rows).into_iter().chain([counted(0)]);
                self.node(&format!("{name}.rows"), "AveragePool", &[input], &rows, attributes)?;
                let attributes = window(&over_columns).into_iter().chain([counted(0)]);
                self.node(&name, "AveragePool", &[&rows], &output, attributes)
            }
            Average::Counted => {
                let mean = self.uncorrected(id, pool);
                let attributes = window(pool).into_iter().chain([counted(1)]);
                self.node(&format!("{name}.window"), "AveragePool", &[input], &mean, attributes)?;
                self.correct(id, pool, &mean)
            }
            Average::Depthwise => {
                let mean = self.uncorrected(id, pool);
                self.mean_by_convolution(id, &format!("{name}.window"), pool, input, &mean)?;
                self.correct(id, pool, &mean)
            }
            Average::PaddedDepthwise => {
                let mean = self.uncorrected(id, pool);
                let (padded, bare) = (self.pad(&name, input, pool.pads)?, Pool2d { pads: Pads::all(0), ..*pool });
                self.mean_by_convolution(id, &format!("{name}.window"), &bare, &padded, &mean)?;
                self.correct(id, pool, &mean)
            }
            Average::SeparableDepthwise => {
                let (rows, [over_rows, over_columns]) = (self.inner(id, "rows"), one_axis_each(pool));
                let mean = self.uncorrected(id, pool);
                self.mean_by_convolution(id, &format!("{name}.rows"), &over_rows, input, &rows)?;
                self.mean_by_convolution(id, &format!("{name}.window"), &over_columns, &rows, &mean)?;
                self.correct(id, pool, &mean)
            }
        }
    }

    /// A depthwise convolution whose weights are all one over the size of the window.
    fn mean_by_convolution(
        &mut self,
        id: NodeId,
        name: &str,
        pool: &Pool2d,
        input: &str,
        output: &str,
    ) -> Result<(), ExportError> {
        let (channels, [height, width]) = (self.graph.shape(id).channels(), pool.kernel);
        let weights = format!("mean{height}x{width}.{channels}");
        if self.constants.insert(weights.clone()) {
            let values = vec![1.0 / (height * width) as f32; channels * height * width];
            self.file.constant(&weights, Tensor::new(vec![channels, 1, height, width], &values));
        }
        let conv =
            Conv2d { kernel: pool.kernel, stride: pool.stride, pads: pool.pads, ..Conv2d::depthwise(channels, 1, 1) };
        self.node(name, "Conv", &[input, &weights], output, convolution(&conv))
    }

    /// The value before [`Writer::correct`].
    fn uncorrected(&self, id: NodeId, pool: &Pool2d) -> String {
        if pool.pads == Pads::all(0) { self.value(id) } else { self.inner(id, "mean") }
    }

    /// Turns means that count the padding into means that do not: times the size of the window, over the number of
    /// pixels in it.
    fn correct(&mut self, id: NodeId, pool: &Pool2d, mean: &str) -> Result<(), ExportError> {
        let Pool2d { kernel, stride, pads } = *pool;
        if pads == Pads::all(0) {
            return Ok(());
        }
        let [height, width] = self.graph.shape(self.graph.inputs(id)[0]).spatial();
        let rows = pixels(height, kernel[0], stride[0], [pads.top, pads.bottom]);
        let columns = pixels(width, kernel[1], stride[1], [pads.left, pads.right]);
        let share = self.inner(id, "share");
        let values: Vec<f32> = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| (kernel[0] * kernel[1]) as f32 / (row * column) as f32))
            .collect();
        self.file.constant(&share, Tensor::new(vec![1, 1, rows.len(), columns.len()], &values));
        let (name, output) = (self.graph.name(id), self.value(id));
        self.node(&name, "Mul", &[mean, &share], &output, [])
    }

    pub(super) fn max_pool(&mut self, id: NodeId, pool: &Pool2d, input: &str) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        match self.lowering.max {
            Max::Pool => self.node(&name, "MaxPool", &[input], &output, window(pool)),
            Max::Separable => {
                let (rows, [over_rows, over_columns]) = (self.inner(id, "rows"), one_axis_each(pool));
                self.node(&format!("{name}.rows"), "MaxPool", &[input], &rows, window(&over_rows))?;
                self.node(&name, "MaxPool", &[&rows], &output, window(&over_columns))
            }
        }
    }

    /// `inputs`: the image, then weights and bias.
    pub(super) fn convolution(&mut self, id: NodeId, conv: &Conv2d, inputs: &[&str]) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        if is_depthwise(conv) {
            return self.depthwise(id, conv, inputs);
        }
        if self.lowering.stride == Stride::Conv || !steps_over_pixels(conv) {
            return self.node(&name, "Conv", inputs, &output, convolution(conv));
        }
        let kept = self.inner(id, "kept");
        let step = format!("{name}.step");
        match self.lowering.stride {
            Stride::Conv => unreachable!("returned above"),
            Stride::Slice => {
                let lists = [("starts", vec![0; 2]), ("ends", vec![i64::MAX; 2]), ("axes", vec![2, 3])];
                let steps = self.inner(id, "steps");
                self.file.integers(&steps, &integers(&conv.stride));
                for (list, values) in lists {
                    if self.constants.insert(list.to_owned()) {
                        self.file.integers(list, &values);
                    }
                }
                self.node(&step, "Slice", &[inputs[0], "starts", "ends", "axes", &steps], &kept, [])?;
            }
            Stride::Pool => {
                let pool = Pool2d { kernel: [1; 2], stride: conv.stride, pads: Pads::all(0) };
                self.node(&step, "MaxPool", &[inputs[0]], &kept, window(&pool))?;
            }
        }
        let mut inputs = inputs.to_vec();
        inputs[0] = &kept;
        self.node(&name, "Conv", &inputs, &output, convolution(&Conv2d { stride: [1; 2], ..*conv }))
    }

    fn depthwise(&mut self, id: NodeId, conv: &Conv2d, inputs: &[&str]) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        let (mut conv, mut inputs) = (*conv, inputs.to_vec());
        let image = match self.lowering.depthwise {
            Depthwise::Conv => inputs[0].to_owned(),
            Depthwise::Padded => self.pad(&name, inputs[0], std::mem::replace(&mut conv.pads, Pads::all(0)))?,
        };
        inputs[0] = &image;
        if self.lowering.depthwise_stride == DepthwiseStride::Conv || conv.stride == [1; 2] {
            return self.node(&name, "Conv", &inputs, &output, convolution(&conv));
        }
        let every = self.inner(id, "every");
        let pool = Pool2d { kernel: [1; 2], stride: conv.stride, pads: Pads::all(0) };
        self.node(&name, "Conv", &inputs, &every, convolution(&Conv2d { stride: [1; 2], ..conv }))?;
        self.node(&format!("{name}.step"), "MaxPool", &[&every], &output, window(&pool))
    }

    /// The value with its border, which all its readers share. `reader` is the name of the first.
    fn pad(&mut self, reader: &str, input: &str, pads: Pads) -> Result<String, ExportError> {
        let Pads { top, left, bottom, right } = pads;
        if pads == Pads::all(0) {
            return Ok(input.to_owned());
        }
        let key = (input.to_owned(), [top, left, bottom, right]);
        if let Some(padded) = self.padded.get(&key) {
            return Ok(padded.clone());
        }
        let sides = format!("pads{top}.{left}.{bottom}.{right}");
        if self.constants.insert(sides.clone()) {
            self.file.integers(&sides, &integers(&[0, 0, top, left, 0, 0, bottom, right]));
        }
        if self.constants.insert("border".to_owned()) {
            self.file.constant("border", Tensor::new(Vec::new(), &[BORDER]));
        }
        let padded = format!("{input}.{sides}");
        self.node(&format!("{reader}.pad"), "Pad", &[input, &sides, "border"], &padded, [])?;
        self.padded.insert(key, padded.clone());
        Ok(padded)
    }

    pub(super) fn swish(&mut self, name: &str, input: &str, output: &str) -> Result<(), ExportError> {
        match self.lowering.swish {
            // Opset 13 has no operator for it.
            Swish::Sigmoid => {
                let gate = format!("{output}.gate");
                self.node(&format!("{name}.sigmoid"), "Sigmoid", &[input], &gate, [])?;
                self.node(name, "Mul", &[input, &gate], output, [])
            }
            Swish::Exp => {
                if self.constants.insert("one".to_owned()) {
                    self.file.constant("one", Tensor::new(Vec::new(), &[1.0]));
                }
                let [negative, power, divisor] = ["negative", "power", "divisor"].map(|it| format!("{output}.{it}"));
                self.node(&format!("{name}.neg"), "Neg", &[input], &negative, [])?;
                self.node(&format!("{name}.exp"), "Exp", &[&negative], &power, [])?;
                self.node(&format!("{name}.add"), "Add", &[&power, "one"], &divisor, [])?;
                self.node(name, "Div", &[input, &divisor], output, [])
            }
        }
    }

    pub(super) fn sum(&mut self, id: NodeId, inputs: &[&str]) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        match (self.lowering.sum, inputs) {
            // `Add` is binary.
            (_, [_, _]) => self.node(&name, "Add", inputs, &output, []),
            (Sum::Sum, _) => self.node(&name, "Sum", inputs, &output, []),
            (Sum::Chain, _) => self.chain(id, "Add", inputs),
        }
    }

    /// A binary operator over all inputs, one after the other.
    pub(super) fn chain(&mut self, id: NodeId, operator: &str, inputs: &[&str]) -> Result<(), ExportError> {
        let (name, output) = (self.graph.name(id), self.value(id));
        let mut sum = inputs[0].to_owned();
        let last = inputs.len() - 1;
        for (idx, input) in inputs.iter().enumerate().skip(1) {
            let part = if idx == last { output.clone() } else { self.inner(id, &format!("sum{idx}")) };
            let label = if idx == last { name.clone() } else { format!("{name}.sum{idx}") };
            self.node(&label, operator, &[&sum, input], &part, [])?;
            sum = part;
        }
        Ok(())
    }
}

/// The same window over rows alone, then over columns alone.
fn one_axis_each(pool: &Pool2d) -> [Pool2d; 2] {
    let Pool2d { kernel: [height, width], stride: [down, right], pads } = *pool;
    let rows = Pads { left: 0, right: 0, ..pads };
    let columns = Pads { top: 0, bottom: 0, ..pads };
    [
        Pool2d { kernel: [height, 1], stride: [down, 1], pads: rows },
        Pool2d { kernel: [1, width], stride: [1, right], pads: columns },
    ]
}
