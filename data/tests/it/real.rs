//! Real files: the sets inside the program, and those in `../shared/data` where it exists.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use data::{Amount, CATALOGUE, Format, Kind, Normalisation, Options, Origin, Source, sha256_file, split};

fn open(name: &str) -> Source {
    Source::open(name, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A folder of real data, or a line that says what was skipped.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if !path.is_dir() {
        skip(&format!("{name} (no ../shared/data)"));
        return None;
    }
    Some(path)
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skip(what: &str) {
    eprintln!("skipped: {what}");
}

#[test]
fn built_in_sets_are_what_the_catalogue_says() {
    for listed in CATALOGUE {
        match listed.origin {
            Origin::Download(download) => {
                assert_eq!(download.files.iter().map(|file| file.bytes).sum::<u64>(), listed.bytes, "{}", listed.name);
                let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
                assert!(download.files.iter().all(|file| hex(file.sha256)));
                continue;
            }
            Origin::FashionTiny | Origin::Optdigits => {}
        }
        let source = open(listed.name);
        let (train, test) = (source.train().expect("it is built in"), source.test().expect("it is built in"));
        assert_eq!((source.shape, source.classes.len()), (listed.shape, listed.n_classes));
        assert_eq!((train.len(), test.len()), (listed.n_train, listed.n_test), "{}", listed.name);
    }
}

#[test]
fn built_in_hashes_are_stable() {
    let hashes = |name| (open(name).train().expect("built in").sha256(), open(name).test().expect("built in").sha256());
    // A change of these changes every stored run. Worked out by an independent program, hold-out
    // included.
    assert_eq!(
        hashes("fashion-tiny"),
        (
            "37acf8f8b00a37c9e6ed212e5a721b73877459d8bc4b29040a050325d8fde9d8".into(),
            "394f863c9c10cfa10eac33be2bf42fcea72fd457368fccfde0356eae2ed574aa".into()
        )
    );
    assert_eq!(
        hashes("optdigits"),
        (
            "f5dcb5b8c3aba9dbd9294938210f8be116cde2370aa6eb6074aacd814a473f66".into(),
            "9c915d99aec1f806ddfbdeba98dc2ce82b91271bdb2850d86b89f4d6bd0d8d5d".into()
        )
    );
}

#[test]
fn fashion_tiny_is_balanced_and_known() {
    let source = open("fashion-tiny");
    let train = source.train().expect("it is built in");
    assert_eq!(train.counts(), [250; 10]);
    assert_eq!(source.test().expect("it is built in").counts(), [60; 10]);
    assert_eq!((source.kind, source.classes[9].as_str()), (Kind::Clothes, "ankle_boot"));
    // Fashion-MNIST's published training moments are 0.2860 and 0.3530; a cut of it is near.
    let all: Vec<usize> = (0..train.len()).collect();
    let normalisation = Normalisation::of(&train, &all).expect("there are images");
    assert!((normalisation.mean[0] - 0.2860).abs() < 0.005, "{normalisation:?}");
    assert!((normalisation.std[0] - 0.3530).abs() < 0.005, "{normalisation:?}");
}

#[test]
fn mnist_is_read() {
    let Some(path) = shared("mnist") else { return };
    let source = open(path.to_str().expect("UTF-8"));
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.len(), test.len(), source.kind), (60_000, 10_000, Kind::Digits));
    // The published counts and moments.
    assert_eq!(train.counts(), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(test.counts(), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    let all: Vec<usize> = (0..train.len()).collect();
    let normalisation = Normalisation::of(&train, &all).expect("there are images");
    assert!((normalisation.mean[0] - 0.1307).abs() < 5e-5 && (normalisation.std[0] - 0.3081).abs() < 5e-5);
}

#[test]
fn fashion_mnist_is_read() {
    let Some(path) = shared("fashion-mnist") else { return };
    let source = open(path.to_str().expect("UTF-8"));
    assert_eq!((source.kind, source.classes[0].as_str()), (Kind::Clothes, "t-shirt_top"));
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.len(), test.len()), (6_000, 1_500));
}

#[test]
fn the_built_in_sets_are_the_shared_ones() {
    for (name, counts) in [("fashion-tiny", (2500, 600)), ("optdigits", (1438, 359))] {
        let Some(path) = shared(name) else { return };
        let (ours, theirs) = (open(name), open(path.to_str().expect("UTF-8")));
        let (train, test) = (theirs.train().expect("it reads"), theirs.test().expect("it reads"));
        assert_eq!((train.len(), test.len()), counts);
        assert_eq!(train.pixels, ours.train().expect("built in").pixels);
        assert_eq!(test.labels, ours.test().expect("built in").labels);
    }
}

/// Unpacks `.xz` files with the `xz` program, one after the other, into one file.
fn unxz(from: &[PathBuf], to: &std::path::Path) -> bool {
    let file = std::fs::File::create(to).expect("files can be written");
    let status = Command::new("xz").arg("-dc").args(from).stdout(Stdio::from(file)).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn cifar10_is_read() {
    let Some(path) = shared("cifar10") else { return };
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let test = dir.path().join("test_batch.bin");
    if !unxz(&[1, 2].map(|part| path.join(format!("test_batch.bin.part{part}.xz"))), &test) {
        return skip("cifar10 (no xz program)");
    }
    assert_eq!(
        sha256_file(&test).expect("it reads"),
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
    );
    // The test file stands in for a training file too, so that one file is enough to read both.
    std::fs::copy(&test, dir.path().join("data_batch_1.bin")).expect("files can be copied");
    std::fs::copy(path.join("batches.meta.txt"), dir.path().join("batches.meta.txt")).expect("files can be copied");
    let source = open(dir.path().to_str().expect("UTF-8"));
    let part = source.test().expect("it reads");
    assert_eq!((part.counts(), part.shape), (vec![1000; 10], [3, 32, 32]));
    assert_eq!((part.classes[0].as_str(), part.classes[9].as_str()), ("airplane", "truck"));
    assert_eq!(source.train().expect("it reads").pixels, part.pixels);
}

/// Another set in CIFAR-10's layout, without a list of names: the record length decides.
#[test]
fn signdigits_are_read() {
    let Some(path) = shared("signdigits") else { return };
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    for name in ["train_1000.bin", "test_200.bin"] {
        if !unxz(&[path.join(format!("{name}.xz"))], &dir.path().join(name)) {
            return skip("signdigits (no xz program)");
        }
    }
    let source = open(dir.path().to_str().expect("UTF-8"));
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((source.format, train.counts(), test.counts()), (Format::Cifar10, vec![100; 10], vec![20; 10]));
}

/// Clips of three words: 100 + 20 of each, no speaker in both parts.
#[test]
fn speech_commands_are_read() {
    let Some(path) = shared("speech-commands") else { return };
    let source = open(path.to_str().expect("UTF-8"));
    assert_eq!((source.kind, source.shape, source.held_out), (Kind::Sounds, [1, 49, 40], false));
    assert_eq!(source.classes, ["bed", "cat", "happy"]);
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.counts(), test.counts()), (vec![100; 3], vec![20; 3]));
    assert!(train.groups.iter().all(|speaker| !test.groups.contains(speaker)));

    let (learnt, validated) = split(&train, Amount::Fraction(0.1), 7).expect("both sides have clips");
    let side = |indices: &[usize]| train.select(indices);
    assert!(side(&learnt).groups.iter().all(|speaker| !side(&validated).groups.contains(speaker)));
    assert!(validated.len().abs_diff(30) <= 3, "{:?}", side(&validated).counts());
    let normalisation = Normalisation::of(&train, &learnt).expect("there are clips");
    // Speech fills some 60 dB above the floor: its natural logarithm varies by a few units.
    assert!((-8.0..0.0).contains(&normalisation.mean[0]) && (1.0..6.0).contains(&normalisation.std[0]));

    let report = data::check(path.to_str().expect("UTF-8"), &Options::default());
    assert!(report.usable(), "{:?}", report.problems);
    let [shortest, longest] = report.durations.expect("the files have headers");
    assert!(shortest >= 0.3 && longest == 1.0, "{shortest} {longest}");
}

#[test]
fn packed_cifar_says_how_to_unpack_it() {
    let Some(path) = shared("cifar100") else { return };
    crate::files::refused(
        Source::open(path.to_str().expect("UTF-8"), &Options::default()),
        &["train_8000.bin.xz", "xz -dk"],
    );
}

#[test]
fn cifar100_is_read() {
    let Some(path) = shared("cifar100") else { return };
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    if !unxz(&[path.join("test_2000.bin.xz")], &dir.path().join("train_2000.bin")) {
        return skip("cifar100 (no xz program)");
    }
    std::fs::copy(path.join("fine_label_names.txt"), dir.path().join("fine_label_names.txt")).expect("it copies");
    let source = open(dir.path().to_str().expect("UTF-8"));
    assert!(source.held_out);
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.counts(), test.counts()), (vec![16; 100], vec![4; 100]));
    assert_eq!(source.classes[99], "worm");
}

/// CamVid at 128x96: eleven classes, and what nobody has labelled. The counts are those that an independent program found.
#[test]
fn camvid_is_read_as_scenes() {
    let Some(path) = shared("camvid") else { return };
    let source = open(path.to_str().expect("the path is UTF-8"));
    assert_eq!((source.kind, source.shape, source.held_out), (Kind::Scenes, [3, 96, 128], false));
    assert_eq!(source.classes.len(), 11);
    let (train, test) = (source.train().expect("it reads"), source.test().expect("it reads"));
    assert_eq!((train.len(), test.len()), (367, 101));
    let trained = [760_018, 1_048_600, 44_457, 1_427_228, 202_237, 438_527, 52_665, 50_802, 264_579, 28_862, 13_120];
    assert_eq!(train.counts(), trained);
    let tested = [113_967, 322_200, 7_001, 359_325, 108_193, 202_759, 11_051, 38_160, 21_702, 8_103, 27_437];
    assert_eq!(test.counts(), tested);
    let unknown = train.labels.iter().filter(|label| **label == data::IGNORED).count();
    assert_eq!(unknown, 178_601);
}
