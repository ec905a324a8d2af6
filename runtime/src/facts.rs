//! What a board is, and what about it moves measurements: read once, before anything is timed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use targets::measurement::Conditions;

use crate::conditions::{Probe, hexadecimal, number_after, pin};
use crate::{AGENT, engine::ENGINE};

/// The machine that an agent runs on. What the system does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the agent.
    pub agent: String,
    /// Engine and its version.
    pub engine: String,
    /// Processor architecture that the agent was built for, such as `aarch64`.
    pub arch: String,
    /// Name of the board, such as `Raspberry Pi 4 Model B Rev 1.4`.
    pub board: Option<String>,
    /// Memory in all, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether each radio is on: Wi-Fi and Bluetooth take time of the processor and warm it.
    pub radios: Option<Vec<Radio>>,
    /// Whether the supply was too weak at any time since the board was started: it then slows down.
    pub undervoltage: Option<bool>,
    /// The machine now, with the core that would be measured on.
    pub conditions: Conditions,
}

/// A radio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Radio {
    /// Kind as the kernel names it: `wlan`, `bluetooth`.
    pub kind: String,
    /// Whether it is on.
    pub on: bool,
}

impl Facts {
    /// Reads this machine's, and pins the calling thread as a measurement would.
    pub fn read() -> Self {
        let pinned = pin();
        Self::at(Path::new("/"), Probe::start(pinned.as_slice()).read())
    }

    /// As [`Facts::read`], with `/proc` and `/sys` under `root`.
    pub fn at(root: &Path, conditions: Conditions) -> Self {
        let text =
            |path: &str| Some(fs::read_to_string(root.join(path)).ok()?.trim_matches(['\0', '\n', ' ']).to_owned());
        let board = text("proc/device-tree/model").or_else(|| text("sys/class/dmi/id/product_name"));
        Self {
            agent: AGENT.into(),
            engine: ENGINE.into(),
            arch: std::env::consts::ARCH.into(),
            board: board.filter(|name| !name.is_empty()),
            memory_bytes: text("proc/meminfo").and_then(|text| Some(number_after(&text, "MemTotal:")? << 10)),
            radios: radios(root),
            undervoltage: undervoltage(root, conditions.throttled),
            conditions,
        }
    }
}

/// One entry a radio that the kernel can switch; `None` where it has no such switches.
fn radios(root: &Path) -> Option<Vec<Radio>> {
    let switches = fs::read_dir(root.join("sys/class/rfkill")).ok()?;
    let mut found: Vec<Radio> = switches
        .flatten()
        .filter_map(|switch| {
            let text = |name: &str| fs::read_to_string(switch.path().join(name)).ok();
            let blocked = |name: &str| text(name).is_some_and(|it| it.trim() == "1");
            Some(Radio { kind: text("type")?.trim().to_owned(), on: !blocked("soft") && !blocked("hard") })
        })
        .collect();
    found.sort_by(|a, b| a.kind.cmp(&b.kind));
    Some(found)
}

/// From the throttle bits (0 now, 16 since boot), else from the driver that watches a Raspberry Pi's supply.
fn undervoltage(root: &Path, throttled: Option<u32>) -> Option<bool> {
    const BITS: u32 = 0x1_0001;
    if let Some(bits) = throttled {
        return Some(bits & BITS != 0);
    }
    let sensors = fs::read_dir(root.join("sys/class/hwmon")).ok()?.flatten();
    let text = |path: &Path, name: &str| fs::read_to_string(path.join(name)).ok();
    let supply =
        sensors.map(|it| it.path()).find(|it| text(it, "name").is_some_and(|name| name.trim() == "rpi_volt"))?;
    Some(hexadecimal(&text(&supply, "in0_lcrit_alarm")?)? != 0)
}
