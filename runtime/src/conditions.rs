//! The state of the machine around a measurement, read from `/proc` and `/sys`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use targets::measurement::Conditions;

/// Reads [`Conditions`], each time with the load that others caused since the last reading: others
/// than the one thread that reads and is pinned.
pub struct Probe {
    root: PathBuf,
    pinned: Vec<usize>,
    last: Ticks,
}

/// How the pinned cores and this thread spent their time up to one moment.
struct Ticks {
    busy: u64,
    total: u64,
    own_ns: u64,
    at: Instant,
}

/// Fewest ticks of a core (10 ms each) between readings that give a share worth reporting.
const FEWEST_TICKS: u64 = 20;

impl Probe {
    /// Starts observing the cores in `pinned`.
    pub fn start(pinned: &[usize]) -> Self {
        Self::at(Path::new("/"), pinned)
    }

    /// As [`Probe::start`], with `/proc` and `/sys` under `root`.
    pub fn at(root: &Path, pinned: &[usize]) -> Self {
        let mut probe = Self { root: root.to_owned(), pinned: pinned.to_owned(), last: Ticks::none() };
        probe.last = probe.ticks();
        probe
    }

    /// The machine now.
    pub fn read(&mut self) -> Conditions {
        let core = self.pinned.first().copied().unwrap_or(0);
        let frequency = format!("sys/devices/system/cpu/cpu{core}/cpufreq");
        let khz = |name: &str| self.number(&format!("{frequency}/{name}"));
        let cpuinfo = self.text("proc/cpuinfo").unwrap_or_default();
        let range = khz("cpuinfo_min_freq").zip(khz("cpuinfo_max_freq"));
        let (frequency_khz, governor) = (
            khz("scaling_cur_freq").or_else(|| cpuinfo_khz(&cpuinfo, core)),
            self.text(&format!("{frequency}/scaling_governor")),
        );
        let other_load = self.other_load();
        Conditions {
            cpu: self.cpu(&cpuinfo),
            cores: core_lines(&self.text("proc/stat").unwrap_or_default()).count(),
            pinned: self.pinned.clone(),
            governor,
            frequency_khz,
            frequency_range_khz: range,
            temperature_millic: self.hottest(),
            throttled: self.throttled(),
            load_average: self.text("proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            other_load,
            free_memory_bytes: self
                .text("proc/meminfo")
                .and_then(|text| Some(number_after(&text, "MemAvailable:")? << 10)),
            kernel: self.text("proc/sys/kernel/osrelease").unwrap_or_default(),
        }
    }

    /// Share of the pinned cores' time since the last reading that went to others, 0 to 1.
    fn other_load(&mut self) -> Option<f64> {
        let (now, last) = (self.ticks(), &self.last);
        let (busy, total) = (now.busy.saturating_sub(last.busy), now.total.saturating_sub(last.total));
        let own = now.own_ns.saturating_sub(last.own_ns) as f64;
        let wall = now.at.duration_since(last.at).as_nanos() as f64 * self.pinned.len() as f64;
        let is_known = !self.pinned.is_empty() && total >= FEWEST_TICKS && wall > 0.0;
        self.last = now;
        is_known.then(|| (busy as f64 / total as f64 - own / wall).clamp(0.0, 1.0))
    }

    fn ticks(&self) -> Ticks {
        let stat = self.text("proc/stat").unwrap_or_default();
        let mut ticks = Ticks::none();
        for (core, times) in core_lines(&stat) {
            if self.pinned.contains(&core) {
                // user nice system idle iowait irq softirq steal; guest time is part of user already.
                let times = times.split_whitespace().take(8).map(|n| n.parse().unwrap_or(0)).collect::<Vec<u64>>();
                let idle: u64 = times.iter().skip(3).take(2).sum();
                let total: u64 = times.iter().sum();
                ticks.total += total;
                ticks.busy += total - idle;
            }
        }
        ticks
    }

    fn cpu(&self, cpuinfo: &str) -> String {
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        // ARM's cpuinfo names the board, where it names anything.
        let board = || self.text("proc/device-tree/model").map(|name| name.trim_end_matches('\0').to_owned());
        field("model name").or_else(board).or_else(|| field("Model")).unwrap_or_default()
    }

    fn hottest(&self) -> Option<i64> {
        let zones = fs::read_dir(self.root.join("sys/class/thermal")).ok()?;
        let zones = zones.flatten().filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
        zones.filter_map(|zone| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok()).max()
    }

    /// Raspberry Pi's bits, from the kernel where it has them, else from the firmware's own command.
    fn throttled(&self) -> Option<u32> {
        if let Some(text) = self.text("sys/devices/platform/soc/soc:firmware/get_throttled") {
            return hexadecimal(&text);
        }
        if self.root != Path::new("/") || !Path::new("/dev/vcio").exists() {
            return None;
        }
        let output = Command::new("vcgencmd").arg("get_throttled").output().ok()?;
        hexadecimal(String::from_utf8(output.stdout).ok()?.trim().strip_prefix("throttled=")?)
    }

    fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }
}

impl Ticks {
    fn none() -> Self {
        Self { busy: 0, total: 0, own_ns: thread_cpu_nanos(), at: Instant::now() }
    }
}

/// Pins the calling thread to one core and returns it: the fastest kind that it may use, and of these
/// the last, because interrupts go to the first. `None` where the system refuses.
pub fn pin() -> Option<usize> {
    let allowed = sched_getaffinity(None).ok()?;
    let highest_khz = |core: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq");
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let core =
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).max_by_key(|&core| (highest_khz(core), core))?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).ok()?;
    Some(core)
}

/// CPU time of this thread, in nanoseconds.
pub(crate) fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Involuntary context switches of this thread so far.
pub(crate) fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0)
}

/// Forgets the peak of resident memory, so that the next reading is of what follows. False where the system refuses.
pub(crate) fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Peak of resident memory since the last reset, in bytes; 0 where the system does not tell.
pub(crate) fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    number_after(&status, "VmHWM:").map_or(0, |kib| kib << 10)
}

/// The lines `cpuN times..` of `/proc/stat`, one for each core that is on.
fn core_lines(stat: &str) -> impl Iterator<Item = (usize, &str)> {
    stat.lines().filter_map(|line| {
        let (core, times) = line.strip_prefix("cpu")?.split_once(' ')?;
        Some((core.parse().ok()?, times))
    })
}

/// x86 without frequency scaling still tells the clock of each core.
fn cpuinfo_khz(cpuinfo: &str, core: usize) -> Option<u64> {
    let line = cpuinfo.lines().filter(|line| line.starts_with("cpu MHz")).nth(core)?;
    Some((line.split_once(':')?.1.trim().parse::<f64>().ok()? * 1e3) as u64)
}

/// The number behind a key such as `VmHWM:`, in whatever unit the file uses.
pub(crate) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// A number such as `0x50005`, with or without its prefix.
pub(crate) fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}
