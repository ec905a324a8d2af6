//! What would spoil a measurement, seen before one is taken, and how to mend it.

use serde::Serialize;

use crate::{
    measurement::Conditions,
    validity::{FREQUENCY_LIMIT, OTHER_LOAD_LIMIT},
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
