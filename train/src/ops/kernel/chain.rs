//! A rectifier, a depthwise convolution and a convolution over all channels, each of which may be absent, computed
//! image by image: what stands between them stays in the cache and is computed again for the gradients.

use kernels::{Window, plane::run};
use memory::Part;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    computed,
    dense::{Dense, Phases, correlate, match_dense},
    depthwise::{self, Depthwise},
    entry::{Entry, sample, spread},
    group,
    norm::{Curve, Line},
    planes::{Layout, Planes, PlanesMut, Sheet},
    product::{LANES, Lines, Panels, Piece, Source, Target, match_up, multiply},
    relu::Rectifier,
    sum_groups, vectorised,
};

/// What is chained, in this order; at least one of the convolutions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Chain {
    /// Applied to the input.
    pub(crate) rectifier: Rectifier,
    /// Applied next.
    pub(crate) depthwise: Option<Depthwise>,
    /// Applied last; pointwise and without stride where a depthwise convolution goes before it.
    pub(crate) dense: Option<Dense>,
}

/// Whether the kernels can chain these.
pub(crate) fn supports(chain: &Chain) -> bool {
    let dense = |dense: &Dense| {
        let alone = chain.depthwise.is_none();
        dense.is_supported() && (alone || dense.is_pointwise() && dense.window.stride == [1, 1])
    };
    let depthwise = |it: &Depthwise| kernels::depthwise::supports(&it.window);
    (chain.dense.is_some() || chain.depthwise.is_some())
        && chain.dense.as_ref().is_none_or(dense)
        && chain.depthwise.as_ref().is_none_or(depthwise)
}

/// Weights of the depthwise convolution, `[channels, kernel]`, and of the other, `[to, from, kernel]`; empty where
/// there is none.
pub(crate) type Weights<'a> = [&'a [f32]; 2];

/// The gradient of a chain's output.
pub(crate) struct Gradient<'a> {
    /// The gradient of the output, or of what batch norm made of it.
    pub(crate) dy: &'a [f32],
    /// The output and, for each channel, how its gradient follows from that of the norm.
    pub(crate) norm: Option<(&'a [f32], &'a [Curve])>,
}

impl Chain {
    /// Channels, and values of a plane, of the input.
    pub(crate) fn input(&self) -> [usize; 2] {
        match (&self.depthwise, &self.dense) {
            (Some(it), _) => [it.channels, it.window.areas()[0]],
            (None, Some(it)) => [it.from, it.window.areas()[0]],
            (None, None) => [0, 0],
        }
    }

    /// Channels, height and width of the output.
    pub(crate) fn output(&self) -> [usize; 3] {
        match (&self.dense, &self.depthwise) {
            (Some(it), _) => [it.to, it.window.output[0], it.window.output[1]],
            (None, Some(it)) => [it.channels, it.window.output[0], it.window.output[1]],
            (None, None) => [0; 3],
        }
    }

    /// Values of an image before and after.
    fn sizes(&self) -> [usize; 2] {
        [self.input().iter().product(), self.output().iter().product()]
    }

    /// Channels, and values of a plane, of what the last convolution reads.
    fn middle(&self) -> [usize; 2] {
        match (&self.depthwise, &self.dense) {
            (Some(it), _) => [it.channels, it.window.areas()[1]],
            (None, Some(it)) => [it.from, it.window.areas()[1]],
            (None, None) => [0, 0],
        }
    }

    /// How each channel of the input is read: `lines` say how to normalise it, where the norm before it has not.
    fn entries(&self, lines: Option<&[Line]>) -> Vec<Entry> {
        let [channels, _] = self.input();
        let line = |at: usize| lines.map_or(Line::PLAIN, |lines| lines[at]);
        (0..channels).map(|at| Entry::new(line(at), self.rectifier)).collect()
    }

    /// Convolves `x`; `after` is done to the output of a few images at a time while it is in the cache.
    ///
    /// # Shapes
    /// - x: `[n, channels, input]`
    /// - returns `[n, channels, output]`, and what `after` returned
    pub(crate) fn forward<T: Send>(
        &self,
        x: &[f32],
        lines: Option<&[Line]>,
        weights: Weights<'_>,
        after: impl Fn(&mut [f32]) -> T + Sync,
    ) -> (Vec<f32>, Vec<T>) {
        let [from, to] = self.sizes();
        let n = x.len() / from;
        let images = group(n);
        let panels = self.dense.map(|dense| dense.ahead(weights[1]));
        let prepared = Prepared { entries: self.entries(lines), depthwise: weights[0], panels };
        let convolve = |x: &[f32], y: Part<'_>| {
            let mut made = Vec::new();
            self.forward_group(x, &prepared, y, |y| made.push(after(y)));
            made
        };
        let (y, made) = computed(n * to, images * to, x.par_chunks(images * from), convolve);
        (y, made.into_iter().flatten().collect())
    }

    fn forward_group(&self, x: &[f32], prepared: &Prepared<'_>, y: Part<'_>, mut after: impl FnMut(&mut [f32])) {
        let Prepared { entries, depthwise: weights, panels } = prepared;
        let ([from, to], [channels, area]) = (self.sizes(), self.input());
        let [out, height, width] = self.output();
        let images = y.len() / to;
        let (Some(panels), Some(dense)) = (panels, &self.dense) else {
            let values = y.zeroed();
            if let Some(depthwise) = &self.depthwise {
                let x = Planes::new(x, Layout::batch(channels, area, images));
                let y = PlanesMut::new(values, Layout::batch(out, height * width, images));
                run(&depthwise.window, depthwise::Forward { depthwise, entries, weights, x, y });
            }
            return after(values);
        };
        if !dense.is_pointwise() {
            return after(correlate(dense, panels, entries, x, y));
        }
        let [middle, middle_area] = self.middle();
        // Only narrow planes gain by standing side by side; of others one fits the first cache better than several.
        let most = if width <= NARROW { at_once(height * width, images) } else { 1 };
        let mut sheet = Sheet::new(middle, middle_area, most);
        y.filled(most * to, |nth, y| {
            let n = y.len() / to;
            let sheet = sheet.first(n);
            let x = Planes::new(&x[nth * most * from..][..n * from], Layout::batch(channels, area, n));
            match &self.depthwise {
                Some(depthwise) => {
                    let y = sheet.planes_mut();
                    run(&depthwise.window, depthwise::Forward { depthwise, entries, weights, x, y });
                }
                None => Arch::new().dispatch(Gather { window: &dense.window, entries, x, y: sheet.planes_mut() }),
            }
            let pitch = height * width;
            for (image, y) in y.chunks_exact_mut(to).enumerate() {
                multiply_image(panels, sheet, image, y, pitch, pitch);
            }
            after(y);
        });
    }

    /// The gradients of both weights, and of the input where it is wanted.
    ///
    /// # Shapes
    /// - x: `[n, channels, input]`, and its gradient
    /// - gradient: `[n, channels, output]`
    pub(crate) fn backward(
        &self,
        x: &[f32],
        lines: Option<&[Line]>,
        weights: Weights<'_>,
        gradient: &Gradient<'_>,
        wants_dx: bool,
    ) -> ([Vec<f32>; 2], Option<Vec<f32>>) {
        let [from, to] = self.sizes();
        let images = group(gradient.dy.len() / to);
        let phases = self.dense.filter(|it| !it.is_pointwise()).and_then(|it| Phases::new(&it, weights[1]));
        // Phases have panels of their own.
        let panels = self.dense.filter(|_| phases.is_none()).map(|dense| dense.back(weights[1]));
        let prepared = Prepared { entries: self.entries(lines), depthwise: weights[0], panels };
        let n_groups = gradient.dy.len().div_ceil(images * to);
        let part = |idx: usize, dx: Option<Part<'_>>| {
            let cut = |all: &[f32], image: usize| {
                let start = idx * images * image;
                start..all.len().min(start + images * image)
            };
            let gradient = Gradient {
                dy: &gradient.dy[cut(gradient.dy, to)],
                norm: gradient.norm.map(|(y, curves)| (&y[cut(y, to)], curves)),
            };
            let mut parts = weights.map(|it| vec![0.0; it.len()]);
            let x = &x[cut(x, from)];
            match self.dense.as_ref().filter(|it| !it.is_pointwise()) {
                Some(dense) => {
                    backward_dense(dense, x, &prepared, phases.as_ref(), &gradient, dx, &mut parts[1]);
                }
                None => self.backward_group(x, &prepared, &gradient, dx, &mut parts),
            }
            parts
        };
        let groups = (0..n_groups).into_par_iter();
        let (dx, parts): (_, Vec<[Vec<f32>; 2]>) = if wants_dx {
            let (dx, parts) = computed(x.len(), images * from, groups, |idx, dx| part(idx, Some(dx)));
            (Some(dx), parts)
        } else {
            (None, groups.map(|idx| part(idx, None)).collect())
        };
        let sum = |which: usize| sum_groups(parts.iter().map(|part| part[which].as_slice()), weights[which].len());
        ([sum(0), sum(1)], dx)
    }

    /// Of chains whose last convolution is pointwise, or depthwise.
    fn backward_group(
        &self,
        x: &[f32],
        prepared: &Prepared<'_>,
        gradient: &Gradient<'_>,
        dx: Option<Part<'_>>,
        [depthwise_part, dense_part]: &mut [Vec<f32>; 2],
    ) {
        let Prepared { entries, depthwise: weights, panels } = prepared;
        let ([from, to], [channels, area]) = (self.sizes(), self.input());
        let [out, height, width] = self.output();
        let [middle, middle_area] = self.middle();
        let most = at_once(height * width, gradient.dy.len() / to);
        let mut dz = Sheet::new(out, height * width, most);
        let mut dmiddle = panels.as_ref().map(|_| Sheet::new(middle, middle_area, most));
        let mut again = panels.as_ref().map(|_| Sheet::new(middle, middle_area, most));
        // A few images at a time, from `nth` times as many on; their gradient holds zeros before.
        let mut few = |nth: usize, dx: Option<&mut [f32]>| {
            let start = nth * most;
            let n = most.min(gradient.dy.len() / to - start);
            let cut = |size: usize| start * size..(start + n) * size;
            let x = Planes::new(&x[cut(from)], Layout::batch(channels, area, n));
            let dx = dx.map(|dx| PlanesMut::new(dx, Layout::batch(channels, area, n)));
            let dz = dz.first(n);
            gradient.part(cut(to), out, n).write(dz.planes_mut());
            if let (Some(panels), Some(dmiddle)) = (panels, &mut dmiddle) {
                let dmiddle = dmiddle.first(n);
                for image in 0..n {
                    let Layout { channel: pitch, area, image: next, .. } = dmiddle.layout();
                    let target = &mut dmiddle.values_mut()[image * next..];
                    multiply_image(panels, dz, image, target, pitch, area);
                }
            }
            let dmiddle = dmiddle.as_ref().unwrap_or(dz).planes();
            let mut again = again.as_mut().map(|it| it.first(n));
            match (&self.depthwise, &self.dense, &mut again) {
                (Some(depthwise), _, again) => {
                    let (y, dw) = (again.as_mut().map(|it| it.planes_mut()), &mut **depthwise_part);
                    let backward = depthwise::Backward { depthwise, entries, weights, x, dy: dmiddle, y, dx, dw };
                    run(&depthwise.window, backward);
                }
                (None, Some(dense), Some(again)) => {
                    let window = &dense.window;
                    Arch::new().dispatch(Gather { window, entries, x, y: again.planes_mut() });
                    if let Some(dx) = dx {
                        Arch::new().dispatch(Scatter { window, entries, x, dy: dmiddle, dx });
                    }
                }
                (None, ..) => {}
            }
            if let Some(again) = again {
                match_sheets(again, dz, dense_part);
            }
        };
        match dx {
            Some(dx) => {
                dx.filled(most * from, |nth, dx| few(nth, Some(dx)));
            }
            None => (0..gradient.dy.len().div_ceil(most * to)).for_each(|nth| few(nth, None)),
        }
    }
}

/// What all groups of images share.
struct Prepared<'a> {
    /// How each channel of the input is read.
    entries: Vec<Entry>,
    /// Weights of the depthwise convolution.
    depthwise: &'a [f32],
    /// Those of the other, in the order in which they are used.
    panels: Option<Panels>,
}

/// Of a chain that is one convolution which is not pointwise.
fn backward_dense(
    dense: &Dense,
    x: &[f32],
    prepared: &Prepared<'_>,
    phases: Option<&Phases>,
    gradient: &Gradient<'_>,
    dx: Option<Part<'_>>,
    part: &mut [f32],
) {
    let entries = &prepared.entries;
    let [area, out_area] = dense.window.areas();
    let n = gradient.dy.len() / (dense.to * out_area);
    let made = gradient.norm.map(|_| {
        let mut dz = vec![0.0; gradient.dy.len()];
        let planes = PlanesMut::new(&mut dz, Layout::batch(dense.to, out_area, n));
        gradient.part(0..gradient.dy.len(), dense.to, n).write(planes);
        dz
    });
    let dy = made.as_deref().unwrap_or(gradient.dy);
    match_dense(dense, entries, x, dy, part);
    let Some(dx) = dx else { return };
    let dx = match (phases, &prepared.panels) {
        (None, Some(panels)) => correlate(&dense.turned(), panels, &vec![Entry::PLAIN; dense.to], dy, dx),
        (phases, _) => {
            let dx = dx.zeroed();
            phases.into_iter().for_each(|phases| phases.run(dy, dx));
            dx
        }
    };
    Arch::new().dispatch(Mask { entries, area, x, dx });
}

/// Pixels that a row should have whose products are added up.
const LONG: usize = 1024;

/// Pixels of a row that one vector holds.
const NARROW: usize = 8;

/// Images of so many pixels that are worked on at once, of `n`.
fn at_once(area: usize, n: usize) -> usize {
    (LONG / area.max(1)).clamp(1, n.max(1))
}

impl<'a> Gradient<'a> {
    /// That of some images of `channels` channels.
    fn part(&self, range: std::ops::Range<usize>, channels: usize, images: usize) -> Portion<'a> {
        let dy = &self.dy[range.clone()];
        let layout = Layout::batch(channels, dy.len() / images / channels, images);
        let norm = self.norm.map(|(y, curves)| (Planes::new(&y[range], layout), curves));
        Portion { channels, images, dy: Planes::new(dy, layout), norm }
    }
}

/// The gradient of a few images.
struct Portion<'a> {
    channels: usize,
    images: usize,
    dy: Planes<'a>,
    norm: Option<(Planes<'a>, &'a [Curve])>,
}

impl Portion<'_> {
    fn write(&self, mut dz: PlanesMut<'_>) {
        vectorised(
            #[inline(always)]
            || {
                for channel in 0..self.channels {
                    for image in 0..self.images {
                        let (dy, dz) = (self.dy.plane(channel, image), dz.plane(channel, image));
                        match &self.norm {
                            Some((y, curves)) => curves[channel].write(y.plane(channel, image), dy, dz),
                            None => dz.copy_from_slice(dy),
                        }
                    }
                }
            },
        );
    }
}

/// Sets `dx` to zero where the rectifier let no gradient through.
struct Mask<'a> {
    entries: &'a [Entry],
    area: usize,
    x: &'a [f32],
    dx: &'a mut [f32],
}

impl WithSimd for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { entries, area, x, dx } = self;
        for ((x, dx), entry) in x.chunks_exact(area).zip(dx.chunks_exact_mut(area)).zip(entries.iter().cycle()) {
            entry.reader(simd).mask(simd, x, dx);
        }
    }
}

/// Copies those pixels that a pointwise convolution reads, as the entries say.
struct Gather<'a> {
    window: &'a Window,
    entries: &'a [Entry],
    x: Planes<'a>,
    y: PlanesMut<'a>,
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { window: Window { stride, input, output, .. }, entries, x, mut y } = self;
        for (channel, entry) in entries.iter().enumerate() {
            let reader = entry.reader(simd);
            for image in 0..x.images() {
                let (x, y) = (x.plane(channel, image), y.plane(channel, image));
                if input == output {
                    reader.copy(simd, x, y);
                    continue;
                }
                let rows = x.chunks_exact(input[1]).step_by(stride[0]);
                for (y, x) in y.chunks_exact_mut(output[1]).zip(rows) {
                    sample(x, stride[1], y);
                }
                reader.apply(simd, y);
            }
        }
    }
}

/// The gradient of what [`Gather`] reads; `dx` holds zeros before.
struct Scatter<'a> {
    window: &'a Window,
    entries: &'a [Entry],
    x: Planes<'a>,
    dy: Planes<'a>,
    dx: PlanesMut<'a>,
}

impl WithSimd for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { window: Window { stride, input, output, .. }, entries, x, dy, mut dx } = self;
        for (channel, entry) in entries.iter().enumerate() {
            let reader = entry.reader(simd);
            for image in 0..x.images() {
                let (x, dx, dy) = (x.plane(channel, image), dx.plane(channel, image), dy.plane(channel, image));
                if input == output {
                    dx.copy_from_slice(dy);
                    reader.mask(simd, x, dx);
                    continue;
                }
                let rows = dx.chunks_exact_mut(input[1]).zip(x.chunks_exact(input[1])).step_by(stride[0]);
                for ((dx, x), dy) in rows.zip(dy.chunks_exact(output[1])) {
                    spread(dy, stride[1], dx);
                    reader.mask(simd, x, dx);
                }
            }
        }
    }
}

/// `target = panels * sheet`, one image; the planes of the target are `pitch` values apart.
fn multiply_image(panels: &Panels, sheet: &Sheet, image: usize, target: &mut [f32], pitch: usize, area: usize) {
    let values = &sheet.values()[image * sheet.layout().image..];
    let source = Source { values, offsets: sheet.offsets(), step: 0 };
    multiply(panels, &source, Target { values: target, pitch, height: 1, width: area, adds: false });
}

/// What the last sum over a vector costs, in products of vectors for each row and tap: see [`match_sheets`].
const SHORT: usize = 5;

/// Adds the gradient of pointwise weights by the images of two sheets.
fn match_sheets(x: &Sheet, dy: &Sheet, part: &mut [f32]) {
    let length = dy.layout().images * dy.layout().image;
    let (rows, taps) = (dy.offsets().len(), x.offsets().len());
    if (rows + taps) * length < SHORT * rows * taps {
        // Rows of products are too short to be worth their sums: the product is taken pixel by pixel.
        let panels = Panels::new(rows, length, |row, pixel| dy.values()[dy.offsets()[row] + pixel]);
        let pitch = (taps.div_ceil(LANES) + 1) * LANES;
        let mut turned = vec![0.0; length * pitch];
        for (tap, start) in x.offsets().iter().enumerate() {
            for (pixel, value) in x.values()[*start..][..length].iter().enumerate() {
                turned[pixel * pitch + tap] = *value;
            }
        }
        let offsets: Vec<usize> = (0..length).map(|pixel| pixel * pitch).collect();
        let source = Source { values: &turned, offsets: &offsets, step: 0 };
        return multiply(&panels, &source, Target { values: part, pitch: taps, height: 1, width: taps, adds: true });
    }
    let [x, dy] = [x, dy].map(|it| Lines { values: it.values(), offsets: it.offsets() });
    match_up(&x, &dy, std::iter::once(Piece { x: 0, dy: 0, length }), part);
}
