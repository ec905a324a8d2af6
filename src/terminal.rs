//! Progress on stderr: a live bar on a terminal, a plain line now and then elsewhere. Also where
//! Ctrl-C and the deadline are noticed.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ::data::Task;
use ::train::fit::Epoch;
use indicatif::{ProgressBar, ProgressStyle};
use search::study::{Progress, Signal, Watch};
use targets::{Budget, Metric};

/// Seconds between plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// Set by Ctrl-C.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Notices Ctrl-C from now on; a second one ends the program at once.
pub fn notice_interrupts() {
    let flag = INTERRUPTED.get_or_init(Arc::default).clone();
    // Without a handler Ctrl-C ends the program at once: no file is harmed by that either.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::abort();
        }
    });
}

/// Whether the user wants to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::SeqCst))
}

/// Says a line on stderr.
#[expect(clippy::print_stderr, reason = "stderr is where progress goes")]
pub fn say(line: &str) {
    eprintln!("{}", harmless(line));
}

/// Puts a result on stdout.
///
/// A reader that has seen enough and closed the pipe is no mistake, so nothing is said of it.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", harmless(text));
}

/// The text without what would steer a terminal: names in a stranger's model or data set may hold anything. Control
/// characters but for ends of lines and tabs, and those that turn the direction of writing, become U+FFFD.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |it: char| {
        (it.is_control() && it != '\n' && it != '\t') || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|it| if steers(it) { char::REPLACEMENT_CHARACTER } else { it }).collect())
}

/// A line that changes, or lines that follow each other.
pub struct Line {
    bar: Option<ProgressBar>,
    spoke: Option<Instant>,
    started: Instant,
    /// Steps already done when this session began: its pace says nothing about them.
    first: Option<u64>,
}

impl Default for Line {
    fn default() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}");
            let bar = ProgressBar::new(1);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, spoke: None, started: Instant::now(), first: None }
    }
}

impl Line {
    /// Shows `done` of `total` steps of `phase`.
    pub fn show(&mut self, phase: &str, done: u64, total: u64, more: &str) {
        let first = *self.first.get_or_insert(done);
        let left = left(self.started.elapsed(), done.saturating_sub(first), total.saturating_sub(done));
        match &self.bar {
            Some(bar) => {
                bar.set_length(total.max(1));
                bar.set_position(done);
                bar.set_message(format!("{phase}{more}{left}"));
            }
            None => {
                if self.spoke.is_none_or(|at| EVERY <= at.elapsed()) {
                    self.spoke = Some(Instant::now());
                    let percent = 100 * done / total.max(1);
                    say(&format!("{percent:>3} %  {phase}{more}{left}"));
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        (self.first, self.spoke, self.started) = (None, None, Instant::now());
    }
}

/// `, 3 min left`, once something can be said.
fn left(elapsed: Duration, done: u64, left: u64) -> String {
    if done == 0 || elapsed < Duration::from_secs(2) {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * left as f64;
    format!(", {} left", Metric::TrainTime.format(seconds.round()))
}

/// Looks at a search for the user.
pub struct Screen {
    line: Line,
    strategy: String,
    budget: Budget,
    task: Task,
    started: Instant,
    /// Active time of earlier sessions.
    before: Duration,
    /// Active time at which the search answers with what it has.
    deadline: Option<Duration>,
}

impl Screen {
    /// A screen for a search of networks for `task`.
    pub fn new(budget: Budget, task: Task, deadline: Option<Duration>) -> Self {
        let (line, strategy) = (Line::default(), String::new());
        Self { line, strategy, budget, task, started: Instant::now(), before: Duration::ZERO, deadline }
    }

    fn best(&self, progress: &Progress<'_>) -> String {
        let Some(best) = progress.best else { return ", nothing feasible yet".to_owned() };
        let score = best.accuracy.map_or_else(String::new, |score| self.task.told_alone(score, 1));
        let shown = self.budget.bounds.iter().map(|bound| bound.metric).chain([Metric::Params]);
        let costs: Vec<String> = shown
            .filter_map(|metric| Some(format!("{} {}", metric.name(), metric.format(best.cost.get(metric)?.value))))
            .take(3)
            .collect();
        format!(", best feasible {score} with {}", costs.join(", "))
    }
}

impl Watch for Screen {
    fn look(&mut self, progress: &Progress<'_>) -> Signal {
        if self.strategy != progress.strategy {
            self.line.end();
            progress.strategy.clone_into(&mut self.strategy);
        }
        let phase = format!("{}: {}, trial {}", progress.strategy, progress.phase, progress.trials);
        self.line.show(&phase, progress.done, progress.total, &self.best(progress));
        if interrupted() {
            self.line.end();
            return Signal::Stop;
        }
        match self.deadline {
            Some(deadline) if deadline <= self.active() => Signal::WrapUp,
            Some(_) | None => Signal::Continue,
        }
    }

    fn resumed(&mut self, active: Duration) {
        self.before = self.before.max(active);
    }

    fn active(&self) -> Duration {
        self.before + self.started.elapsed()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.line.end();
    }
}

/// Looks at a training for the user.
pub struct TrainingScreen {
    line: Line,
    what: String,
    task: Task,
}

impl TrainingScreen {
    /// A screen for the training of `what`, which is asked `task`.
    pub fn new(what: &str, task: Task) -> Self {
        Self { line: Line::default(), what: what.to_owned(), task }
    }

    /// See [`::train::fit::Look`].
    pub fn look(&mut self, done: u64, total: u64, curve: &[Epoch]) -> Signal {
        let best = curve.iter().map(|it| it.validation).fold(0.0, f64::max);
        let more = if curve.is_empty() {
            String::new()
        } else {
            let (measure, best) = (self.task.measure(), self.task.told(best, 1));
            format!(", epoch {}, best validation {measure} {best}", curve.len() + 1)
        };
        self.line.show(&self.what, done, total, &more);
        if interrupted() { Signal::Stop } else { Signal::Continue }
    }
}

impl Drop for TrainingScreen {
    fn drop(&mut self) {
        self.line.end();
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn nothing_steers_the_terminal() {
        for (text, expected) in [
            ("plain\twords\nof two lines", "plain\twords\nof two lines"),
            ("natásha 時計", "natásha 時計"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\u{fffd}[2J\u{fffd}]0;title\u{fffd}"),
            ("over\rwritten \u{9b}31m", "over\u{fffd}written \u{fffd}31m"),
            ("model\u{202e}xnno.", "model\u{fffd}xnno."),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }
}
