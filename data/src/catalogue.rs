//! The data sets known by name: two in the program, four that can be downloaded.

use crate::builtin::CLOTHES;
use crate::download::{Download, Remote};

/// A data set known by name, as `pipeline data list` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// What `--data` takes.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Under which terms.
    pub licence: &'static str,
    /// Where it comes from, for reading.
    pub homepage: &'static str,
    /// Channels, height and width of its images.
    pub shape: [usize; 3],
    /// Number of classes.
    pub n_classes: usize,
    /// Images to train and validate on.
    pub n_train: usize,
    /// Images for the final score.
    pub n_test: usize,
    /// Packed size in bytes.
    pub bytes: u64,
    /// Where its bytes are.
    pub origin: Origin,
}

/// Where a listed set's bytes are.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// In the program: a cut of Fashion-MNIST.
    FashionTiny,
    /// In the program: UCI's optical digits.
    Optdigits,
    /// On a server.
    Download(Download<'static>),
}

/// The entry of a name.
pub fn listed(name: &str) -> Option<&'static Listed> {
    CATALOGUE.iter().find(|listed| listed.name == name)
}

/// All sets known by name, those that need no network first.
///
/// Addresses, sizes and hashes of the archives are those of TensorFlow Datasets' checksum lists
/// (`url_checksums/{cifar10,cifar100,mnist,fashion_mnist}.txt`). MNIST's author no longer serves
/// the files; the address is the CVDF mirror, which holds them unchanged.
pub const CATALOGUE: &[Listed] = &[
    Listed {
        name: "fashion-tiny",
        title: "Fashion-MNIST, the first 250 training and 60 test images of each class",
        licence: "MIT (Zalando SE)",
        homepage: "https://github.com/zalandoresearch/fashion-mnist",
        shape: [1, 28, 28],
        n_classes: 10,
        n_train: 2_500,
        n_test: 600,
        bytes: 1_349_896,
        origin: Origin::FashionTiny,
    },
    Listed {
        name: "optdigits",
        title: "Optical Recognition of Handwritten Digits, UCI, test part",
        licence: "CC BY 4.0 (Alpaydin and Kaynak)",
        homepage: "https://doi.org/10.24432/C50P49",
        shape: [1, 8, 8],
        n_classes: 10,
        n_train: 1_438,
        n_test: 359,
        bytes: 44_243,
        origin: Origin::Optdigits,
    },
    Listed {
        name: "mnist",
        title: "MNIST handwritten digits",
        licence: "none stated by the files; usually given as CC BY-SA 3.0",
        homepage: "http://yann.lecun.com/exdb/mnist/",
        shape: [1, 28, 28],
        n_classes: 10,
        n_train: 60_000,
        n_test: 10_000,
        bytes: 11_594_722,
        origin: Origin::Download(Download {
            base: "https://storage.googleapis.com/cvdf-datasets/mnist",
            files: &[
                Remote {
                    name: "train-images-idx3-ubyte.gz",
                    bytes: 9_912_422,
                    sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    archive: false,
                },
                Remote {
                    name: "train-labels-idx1-ubyte.gz",
                    bytes: 28_881,
                    sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    archive: false,
                },
                Remote {
                    name: "t10k-images-idx3-ubyte.gz",
                    bytes: 1_648_877,
                    sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    archive: false,
                },
                Remote {
                    name: "t10k-labels-idx1-ubyte.gz",
                    bytes: 4_542,
                    sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    archive: false,
                },
            ],
            class_names: &[],
        }),
    },
    Listed {
        name: "fashion-mnist",
        title: "Fashion-MNIST, pictures of clothes",
        licence: "MIT (Zalando SE)",
        homepage: "https://github.com/zalandoresearch/fashion-mnist",
        shape: [1, 28, 28],
        n_classes: 10,
        n_train: 60_000,
        n_test: 10_000,
        bytes: 30_878_645,
        origin: Origin::Download(Download {
            // The authors' address has no TLS; the hashes do not need it.
            base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            files: &[
                Remote {
                    name: "train-images-idx3-ubyte.gz",
                    bytes: 26_421_880,
                    sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    archive: false,
                },
                Remote {
                    name: "train-labels-idx1-ubyte.gz",
                    bytes: 29_515,
                    sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    archive: false,
                },
                Remote {
                    name: "t10k-images-idx3-ubyte.gz",
                    bytes: 4_422_102,
                    sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    archive: false,
                },
                Remote {
                    name: "t10k-labels-idx1-ubyte.gz",
                    bytes: 5_148,
                    sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    archive: false,
                },
            ],
            class_names: &CLOTHES,
        }),
    },
    Listed {
        name: "cifar10",
        title: "CIFAR-10, photos of ten things",
        licence: "none stated; the authors ask to cite Krizhevsky (2009)",
        homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
        shape: [3, 32, 32],
        n_classes: 10,
        n_train: 50_000,
        n_test: 10_000,
        bytes: 170_052_171,
        origin: Origin::Download(Download {
            base: "https://www.cs.toronto.edu/~kriz",
            files: &[Remote {
                name: "cifar-10-binary.tar.gz",
                bytes: 170_052_171,
                sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                archive: true,
            }],
            class_names: &[],
        }),
    },
    Listed {
        name: "cifar100",
        title: "CIFAR-100, photos of a hundred things",
        licence: "none stated; the authors ask to cite Krizhevsky (2009)",
        homepage: "https://www.cs.toronto.edu/~kriz/cifar.html",
        shape: [3, 32, 32],
        n_classes: 100,
        n_train: 50_000,
        n_test: 10_000,
        bytes: 168_513_733,
        origin: Origin::Download(Download {
            base: "https://www.cs.toronto.edu/~kriz",
            files: &[Remote {
                name: "cifar-100-binary.tar.gz",
                bytes: 168_513_733,
                sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                archive: true,
            }],
            class_names: &[],
        }),
    },
];
