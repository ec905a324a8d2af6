//! IDX and CIFAR: what is read, and what each damaged file is told.

use data::{Format, Kind, Options, Role, Source};
use proptest::prelude::*;

use crate::files::{but, cifar, folder, gz, idx, open, open_with, read, refused, small_cifar, small_idx};

#[test]
fn idx_is_read() {
    let dir = folder(&small_idx());
    let source = open(&dir).expect("a good set opens");
    assert_eq!((source.format, source.kind, source.shape), (Format::Idx, Kind::Digits, [1, 2, 3]));
    assert_eq!(source.classes, ["0", "1", "2"]);
    assert!(!source.held_out);
    let train = source.train().expect("a good part reads");
    assert_eq!((train.role, train.len()), (Role::Train, 6));
    assert_eq!(train.labels, [0, 1, 2, 0, 1, 2]);
    assert_eq!(train.image(1), [6, 7, 8, 9, 10, 11]);
    assert_eq!(train.counts(), [2, 2, 2]);
    let test = source.test().expect("a good part reads");
    assert_eq!((test.role, test.labels.as_slice()), (Role::Test, [2, 1, 0].as_slice()));
    assert_eq!(test.image(2), [112, 113, 114, 115, 116, 117]);
}

#[test]
fn idx_names_of_the_family() {
    // The MNIST site's dot, a cut's number, the Debian names, EMNIST's prefix; each also as .gz.
    for (train, test) in [
        ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"),
        ("train-6k-images-idx3-ubyte", "t1500-images-idx3-ubyte"),
        ("train-images-idx3-ubyte", "test-images-idx3-ubyte"),
        ("emnist-digits-train-images-idx3-ubyte", "emnist-digits-test-images-idx3-ubyte"),
    ] {
        for packed in [false, true] {
            let dir = folder(&[]);
            let put = |images: &str, part: usize| {
                let labels = images.replace("images", "labels").replace("idx3", "idx1");
                for (name, bytes) in [(images, &small_idx()[part].1), (labels.as_str(), &small_idx()[part + 1].1)] {
                    let name = if packed { format!("{name}.gz") } else { name.into() };
                    let bytes = if packed { gz(bytes) } else { bytes.clone() };
                    crate::files::write(dir.path(), &name, &bytes);
                }
            };
            put(train, 0);
            put(test, 2);
            let (train_part, test_part) = read(&dir).unwrap_or_else(|error| panic!("{train}: {error}"));
            assert_eq!((train_part.len(), test_part.len()), (6, 3), "{train}");
        }
    }
}

#[test]
fn cifar_is_read() {
    let dir = folder(&small_cifar());
    let source = open(&dir).expect("a good set opens");
    assert_eq!((source.format, source.kind, source.shape), (Format::Cifar10, Kind::Photos, [3, 32, 32]));
    assert_eq!(source.classes, ["cat", "dog", "ship"]);
    let train = source.train().expect("a good part reads");
    assert_eq!(train.labels, [0, 1, 2]);
    assert_eq!(train.image(2), [30; 3072]);
    assert_eq!(source.test().expect("a good part reads").image(0), [40; 3072]);

    // CIFAR-100: the second byte is the class. By its list of names, or by its record length.
    let records = cifar(&[(&[9, 1], 1), (&[0, 99], 2)]);
    let names: String = (0..100).map(|class| format!("class{class}\n")).collect();
    for (files, last) in [
        (vec![("fine_label_names.txt", names.into_bytes()), ("train.bin", records.clone())], "class99"),
        (vec![("train_8000.bin.gz", gz(&records))], "99"),
    ] {
        let files = [files, vec![("test_2000.bin", records.clone())]].concat();
        let source = open(&folder(&files)).expect("a good set opens");
        assert_eq!((source.format, source.classes[99].as_str()), (Format::Cifar100, last));
    }
}

#[test]
fn unpacked_wins_over_packed() {
    let mut files = small_cifar();
    files.push(("data_batch_1.bin.gz", gz(&cifar(&[(&[2], 99)]))));
    let (train, _) = read(&folder(&files)).expect("a good set reads");
    assert_eq!(train.labels, [0, 1, 2]);
}

#[test]
fn damaged_idx_is_refused() {
    let check = |files: Vec<(&'static str, Vec<u8>)>, expected: &[&str]| refused(read(&folder(&files)), expected);
    let with = |name, bytes| but(small_idx(), name, Some(bytes));
    let images = "train-images-idx3-ubyte";
    let labels = "train-labels-idx1-ubyte";

    // Six images of 6 bytes after 16 bytes of header: byte 40 is the last of image 4's first 0..6.
    check(with(images, idx(&[6, 2, 3], &[0; 26])), &[images, "record 4", "byte 42", "10 bytes are missing"]);
    check(with(images, idx(&[6, 2, 3], &[0; 37])), &[images, "byte 52", "more data after the last of 6"]);
    check(with(images, vec![0, 0, 8]), &[images, "byte 3", "13 bytes are missing"]);
    check(with(images, vec![]), &[images, "holds no images"]);
    check(with(images, idx(&[0, 2, 3], &[])), &[images, "holds no images"]);
    check(with(images, idx(&[6, 6], &[0; 36])), &[images, "byte 0", "3 dimension(s)"]);
    check(with(images, b"\x89PNG\r\n and so on, to fill it".to_vec()), &[images, "starts with [89"]);
    check(with(images, idx(&[u32::MAX, 9999, 9999], &[])), &[images, "byte 4", "at most 4294967296"]);
    check(with(labels, idx(&[6], &[0, 1, 2, 0])), &[labels, "record 4", "byte 12", "2 bytes are missing"]);
    check(with(labels, idx(&[5], &[0, 1, 2, 0, 1])), &[images, "6 images", labels, "5 labels"]);
    check(with("t10k-labels-idx1-ubyte", idx(&[3], &[0, 3, 0])), &["record 1", "byte 9", "label 3", "3 classes"]);
    check(with("t10k-images-idx3-ubyte", idx(&[3, 3, 2], &[0; 18])), &["t10k", "[1, 3, 2]", "[1, 2, 3]"]);
    check(but(small_idx(), labels, None), &[images, "no labels", labels]);
    check(but(small_idx(), images, None), &["no `train-images-idx3-ubyte`"]);
    check(with("more-train-images-idx3-ubyte", idx(&[1, 2, 3], &[0; 6])), &["could both be the same part"]);
    check(with(labels, idx(&[6], &[0; 6])), &["1 class(es)", "at least 2"]);
    check(with("classes.txt", b"\n\n".to_vec()), &["classes.txt", "holds no"]);

    // gzip: cut in the middle, and one flipped bit of the stream (found by its checksum).
    let packed = gz(&idx(&[6, 2, 3], &(0..36).collect::<Vec<u8>>()));
    let name = "train-images-idx3-ubyte.gz";
    let packed_set = |bytes: Vec<u8>| but(with(name, bytes), images, None);
    check(packed_set(packed[..packed.len() / 2].to_vec()), &[name, "corrupt at byte", "gzip"]);
    let mut flipped = packed.clone();
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 1;
    check(packed_set(flipped), &[name, "corrupt at byte 52", "gzip"]);
}

#[test]
fn damaged_cifar_is_refused() {
    let check = |files: Vec<(&'static str, Vec<u8>)>, expected: &[&str]| refused(read(&folder(&files)), expected);
    let with = |name, bytes| but(small_cifar(), name, Some(bytes));
    let mut cut = cifar(&[(&[0], 1), (&[1], 2)]);
    cut.truncate(5000);
    check(with("data_batch_2.bin", cut.clone()), &["data_batch_2.bin", "record 1", "byte 5000", "1146 bytes"]);
    check(with("data_batch_1.bin", vec![]), &["data_batch_1.bin", "holds no images"]);
    check(
        with("data_batch_1.bin", cifar(&[(&[0], 1), (&[3], 2)])),
        &["data_batch_1.bin", "record 1", "byte 3073", "label 3", "3 classes"],
    );
    check(with("test_batch.bin", vec![7; 3072]), &["test_batch.bin", "record 0", "byte 3072", "1 bytes"]);
    check(with("batches.meta.txt", b"cat\n".to_vec()), &["1 class(es)"]);
    check(vec![("test_batch.bin", cifar(&[(&[1], 40)]))], &["no `data_batch*.bin`"]);
    check(vec![("train.bin", cut)], &["train.bin", "byte 5000", "3073", "3074"]);
    check(vec![("data_batch_1.bin.xz", vec![1])], &["data_batch_1.bin.xz", "xz -dk"]);
    check(vec![("train-images-idx3-ubyte.xz", vec![1])], &["idx3-ubyte.xz", "xz -dk"]);
    let only_packed_test = but(but(small_cifar(), "test_batch.bin", None), "test_batch.bin.xz", Some(vec![1]));
    check(only_packed_test, &["test_batch.bin.xz", "xz -dk"]);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let dir = folder(&[("notes.txt", b"hello".to_vec())]);
    refused(open(&dir), &["1 file(s)", "no `data_batch*.bin`"]);
    refused(open(&folder(&[])), &["holds no images"]);
    let file = dir.path().join("notes.txt");
    refused(Source::open(file.to_str().expect("UTF-8"), &Options::default()), &["a data set is a folder"]);
    refused(Source::open("no-such-set", &Options::default()), &["`no-such-set`", "fashion-tiny", "cifar100"]);
    refused(Source::open("cifar10", &Options::default()), &["pipeline data get cifar10"]);
    let big = Options { image_size: Some([64, 64]), ..Options::default() };
    refused(open_with(&folder(&small_cifar()), &big), &["64x64", "32x32"]);
}

#[test]
fn a_missing_test_part_is_held_out() {
    let labels: Vec<u8> = (0..50).map(|n| n % 5).collect();
    let dir = folder(&[
        ("digits-images-idx3-ubyte", idx(&[50, 1, 1], &(0..50).collect::<Vec<u8>>())),
        ("digits-labels-idx1-ubyte", idx(&[50], &labels)),
    ]);
    assert!(open(&dir).expect("a good set opens").held_out);
    let (train, test) = read(&dir).expect("a good set reads");
    assert_eq!((train.counts(), test.counts()), (vec![8; 5], vec![2; 5]));
    // Each pixel value occurs once, so together they are all images, and none is in both.
    let mut all = [train.pixels.clone(), test.pixels].concat();
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<u8>>());
    assert_eq!(read(&dir).expect("a good set reads").0, train);
}

#[test]
fn downloads_are_found_by_name() {
    let dir = folder(&[]);
    for (name, bytes) in small_cifar() {
        crate::files::write(dir.path(), &format!("cifar10/{name}"), &bytes);
    }
    let options = Options { downloads: Some(dir.path().to_path_buf()), ..Options::default() };
    assert_eq!(Source::open("cifar10", &options).expect("it is there").name, "cifar10");
    refused(Source::open("mnist", &options), &["pipeline data get mnist"]);
}

#[test]
fn the_hash_covers_what_training_sees() {
    let hash = |files: Vec<(&'static str, Vec<u8>)>| read(&folder(&files)).expect("a good set reads").0.sha256();
    let with = |name, bytes| hash(but(small_idx(), name, Some(bytes)));
    let plain = hash(small_idx());
    let pixels = |first: u8| [&[first], &(1..36).collect::<Vec<u8>>()[..]].concat();
    assert_eq!(plain, with("train-images-idx3-ubyte", idx(&[6, 2, 3], &pixels(0))));
    assert_eq!(plain, with("t10k-labels-idx1-ubyte", idx(&[3], &[0, 0, 0])), "the test part is not in it");
    for other in [
        with("train-images-idx3-ubyte", idx(&[6, 2, 3], &pixels(1))),
        with("train-labels-idx1-ubyte", idx(&[6], &[0, 1, 2, 0, 2, 1])),
        with("classes.txt", b"a\nb\nc\n".to_vec()),
    ] {
        assert_ne!(plain, other);
    }
    let as_columns = small_idx().into_iter().map(|(name, bytes)| match name {
        "train-images-idx3-ubyte" => (name, idx(&[6, 3, 2], &pixels(0))),
        "t10k-images-idx3-ubyte" => (name, idx(&[3, 3, 2], &[0; 18])),
        _ => (name, bytes),
    });
    assert_ne!(plain, hash(as_columns.collect()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn idx_round_trips(n in 1_usize..20, height in 1_usize..9, width in 1_usize..9, seed: u64) {
        let mut rng = data::keyed::rng(seed, "pixels", 0);
        let pixels: Vec<u8> = (0..n * height * width).map(|_| data::keyed::below(&mut rng, 256) as u8).collect();
        let labels: Vec<u8> = (0..n).map(|_| data::keyed::below(&mut rng, 256) as u8).collect();
        let file = idx(&[n as u32, height as u32, width as u32], &pixels);
        let images = data::idx::images("x".as_ref(), file.as_slice()).expect("a good file reads");
        prop_assert_eq!(images, data::idx::Images { n, height, width, pixels });
        let file = idx(&[n as u32], &labels);
        prop_assert_eq!(data::idx::labels("x".as_ref(), file.as_slice()).expect("a good file reads"), labels);
    }

    #[test]
    fn cifar_round_trips(
        records in prop::collection::vec((any::<u8>(), 0_u8..100, any::<u64>()), 1..4),
        hundred: bool,
    ) {
        use data::cifar::{Layout, records as decode};
        let layout = if hundred { Layout::Hundred } else { Layout::Ten };
        let (mut file, mut pixels) = (Vec::new(), Vec::new());
        for &(coarse, fine, seed) in &records {
            if hundred { file.push(coarse); }
            file.push(fine);
            let mut rng = data::keyed::rng(seed, "pixels", 0);
            let image: Vec<u8> = (0..3072).map(|_| data::keyed::below(&mut rng, 256) as u8).collect();
            file.extend_from_slice(&image);
            pixels.extend(image);
        }
        let (mut got, mut labels) = (Vec::new(), Vec::new());
        decode("x".as_ref(), file.as_slice(), layout, 100, &mut got, &mut labels).expect("a good file reads");
        prop_assert_eq!(got, pixels);
        prop_assert_eq!(labels, records.iter().map(|&(_, fine, _)| u32::from(fine)).collect::<Vec<u32>>());
    }
}
