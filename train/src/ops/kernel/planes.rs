//! Planes of some images, wherever they stand.

use super::product::LANES;

/// The plane of each channel of some images.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    values: &'a [f32],
    layout: Layout,
}

/// As [`Planes`], to be written.
pub(super) struct PlanesMut<'a> {
    values: &'a mut [f32],
    layout: Layout,
}

/// How planes stand.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Values of a plane.
    pub(super) area: usize,
    /// Number of images.
    pub(super) images: usize,
    /// From a channel to the next.
    pub(super) channel: usize,
    /// From an image to the next.
    pub(super) image: usize,
}

impl Layout {
    /// All channels of an image, then the next image: how tensors stand.
    pub(super) fn batch(channels: usize, area: usize, images: usize) -> Self {
        Self { area, images, channel: area, image: channels * area }
    }

    fn at(&self, channel: usize, image: usize) -> usize {
        channel * self.channel + image * self.image
    }
}

impl<'a> Planes<'a> {
    pub(super) fn new(values: &'a [f32], layout: Layout) -> Self {
        Self { values, layout }
    }

    /// Number of images.
    #[inline(always)]
    pub(super) fn images(&self) -> usize {
        self.layout.images
    }

    #[inline(always)]
    pub(super) fn plane(&self, channel: usize, image: usize) -> &'a [f32] {
        &self.values[self.layout.at(channel, image)..][..self.layout.area]
    }
}

impl<'a> PlanesMut<'a> {
    pub(super) fn new(values: &'a mut [f32], layout: Layout) -> Self {
        Self { values, layout }
    }

    #[inline(always)]
    pub(super) fn plane(&mut self, channel: usize, image: usize) -> &mut [f32] {
        &mut self.values[self.layout.at(channel, image)..][..self.layout.area]
    }

    /// The same of `P` images from `first` on.
    #[inline(always)]
    pub(super) fn beside<const P: usize>(&mut self, channel: usize, first: usize) -> [&mut [f32]; P] {
        let layout = self.layout;
        let places = std::array::from_fn(|nth| {
            let start = layout.at(channel, first + nth);
            start..start + layout.area
        });
        self.values.get_disjoint_mut(places).expect("planes of different images are apart")
    }
}

/// Planes in the cache: all images of a channel, then the next channel. Between them stand zeros, so that a channel
/// is one row of whole vectors.
pub(super) struct Sheet {
    values: Vec<f32>,
    layout: Layout,
    /// Where each channel begins.
    offsets: Vec<usize>,
}

impl Sheet {
    pub(super) fn new(channels: usize, area: usize, images: usize) -> Self {
        let image = area.next_multiple_of(LANES);
        // An odd number of vectors, or channels would compete for the same lines of the first cache.
        let channel = ((images * image / LANES) | 1) * LANES;
        let layout = Layout { area, images, channel, image };
        Self { values: vec![0.0; channels * channel], layout, offsets: (0..channels).map(|at| at * channel).collect() }
    }

    /// The same planes, of which only the first `images` of each channel count.
    pub(super) fn first(&mut self, images: usize) -> &mut Self {
        self.layout.images = images;
        self
    }

    pub(super) fn planes(&self) -> Planes<'_> {
        Planes::new(&self.values, self.layout)
    }

    pub(super) fn planes_mut(&mut self) -> PlanesMut<'_> {
        PlanesMut::new(&mut self.values, self.layout)
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub(super) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }
}
