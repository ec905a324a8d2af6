//! Decodes PNG and JPEG files of any size into bytes of one shape.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use crate::folder::Example;
use crate::part::Raw;
use crate::{DataError, parallel};

/// What an image file says about itself before its pixels are decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) grey: bool,
}

/// A photo has a few hundred thousand pixels; a file that claims more than this is an accident or
/// an attack, and is refused before memory is allocated for it.
const MAX_SIDE: u32 = 16_384;
const MAX_DECODED: u64 = 512 << 20;
const MAX_FILE: u64 = 256 << 20;

/// Decodes and resizes the images, in order, on all cores.
///
/// # Shapes
/// - returns: `[n, channels, height, width]`
pub(crate) fn read(examples: &[Example], shape: [usize; 3]) -> Result<Raw, DataError> {
    let len: usize = shape.iter().product();
    let mut pixels = vec![0; examples.len() * len];
    parallel::fill(examples, &mut pixels, len, || (), |(), example, into| image(&example.path, shape, into))?;
    let labels = examples.iter().map(|example| example.label).collect();
    Ok(Raw::images(shape, pixels, labels))
}

/// Reads an image's size and colour; its pixels stay packed.
pub(crate) fn header(path: &Path) -> Result<Header, DataError> {
    let mut decoder = open(path)?.into_decoder().map_err(|source| image_error(path, source))?;
    let (width, height) = decoder.dimensions();
    let turned = decoder.orientation().is_ok_and(turns);
    let (height, width) = if turned { (width, height) } else { (height, width) };
    Ok(Header { height, width, grey: !decoder.color_type().has_color() })
}

/// What is wrong with each image that cannot be decoded.
pub(crate) fn unreadable<'a>(examples: impl Iterator<Item = &'a Example>, shape: [usize; 3]) -> Vec<String> {
    let mut into = vec![0; shape.iter().product()];
    let errors = examples.filter_map(|example| image(&example.path, shape, &mut into).err());
    errors.map(|error| error.to_string()).collect()
}

/// Decodes one image into `[channels, height, width]`: turned upright, laid on white where it is
/// transparent, and resized in both directions on its own (the whole image is kept, its
/// proportions are not).
pub(crate) fn image(path: &Path, [channels, height, width]: [usize; 3], into: &mut [u8]) -> Result<(), DataError> {
    let image = on_white(pixels(path)?);
    // The triangle filter is widened when it shrinks, so fine patterns do not alias.
    let image = image.resize_exact(width as u32, height as u32, FilterType::Triangle);
    if channels == 1 {
        into.copy_from_slice(image.to_luma8().as_raw());
        return Ok(());
    }
    let plane = height * width;
    for (idx, pixel) in image.to_rgb8().pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            into[channel * plane + idx] = value;
        }
    }
    Ok(())
}

/// Decodes a file as it is, but upright.
pub(crate) fn pixels(path: &Path) -> Result<DynamicImage, DataError> {
    let mut decoder = open(path)?.into_decoder().map_err(|source| image_error(path, source))?;
    // Cameras store which way is up beside the pixels; without it faces lie on their side.
    let orientation = decoder.orientation().map_err(|source| image_error(path, source))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|source| image_error(path, source))?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Lays a transparent image on white, the usual background of cut-out pictures.
fn on_white(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let mut image = image.into_rgba8();
    for pixel in image.pixels_mut() {
        let [.., alpha] = pixel.0;
        for value in &mut pixel.0[..3] {
            let (over, alpha) = (u32::from(*value), u32::from(alpha));
            *value = ((over * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
        pixel.0[3] = 255;
    }
    DynamicImage::ImageRgba8(image)
}

/// A reader that refuses what would not fit in memory.
fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, DataError> {
    let size = fs::metadata(path).map_err(DataError::io(path))?.len();
    if size == 0 {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }
    if size > MAX_FILE {
        let problem = format!("an image file of {size} bytes; at most {MAX_FILE} are read");
        return Err(DataError::Corrupt { path: path.to_path_buf(), offset: 0, problem });
    }
    // The content decides the format: many a .png is a JPEG.
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let mut reader = reader.map_err(DataError::io(path))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    Ok(reader)
}

/// Whether width and height change places.
fn turns(orientation: Orientation) -> bool {
    use Orientation::{
        FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270, Rotate270FlipH,
    };
    match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => true,
        NoTransforms | Rotate180 | FlipHorizontal | FlipVertical => false,
    }
}

fn image_error(path: &Path, source: ImageError) -> DataError {
    DataError::Image { path: path.to_path_buf(), source }
}
