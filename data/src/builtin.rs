//! The two small sets that ship inside the program, so that it works offline from the first run.

use std::path::PathBuf;

use crate::DataError;
use crate::idx::{self, Pair};
use crate::input::Input;
use crate::source::{Format, Kind, Source, numbered};

/// Fashion-MNIST's classes, in label order.
pub(crate) const CLOTHES: [&str; 10] =
    ["t-shirt_top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"];

macro_rules! embedded {
    ($file:literal) => {
        Input::Embedded { name: concat!("built-in/", $file), bytes: include_bytes!(concat!("../sets/", $file)) }
    };
}

/// Balanced cut of Fashion-MNIST: 2,500 training and 600 test images of 28x28. MIT.
pub(crate) fn fashion_tiny() -> Result<Source, DataError> {
    let train = Pair {
        images: embedded!("fashion-tiny/train-2500-images-idx3-ubyte.gz"),
        labels: embedded!("fashion-tiny/train-2500-labels-idx1-ubyte.gz"),
    };
    let test = Pair {
        images: embedded!("fashion-tiny/test-600-images-idx3-ubyte.gz"),
        labels: embedded!("fashion-tiny/test-600-labels-idx1-ubyte.gz"),
    };
    let classes = CLOTHES.map(str::to_owned).to_vec();
    built_in("fashion-tiny", Kind::Clothes, classes, train, Some(test))
}

/// UCI optical digits: 1,797 images of 8x8 with values 0 to 16. CC BY 4.0.
pub(crate) fn optdigits() -> Result<Source, DataError> {
    let all = Pair {
        images: embedded!("optdigits/digits-images-idx3-ubyte.gz"),
        labels: embedded!("optdigits/digits-labels-idx1-ubyte.gz"),
    };
    built_in("optdigits", Kind::Digits, numbered(10), all, None)
}

fn built_in(
    name: &str,
    kind: Kind,
    classes: Vec<String>,
    train: Pair,
    test: Option<Pair>,
) -> Result<Source, DataError> {
    let path = PathBuf::from(format!("built-in/{name}"));
    let source = idx::source(path, name.into(), kind, Some(classes), train, test)?;
    Ok(Source { format: Format::BuiltIn, ..source })
}
