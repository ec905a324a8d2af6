//! Running text: its words and vocabulary, segments and streams, and what is refused.

use std::fs;

use data::{
    Amount, Augment, Batches, END, Format, IGNORED, Kind, Normalisation, Options, Part, Pass, Severity, Source, Task,
    TextOptions, UNKNOWN, check, split, streams,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::files::refused;

const TRAIN: &str = "The cat saw\nthe dog.\n\n\nThe dog saw the CAT\n\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("it can be written");
    }
    dir
}

fn open(dir: &TempDir, vocabulary: usize, segment: usize) -> Result<Source, data::DataError> {
    let text = TextOptions { vocabulary, segment };
    Source::open(&dir.path().display().to_string(), &Options { text, ..Options::default() })
}

/// Words, ends among them, and what follows each: as they are called.
fn told(part: &Part) -> (Vec<&str>, Vec<&str>) {
    let name = |&word: &u32| part.classes.get(word as usize).map_or("-", String::as_str);
    let text = part.text.as_ref().expect("it is text");
    (text.words.iter().map(name).collect(), part.labels.iter().map(name).collect())
}

#[test]
fn prose_becomes_words() {
    let dir = folder(&[("train.txt", TRAIN), ("test.txt", "the bird saw")]);
    let source = open(&dir, 6, 4).expect("it is text");
    assert_eq!((source.format, source.kind, source.shape), (Format::Text, Kind::Text, [1, 1, 4]));
    assert!(!source.is_penn_treebank());
    // Four times "the", twice "saw"; of those that come once "cat" twice as well, before "saw" in the alphabet.
    assert_eq!(source.classes, [UNKNOWN, END, "the", "cat", "saw", "dog"]);
    let train = source.train().expect("it can be read");
    assert_eq!((train.task, train.len(), train.places()), (Task::Language, 3, 4));
    // "dog." is not "dog": of two that come once the vocabulary has room for one.
    let (words, labels) = told(&train);
    let line = ["the", "cat", "saw", "the", UNKNOWN, END, "the", "dog", "saw", "the", "cat", END];
    assert_eq!(words[..11], line[..11]);
    assert_eq!(labels[..11], line[1..]);
    assert_eq!((labels[11], train.labels[11]), ("-", IGNORED), "nothing is asked behind the end");
    let test = source.test().expect("it can be read");
    assert_eq!(told(&test), (vec!["the", UNKNOWN, "saw", UNKNOWN], vec![UNKNOWN, "saw", END, "-"]));
}

#[test]
fn penn_treebank_is_ready_made() {
    let lines = " no it was <unk> N\n it WAS \n";
    let dir = folder(&[("ptb.train.txt", lines), ("ptb.valid.txt", " it N\n"), ("ptb.test.txt", " was \n")]);
    let source = open(&dir, 10, 3).expect("it is text");
    assert_eq!(source.classes, [UNKNOWN, END, "it", "N", "WAS", "no", "was"]);
    let train = source.train().expect("it can be read");
    let (words, _) = told(&train);
    assert_eq!(words[..8], ["no", "it", "was", UNKNOWN, "N", END, "it", "WAS"]);
    assert_eq!(words[9..11], ["it", "N"], "what validates stands behind");
    assert_eq!(train.text.as_ref().map(|text| text.n_validation), Some(1));
    assert_eq!(split(&train, Amount::Fraction(0.5), 3).expect("it came divided"), (vec![0, 1, 2], vec![3]));
    // Another text under its name is not it.
    assert!(!source.is_penn_treebank());
    let report = check(&dir.path().display().to_string(), &Options::default());
    assert!(report.problems.iter().any(|it| it.message.contains("figures cannot be compared")), "{report:?}");
    let text = report.train.and_then(|part| part.text).expect("it is text");
    assert_eq!((text.words, text.validation), (9, Some(3)));
    assert!((text.unknown - 1.0 / 9.0).abs() < 1e-12, "{text:?}");
}

/// As many lines and words as the real one has, drawn in a way that uses every word.
#[test]
fn penn_treebank_is_known_by_its_counts() {
    let (n_lines, n_words) = (42_068, 929_589 - 42_068);
    let per_line = n_words / n_lines;
    let mut text = String::new();
    for word in 0..n_words {
        text.push_str(&format!(" w{}", word % 9_998));
        if word % per_line == per_line - 1 && word / per_line < n_lines - 1 {
            text.push_str(" \n");
        }
    }
    text.push_str(" \n");
    let dir = folder(&[("ptb.train.txt", &text), ("ptb.test.txt", "w1 w2\n")]);
    let path = dir.path().display().to_string();
    assert!(Source::open(&path, &Options::default()).expect("it is text").is_penn_treebank());
    let report = check(&path, &Options::default());
    assert_eq!(report.train.and_then(|part| part.text).map(|text| text.words), Some(929_589));
    assert!(report.problems.iter().any(|it| it.severity == Severity::Note && it.message.contains("this is Penn")));
}

#[test]
fn text_is_not_shuffled_by_a_split() {
    let dir = folder(&[("train.txt", &"a b c d e f\n\n".repeat(30)), ("test.txt", "a b")]);
    let train = open(&dir, 10, 7).expect("it is text").train().expect("it can be read");
    assert_eq!(train.len(), 30);
    let (left, taken) = split(&train, Amount::Fraction(0.2), 5).expect("both sides have segments");
    assert_eq!((left, taken), ((0..24).collect(), (24..30).collect()));
    refused(split(&train, Amount::Count(30), 0), &["of 30 segments", "none would be left"]);
}

#[test]
fn batches_hold_the_numbers_of_words() {
    let dir = folder(&[("train.txt", TRAIN), ("test.txt", "the bird saw")]);
    let part = open(&dir, 6, 4).expect("it is text").train().expect("it can be read");
    let all: Vec<usize> = (0..part.len()).collect();
    let normalisation = Normalisation::of(&part, &all).expect("there are segments");
    let pass = Pass {
        seed: 0,
        purpose: "test".into(),
        epoch: 0,
        batch_size: 2,
        shuffle: false,
        keep_partial: true,
        augment: Augment::NONE,
    };
    let order = streams(&all, 2);
    assert_eq!(order, [0, 2, 1], "two streams, of two segments and of one");
    let batches = Batches::start(part.clone().into(), order, &normalisation, &pass).expect("a pass");
    let batches: Vec<_> = batches.collect();
    assert_eq!((batches.len(), batches[0].n, batches[1].n), (2, 2, 1));
    assert_eq!(batches[0].pixels, [2.0, 3.0, 4.0, 2.0, 4.0, 2.0, 3.0, 0.0]);
    assert_eq!(batches[0].labels[..4], [3, 4, 2, 0]);
    assert_eq!(batches[1].pixels, [0.0, 1.0, 2.0, 5.0], "the first stream goes on");
    let one = part.select(&[1]);
    assert_eq!(one.text.as_ref().map(|it| it.words.clone()), Some(vec![0, 1, 2, 5]));
    assert_ne!(one.sha256(), part.select(&[0]).sha256());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Every segment once; row by row the text goes on, and a row that ends is the last of its batch.
    #[test]
    fn streams_go_on_row_by_row(n in 1..60_usize, n_streams in 1..12_usize) {
        let all: Vec<usize> = (100..100 + n).collect();
        let order = streams(&all, n_streams);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&sorted, &all);
        let rows = n_streams.min(n);
        let batches: Vec<&[usize]> = order.chunks(rows).collect();
        for pair in batches.windows(2) {
            for (before, after) in pair[0].iter().zip(pair[1]) {
                prop_assert_eq!(before + 1, *after);
            }
        }
    }
}

#[test]
fn bad_text_is_refused() {
    let check = |files: &[(&str, &str)], [vocabulary, segment]: [usize; 2], expected: &[&str]| {
        let dir = folder(files);
        let read = open(&dir, vocabulary, segment).and_then(|source| source.train().and(source.test()));
        refused(read, expected);
    };
    check(&[("train.txt", TRAIN)], [9, 9], &["no `test.txt`", "put some pages aside"]);
    check(&[("ptb.train.txt", TRAIN), ("test.txt", "a b")], [9, 9], &["no `ptb.test.txt`"]);
    check(&[("train.txt", TRAIN), ("test.txt", "")], [9, 9], &["test.txt", "two words at least"]);
    check(&[("train.txt", TRAIN), ("test.txt", "a b")], [2, 9], &["at least 3 words"]);
    check(&[("train.txt", TRAIN), ("test.txt", "a b")], [9, 0], &["at least one word"]);
    let dir = folder(&[("test.txt", "a b")]);
    fs::write(dir.path().join("train.txt"), b"caf\xe9 au lait").expect("it can be written");
    refused(open(&dir, 9, 9), &["train.txt", "corrupt at byte 3", "UTF-8"]);
}
