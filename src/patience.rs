//! Waits for a board that went away in the middle of a run, and says so.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use runtime::device::{Device, DeviceError};
use targets::{Measurement, Metric, Protocol, measurement::Reach};

use crate::terminal::{interrupted, say};

/// How long a board is waited for unless the user says otherwise.
pub const USUAL: Duration = Duration::from_secs(600);

/// Pause before a lost board is tried again: short enough for somebody who just switched it on.
const PAUSE: Duration = Duration::from_secs(5);

/// Time between two words on how long is left.
const EVERY: Duration = Duration::from_secs(60);

/// A device that is waited for when it is lost: once a loss. When it has not come back by then, each
/// further measurement tries it once, until it answers again.
pub struct Patient {
    device: Box<dyn Device>,
    wait: Duration,
    /// Whether it was waited for in vain since it last answered.
    is_gone: bool,
}

impl Patient {
    /// `device`, waited for at most `wait` long.
    pub fn new(device: Box<dyn Device>, wait: Duration) -> Self {
        Self { device, wait, is_gone: false }
    }

    /// Tries until the board answers, the time is up, or the user wants to stop.
    fn wait(&mut self, model: &Path, protocol: &Protocol, lost: DeviceError) -> Result<Measurement, DeviceError> {
        let started = Instant::now();
        let time = |time: Duration| Metric::TrainTime.format(time.as_secs_f64().ceil());
        say(&format!(
            "{lost}\nwaiting up to {} for it; switch it on and check its network. Ctrl-C ends the run, and --resume continues it",
            time(self.wait)
        ));
        let (mut lost, mut spoke) = (lost, Instant::now());
        while !interrupted() {
            let left = self.wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                say(&format!("{} did not come back: going on with estimates", self.device.name()));
                self.is_gone = true;
                return Err(lost);
            }
            if EVERY <= spoke.elapsed() {
                say(&format!("still waiting for {}, {} left", self.device.name(), time(left)));
                spoke = Instant::now();
            }
            sleep(PAUSE.min(left));
            match self.device.measure(model, protocol) {
                Err(error @ DeviceError::Lost { .. }) => lost = error,
                answer => {
                    say(&format!("{} is back", self.device.name()));
                    return answer;
                }
            }
        }
        Err(lost)
    }
}

impl Device for Patient {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn reach(&self) -> Reach {
        self.device.reach()
    }

    fn measure(&mut self, model: &Path, protocol: &Protocol) -> Result<Measurement, DeviceError> {
        match self.device.measure(model, protocol) {
            Err(lost @ DeviceError::Lost { .. }) if !self.is_gone => self.wait(model, protocol, lost),
            Err(lost @ DeviceError::Lost { .. }) => Err(lost),
            answer => {
                self.is_gone = false;
                answer
            }
        }
    }
}

/// Sleeps, but not through the user's wish to stop.
fn sleep(time: Duration) {
    let started = Instant::now();
    while !interrupted() && started.elapsed() < time {
        thread::sleep(Duration::from_millis(50).min(time));
    }
}
