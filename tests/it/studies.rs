//! The record of a search: interrupted anywhere, cut off, damaged, or taken for another's.

use std::{fs, path::Path};

use proptest::prelude::*;
use search::{
    Error, Result,
    space::cell::Cell,
    strategy::Chosen,
    study::{Signal, Study, Unwatched, Watch},
};

use crate::{
    oracle::{Oracle, Then},
    strategies::{SHORT, Which, macs_below},
};

/// One session of the product's search stage in `folder`: B-ENAS, then the baseline.
fn session(folder: &Path, seed: u64, watch: Box<dyn Watch>) -> Result<[Vec<Chosen<Cell>>; 2]> {
    search(Study::open(folder, macs_below(0.4), watch)?, seed)
}

fn search(mut study: Study, seed: u64) -> Result<[Vec<Chosen<Cell>>; 2]> {
    let b_enas = Which::BEnas.search(SHORT, seed, &mut Oracle::new(SHORT.n_batches), &mut study)?;
    let random_ws = Which::RandomWs.search(SHORT, seed, &mut Oracle::new(SHORT.n_batches), &mut study)?;
    Ok([b_enas, random_ws])
}

fn journal(folder: &Path) -> String {
    fs::read_to_string(folder.join("study.jsonl")).expect("a search keeps a study")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_resumed_search_ends_like_an_uninterrupted_one(
        stops in prop::collection::vec(1_u64..60, 1..4),
        torn in 0.0..1.0_f64,
    ) {
        let (whole, parts) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let expected = session(whole.path(), 0, Box::new(Unwatched)).expect("nobody stops it");
        for stop in stops {
            match session(parts.path(), 0, Then::new(stop, Signal::Stop)) {
                Ok(_) | Err(Error::Interrupted) => {}
                Err(error) => return Err(TestCaseError::fail(format!("{stop}: {error}"))),
            }
        }
        // A line that a crash cut off at any place: what stands before it is what was flushed.
        let text = journal(parts.path());
        let lines = text.lines().count();
        let line = journal(whole.path()).lines().nth(lines).unwrap_or_default().to_owned();
        let cut = (torn * line.len() as f64) as usize;
        fs::write(parts.path().join("study.jsonl"), format!("{text}{}", &line[..cut]))?;
        let found = session(parts.path(), 0, Box::new(Unwatched)).expect("nobody stops it");
        prop_assert_eq!(found, expected);
        prop_assert_eq!(journal(parts.path()), journal(whole.path()));
    }
}

#[test]
fn a_study_of_another_search_is_refused() {
    // The last look of each epoch, where trials were recorded behind the newest snapshot; and the end.
    for stop in [5, 10, 15, 1_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stopped = session(folder.path(), 0, Then::new(stop, Signal::Stop));
        assert!(stopped.is_ok() || matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
        let recorded = journal(folder.path());
        let found = session(folder.path(), 1, Box::new(Unwatched));
        assert!(matches!(found, Err(Error::Diverged { .. })), "after {stop} looks: {found:?}");
        assert_eq!(journal(folder.path()), recorded, "a refused study stays as it is");
    }
}

#[test]
fn where_time_enters_decisions_other_proposals_replace_the_recorded() {
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let expected = session(fresh.path(), 1, Box::new(Unwatched)).expect("nobody stops it");
    // Looks before the first snapshot: all that was recorded is still to be proposed.
    for stop in [1, 4, 5] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stopped = session(folder.path(), 0, Then::new(stop, Signal::Stop));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
        let mut study = Study::open(folder.path(), macs_below(0.4), Box::new(Unwatched)).expect("it was written");
        study.allow_other_proposals();
        assert_eq!(search(study, 1).expect("nobody stops it"), expected, "after {stop} looks");
        assert_eq!(journal(folder.path()), journal(fresh.path()), "after {stop} looks");
    }
}

#[test]
fn a_damaged_study_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    session(folder.path(), 0, Box::new(Unwatched)).expect("nobody stops it");
    let damaged: String = journal(folder.path()).replacen("\"trial\":1,", "\"trial\":one,", 1);
    fs::write(folder.path().join("study.jsonl"), damaged).expect("it was written before");
    let found = session(folder.path(), 0, Box::new(Unwatched));
    let Err(error @ Error::Study { line: 2, .. }) = found else { panic!("{found:?}") };
    assert!(error.to_string().contains("study.jsonl, line 2"), "{error}");
}
