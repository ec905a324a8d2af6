//! What all strategies have in common that train each network on its own: the record and the deadline.

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use graph::Graph;
use search::{
    Result,
    evaluator::{Evaluation, Evaluator, Fidelity, Job, Saved},
    oracle::{Oracle, Table},
    space::nas_bench_201::{Arch, NasBench201, PUBLISHED},
    strategy::{
        Chosen, Strategy,
        asha::{self, Asha},
    },
    study::{Phase, Progress, Signal, Study, Trial, Unwatched, Watch},
    trials::{Effort, Trials},
    yardstick::Method,
};
use targets::{Bound, Budget, Cost, Metric};

fn effort(evaluations: usize) -> Effort {
    Effort { evaluations, epochs: 12, patience: 1_000, proxy: PUBLISHED, full: PUBLISHED }
}

fn within(seconds: f64) -> Budget {
    Budget { bounds: vec![Bound { metric: Metric::Latency, min: None, max: Some(seconds), hard: true }] }
}

/// A clock on which each new trial takes a second, and what is on record no time.
struct Clock {
    /// Trials on record when the session began.
    known: u64,
    before: Duration,
    now: Duration,
    deadline: Duration,
    /// Trials after which the user ends it.
    stop: u64,
}

impl Clock {
    fn open(folder: &Path, deadline: u64, stop: u64) -> Study {
        let record = std::fs::read_to_string(folder.join("study.jsonl")).unwrap_or_default();
        let (known, deadline) = (record.lines().count() as u64, Duration::from_secs(deadline));
        let clock = Self { known, before: Duration::ZERO, now: Duration::ZERO, deadline, stop };
        let mut study = Study::open(folder, within(20e-3), Box::new(clock)).expect("it opens");
        study.allow_other_proposals();
        study
    }
}

impl Watch for Clock {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        self.now = Duration::from_secs(progress.trials.saturating_sub(self.known));
        match self.active() {
            _ if self.stop <= progress.trials => Signal::Stop,
            active if self.deadline <= active => Signal::WrapUp,
            _ => Signal::Continue,
        }
    }

    fn resumed(&mut self, active: Duration) {
        self.before = self.before.max(active);
    }

    fn active(&self) -> Duration {
        self.before + self.now
    }
}

/// Trials that are proposed together at most.
const TOGETHER: usize = 10;

fn check_deadline(name: &str, search: impl Fn(&mut Oracle<'_>, &mut Study) -> Result<Vec<Chosen<Arch>>>) {
    let table = Table::made_up(2).expect("sizes fit");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |deadline, stop| {
        let (mut study, mut oracle) = (Clock::open(folder.path(), deadline, stop), Oracle::new(&table));
        let found = search(&mut oracle, &mut study);
        (found, study.trials().len(), oracle.evaluations)
    };
    let (stopped, ..) = run(80, 60);
    assert!(matches!(stopped, Err(search::Error::Interrupted)), "{name}");
    let (resumed, n_trials, _) = run(80, u64::MAX);
    assert!((80..80 + TOGETHER).contains(&n_trials), "{name}: {n_trials} trials in 80 seconds");
    // It is over, and what is on record still answers.
    let (again, n_again, trained) = run(80, u64::MAX);
    assert_eq!((n_again, trained), (n_trials, 0), "{name}");
    assert_eq!(resumed.expect("a table answers"), again.expect("a table answers"), "{name}");
    // More time may be given.
    let (longer, n_longer, _) = run(120, u64::MAX);
    assert!((120..120 + TOGETHER).contains(&n_longer) && longer.is_ok(), "{name}: {n_longer} trials in 120 seconds");
}

#[test]
fn a_deadline_counts_the_time_before_a_search_was_resumed() {
    for method in Method::ALL {
        check_deadline(method.name(), |oracle, study| method.search(500, 7, oracle, study));
    }
    check_deadline(asha::NAME, |oracle, study| {
        let settings = asha::Settings { min_epochs: 1, max_epochs: 16, ..asha::Settings::default() };
        Asha::new(settings, effort(500), 7).search(&NasBench201, oracle as &mut dyn Evaluator, study)
    });
}

/// A table whose prices take a second each.
struct Slow<'a> {
    oracle: Oracle<'a>,
    priced: Rc<Cell<u64>>,
}

impl Evaluator for Slow<'_> {
    fn evaluate(&mut self, jobs: &[Job<'_>]) -> Result<Vec<Evaluation>> {
        self.oracle.evaluate(jobs)
    }

    fn cost(&mut self, deployed: &Graph) -> Result<Cost> {
        self.priced.set(self.priced.get() + 1);
        Evaluator::cost(&mut self.oracle, deployed)
    }
}

/// Ends a search after a number of prices.
struct Late(Rc<Cell<u64>>, u64);

impl Watch for Late {
    fn look(&mut self, _: &Progress<'_>) -> Signal {
        if self.1 <= self.0.get() { Signal::WrapUp } else { Signal::Continue }
    }
}

/// Networks are proposed three at a time. A deadline that passes while they are priced finds them untrained, unless
/// there would be no answer without them.
#[test]
fn nothing_is_trained_after_the_deadline() {
    let table = Table::made_up(2).expect("sizes fit");
    for (deadline, expected) in [(1, 3), (3, 3), (4, 3), (6, 3), (7, 6)] {
        let priced = Rc::new(Cell::new(0));
        let mut evaluator = Slow { oracle: Oracle::new(&table), priced: priced.clone() };
        let mut study = Study::new(Budget::default(), Box::new(Late(priced, deadline)));
        let mut trials = Trials::new("some", &NasBench201, &mut evaluator, &mut study, effort(9)).expect("it is new");
        let archs: Vec<Arch> = Arch::all().step_by(1_000).take(9).collect();
        for three in archs.chunks(3) {
            // A strategy that does not ask whether it is over.
            let proposed: Vec<_> = three.iter().map(|arch| (*arch, Fidelity::epochs(12))).collect();
            let before = trials.n_trained();
            let told = trials.propose_all(&proposed, |_| None).expect("a table answers");
            let trained = told.iter().filter(|it| it.accuracy.is_some()).count();
            assert_eq!(trained, trials.n_trained() - before);
        }
        assert!(trials.is_over());
        assert_eq!(
            (trials.ranked().len(), evaluator.oracle.evaluations),
            (expected, expected),
            "after {deadline} prices"
        );
        assert_eq!(study.trials().len(), expected, "what is not trained is not on record");
    }
}

/// The search was killed when two of a batch of three were on record.
#[test]
fn what_is_on_record_is_told_however_late_it_is() {
    let table = Table::made_up(2).expect("sizes fit");
    let folder = tempfile::tempdir().expect("a folder");
    let batch: Vec<_> = Arch::all().step_by(1_000).take(3).map(|arch| (arch, Fidelity::epochs(12))).collect();
    let run = |watch: Box<dyn Watch>| {
        let mut study = Study::open(folder.path(), Budget::default(), watch).expect("it opens");
        let mut oracle = Oracle::new(&table);
        let mut trials = Trials::new("some", &NasBench201, &mut oracle, &mut study, effort(9)).expect("it opens");
        let told = trials.propose_all(&batch, |_| None).expect("a table answers");
        assert_eq!(trials.is_over(), told[2].accuracy.is_none());
        told.into_iter().map(|it| it.accuracy).collect::<Vec<_>>()
    };
    let all = run(Box::new(Unwatched));
    let path = folder.path().join("study.jsonl");
    let journal = std::fs::read_to_string(&path).expect("it is there");
    let two: String = journal.split_inclusive('\n').take(2).collect();
    std::fs::write(&path, two).expect("it can be written");
    let late = run(Box::new(Late(Rc::new(Cell::new(0)), 0)));
    assert_eq!(late, [all[0], all[1], None]);
}

/// A resumed search of a timed study proposes otherwise than its record, which is cut back, and is killed before its next
/// snapshot; or it is killed before the record is cut.
#[test]
fn a_search_that_was_killed_while_its_record_was_cut_back_goes_on() {
    let table = Table::made_up(2).expect("sizes fit");
    let folder = tempfile::tempdir().expect("a folder");
    let [record, snapshot] = ["study.jsonl", "checkpoints/some.safetensors"].map(|name| folder.path().join(name));
    let archs: Vec<Arch> = Arch::all().step_by(1_000).take(4).collect();
    let open = || {
        let mut study = Study::open(folder.path(), Budget::default(), Box::new(Unwatched)).expect("it opens");
        study.allow_other_proposals();
        study
    };
    let propose = |study: &mut Study, archs: &[Arch]| {
        let mut oracle = Oracle::new(&table);
        let mut trials = Trials::new("some", &NasBench201, &mut oracle, study, effort(9)).expect("it opens");
        trials.restore().expect("it goes on");
        archs.iter().for_each(|arch| assert!(trials.propose(arch).expect("a table answers").accuracy.is_some()));
        trials.keep().expect("it can be written");
        oracle.evaluations
    };
    let mut study = open();
    assert_eq!(propose(&mut study, &archs[..3]), 3);
    // The next strategy has trained something, and another has told of a trial what it learned from it.
    study.snapshot("next", &7, &Saved::default()).expect("it can be written");
    let after = Trial::new("last", Phase::Explore, &archs[0], None, Cost::default());
    study.record(after).expect("it can be written");
    study.snapshot("last", &7, &Saved::default()).expect("it can be written");
    let read = || (std::fs::read(&record).expect("it is there"), std::fs::read(&snapshot).expect("it is there"));
    let (long_record, late_snapshot) = read();

    assert_eq!(propose(&mut open(), &[archs[0], archs[3]]), 1);
    assert_eq!(open().saved("some").expect("it agrees").map(|(trials, _)| trials), Some(1));
    assert_eq!(open().resume::<u32>("next").expect("it agrees").map(|(state, _)| state), Some(7));
    assert!(open().resume::<u32>("last").expect("it is gone").is_none());
    let (short_record, early_snapshot) = read();
    assert_eq!(String::from_utf8(short_record.clone()).expect("it is text").lines().count(), 2);
    // Killed between the two, in this order and in the other.
    for (journal, kept) in [(&long_record, &early_snapshot), (&short_record, &late_snapshot)] {
        std::fs::write(&record, journal).expect("it can be written");
        std::fs::write(&snapshot, kept).expect("it can be written");
        propose(&mut open(), &[archs[0], archs[3]]);
        assert_eq!(read().0, short_record);
    }
}

/// What a strategy is resumed from that takes no snapshots: its record, and the time.
#[test]
fn time_that_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("checkpoints");
    std::fs::create_dir(&at).expect("it can be written");
    std::fs::write(at.join("some.active-ms"), "soon").expect("it can be written");
    let table = Table::made_up(2).expect("sizes fit");
    let (mut oracle, mut study) =
        (Oracle::new(&table), Study::open(folder.path(), Budget::default(), Box::new(Unwatched)).expect("it opens"));
    let trials = Trials::new("some", &NasBench201, &mut oracle, &mut study, effort(1));
    assert!(trials.is_err_and(|error| error.to_string().contains("some.active-ms")));
}
