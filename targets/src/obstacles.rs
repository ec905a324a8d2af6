//! What would spoil a measurement, seen before one is taken, and how to mend it.

use serde::Serialize;

use crate::{
    measurement::{Conditions, Measurement},
    quiet,
    target::Target,
    validity::{FREQUENCY_LIMIT, OTHER_LOAD_LIMIT, SPREAD_LIMIT},
};

/// Something about a machine that makes measurements on it invalid, or soon will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What was found.
    pub found: String,
    /// What it does to a measurement.
    pub why: &'static str,
    /// How to mend it.
    pub mend: &'static str,
}

/// Temperature from which a board is close to slowing itself down, in thousandths of a degree
/// Celsius. A Raspberry Pi 4 slows at 80 °C, and some firmware at 70.
const HOT: i64 = 65_000;

/// Load average from which other work is likely to show.
const BUSY: f64 = 0.5;

/// Memory below which a system begins to swap while a model loads, in bytes.
const SHORT: u64 = 128 << 20;

/// Bits of the Raspberry Pi's `get_throttled`: now, and 16 higher since boot.
const THROTTLE_BITS: [(u32, &str, &str); 4] = [
    (
        0,
        "the supply voltage is too low",
        "use a supply of 5.1 V and 3 A with a short, thick cable, and take USB devices off",
    ),
    (1, "the clock is capped", "mend supply and cooling, and look for arm_freq in config.txt"),
    (2, "the board throttles", "mend supply and cooling, and let it cool down"),
    (3, "the soft temperature limit is active", "add a heat sink or a fan, or raise temp_soft_limit in config.txt"),
];

/// Everything that stands in the way on a machine in this state; nothing is said of what it does not tell.
pub fn obstacles(now: &Conditions) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |found_here: String, why, mend| found.push(Obstacle { found: found_here, why, mend });
    if let Some(governor) = now.governor.as_deref().filter(|&it| it != "performance") {
        add(
            format!("the frequency governor is {governor}"),
            "the clock may change at any time, so the measurement is refused",
            "sudo cpupower frequency-set -g performance, or write performance to \
             /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        );
    }
    for (bit, what, mend) in THROTTLE_BITS {
        let bits = now.throttled.unwrap_or(0);
        if bits & (1 << bit) != 0 {
            add(
                format!("{what} (throttle bit {bit})"),
                "the board runs slower than it can: the measurement is refused",
                mend,
            );
        } else if bits & (1 << (bit + 16)) != 0 {
            add(
                format!("{what}: not now, but since the board was started (throttle bit {})", bit + 16),
                "it will happen again under load, and then the measurement is refused",
                mend,
            );
        }
    }
    if let Some(hot) = now.temperature_millic.filter(|&it| HOT <= it) {
        add(
            format!("the hottest sensor shows {:.1} °C", hot as f64 * 1e-3),
            "a long measurement will reach the temperature at which the board slows down",
            "add a heat sink or a fan, and let it cool down",
        );
    }
    if let (Some(khz), Some((_, max))) = (now.frequency_khz, now.frequency_range_khz)
        && (khz as f64) < (1.0 - FREQUENCY_LIMIT) * max as f64
    {
        add(
            format!("the clock is at {:.2} of {:.2} GHz", khz as f64 * 1e-6, max as f64 * 1e-6),
            "it will rise under load, and a clock that moves makes the measurement invalid",
            "set the governor to performance; if it is, mend supply and cooling",
        );
    }
    if let Some(share) = now.other_load.filter(|&it| OTHER_LOAD_LIMIT < it) {
        add(
            format!("other processes take {:.0} % of the cores used", 100.0 * share),
            "they make every time longer, by an amount that changes",
            "stop them (top shows which), or keep a core for measuring with isolcpus",
        );
    } else if let Some(load) = now.load_average.filter(|&it| BUSY < it) {
        add(
            format!("the load average is {load:.2}"),
            "other work is running and may take the core that is measured on",
            "stop it (top shows which), or wait until it is done",
        );
    }
    if let Some(free) = now.free_memory_bytes.filter(|&it| it < SHORT) {
        add(
            format!("{} MiB of memory are free", free >> 20),
            "the system may swap while a model loads",
            "end what takes the memory, or turn the desktop off",
        );
    }
    found
}

/// A board whose clock ends below that of its kind.
pub fn capped(now: &Conditions, target: &Target) -> Option<Obstacle> {
    let ((_, khz), [_, mhz]) = now.frequency_range_khz.zip(target.clock_mhz)?;
    let (here, there) = (khz as f64 * 1e-6, mhz * 1e-3);
    (here < (1.0 - FREQUENCY_LIMIT) * there).then(|| Obstacle {
        found: format!("the clock ends at {here:.2} GHz, that of {} at {there:.2} GHz", target.name),
        why: "what is measured here holds for this board, not for its kind",
        mend: "look for arm_freq in config.txt, and for a limit in /sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq",
    })
}

/// Somebody who slowed down the reference network during a measurement, though no counter tells of him.
pub fn neighbour(measurement: &Measurement) -> Option<Obstacle> {
    let [fastest, slowest] = quiet::reference_range(measurement)?;
    (slowest > fastest * (1.0 + SPREAD_LIMIT)).then(|| Obstacle {
        found: format!("the reference network took {:.2} to {:.2} ms", fastest * 1e-6, slowest * 1e-6),
        why: "something slows the core down now and then, such as another tenant of a virtual machine on its other half",
        mend: "measure on a machine of your own; `pipeline calibrate` measures again what was disturbed (--rounds)",
    })
}
