//! The report on a data set.

use data::{Format, Options, Report, Severity};

use crate::files::{but, folder, idx, png, small_idx};

fn report(files: &[(&str, Vec<u8>)]) -> Report {
    let dir = folder(files);
    data::check(dir.path().to_str().expect("temporary paths are UTF-8"), &Options::default())
}

/// The severity and text of a problem, when one holds this text.
fn severity(report: &Report, text: &str) -> Option<Severity> {
    report.problems.iter().find(|problem| problem.message.contains(text)).map(|problem| problem.severity)
}

#[test]
fn a_good_set_is_counted() {
    let report = report(&small_idx());
    assert!(report.usable());
    assert_eq!(report.problems, []);
    assert_eq!((report.format, report.shape, report.held_out), (Some(Format::Idx), Some([1, 2, 3]), false));
    let train = report.train.as_ref().expect("it was read");
    assert_eq!((train.n, train.counts.as_slice()), (6, [2, 2, 2].as_slice()));
    assert_eq!((train.channels[0].min, train.channels[0].max), (0, 35));
    assert!((train.channels[0].mean - 17.5 / 255.0).abs() < 1e-6);
    assert_eq!(report.test.as_ref().expect("it was read").counts, [1, 1, 1]);
    let json = serde_json::to_string(&report).expect("a report is JSON");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("and back"), report);
}

#[test]
fn oddities_are_warnings() {
    let check = |name, bytes, text| {
        let report = report(&but(small_idx(), name, Some(bytes)));
        assert!(report.usable(), "{:?}", report.problems);
        assert_eq!(severity(&report, text), Some(Severity::Warning), "{:?}", report.problems);
    };
    let images = |body: &[u8]| idx(&[6, 2, 3], body);
    let mut twice: Vec<u8> = (0..36).collect();
    twice.copy_within(0..6, 18); // images 0 and 3, both of class 0
    check("train-images-idx3-ubyte", images(&twice), "1 training images occur twice;");
    let mut torn: Vec<u8> = (0..36).collect();
    torn.copy_within(0..6, 6); // images 0 and 1, of classes 0 and 1
    check("train-images-idx3-ubyte", images(&torn), "1 training images occur twice with different labels");
    let leaked: Vec<u8> = (6..24).collect();
    check("t10k-images-idx3-ubyte", idx(&[3, 2, 3], &leaked), "3 test images are also in the training part");
    let blank = [vec![5; 6], (0..30).collect()].concat();
    check("train-images-idx3-ubyte", images(&blank), "1 images of the train part are of one colour");
    check("t10k-labels-idx1-ubyte", idx(&[3], &[0, 0, 1]), "no image in the test part for: 2");
    check("classes.txt", b"a\nb\nc\nd\n".to_vec(), "no image in the train part for: d");

    let labels: Vec<u8> = (0..40).map(|n| u8::from(n == 0 || n == 20)).collect();
    let report = report(&[
        ("a-images-idx3-ubyte", idx(&[40, 1, 2], &(0..80).collect::<Vec<u8>>())),
        ("a-labels-idx1-ubyte", idx(&[40], &labels)),
    ]);
    assert_eq!(severity(&report, "accuracy favours the large ones"), Some(Severity::Warning));
    assert_eq!(severity(&report, "20 % of the images is set aside"), Some(Severity::Note));
}

#[test]
fn every_unreadable_image_is_named() {
    let report = report(&[
        ("a/1.png", b"broken".to_vec()),
        ("a/2.png", png(30, 10, [1, 2, 3])),
        ("b/1.png", png(5, 6, [4, 5, 6])),
        ("b/2.png", b"broken too".to_vec()),
        ("b/readme.txt", vec![1]),
    ]);
    assert!(!report.usable());
    assert_eq!(severity(&report, "a/1.png"), Some(Severity::Error));
    assert_eq!(severity(&report, "b/2.png"), Some(Severity::Error));
    assert_eq!(report.problems.iter().filter(|problem| problem.severity == Severity::Error).count(), 2);
    assert_eq!(severity(&report, "1 hidden or non-image entries"), Some(Severity::Note));
    assert_eq!(report.original_sizes, Some([[6, 5], [10, 30]]));
    assert_eq!(report.problems[0].severity, Severity::Error, "worst first");
}

#[test]
fn what_is_no_data_set_is_reported() {
    for (files, text) in [
        (vec![], "holds no images"),
        (vec![("x.txt", vec![1])], "no data set recognised"),
        (but(small_idx(), "train-labels-idx1-ubyte", None), "no labels"),
    ] {
        let report = report(&files);
        assert_eq!(severity(&report, text), Some(Severity::Error), "{:?}", report.problems);
        assert!(!report.usable() && report.train.is_none());
    }
}
