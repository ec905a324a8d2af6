//! Measuring in this process: every sample is there, and the machine is described.

use runtime::conditions::Probe;
use runtime::engine::EngineError;
use runtime::facts::{Facts, Radio};
use runtime::protocol::{Subject, file_sha256, measure};
use runtime::reference;
use targets::measurement::{Conditions, Protocol, Reach};

const TINY: Protocol = Protocol {
    warmup_window: 2,
    warmup_windows: 2,
    warmup_tolerance: 1e9,
    warmup_limit_ms: 10_000,
    blocks: 3,
    min_samples: 10,
    time_limit_ms: 60_000,
    threads: 1,
};

#[test]
fn keeps_every_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, reference::onnx()).expect("written");
    let subject = Subject { target: "host", device: "local", reach: Reach::Local };
    let one = measure(&path, &TINY, subject).expect("measured");

    assert_eq!((one.target.as_str(), one.device.as_str(), one.reach), ("host", "local", Reach::Local));
    assert_eq!(one.model_sha256, file_sha256(&path).expect("readable"));
    assert_eq!((one.warmup_runs, one.warmup_settled), (4, true));
    assert_eq!(one.blocks.len(), 3);
    for block in &one.blocks {
        // ceil(10 / 3) samples; every kind of sample took some time.
        assert_eq!((block.wall_ns.len(), block.cpu_ns.len()), (4, 4));
        assert_eq!(block.reference_ns.len(), block.calibration_ns.len());
        let all = [&block.wall_ns, &block.cpu_ns, &block.reference_ns, &block.calibration_ns];
        assert!(all.iter().all(|samples| !samples.is_empty() && samples.iter().all(|&ns| ns > 0)), "{block:?}");
    }
    let fastest = one.blocks.iter().flat_map(|block| &block.wall_ns).min();
    assert!(fastest < Some(&one.load_ns), "loading optimises, which takes longer than a run");
    assert!(one.first_run_ns > 0 && one.load_peak_bytes > 1 << 20);
    assert_eq!(one.before.kernel, one.after.kernel);

    let two = measure(&path, &TINY, subject).expect("measured");
    assert_eq!(one.output_hash, two.output_hash);
    let back = serde_json::from_str(&serde_json::to_string(&one).expect("has a JSON form")).expect("reads back");
    assert_eq!(one, back);
}

#[test]
fn stops_when_time_is_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, reference::onnx()).expect("written");
    let subject = Subject { target: "host", device: "local", reach: Reach::Local };
    let hurried = Protocol { warmup_limit_ms: 0, time_limit_ms: 0, warmup_tolerance: 0.0, ..TINY };
    let measured = measure(&path, &hurried, subject).expect("measured");
    // One warm-up run, one block, one sample: never nothing, and never passed off as settled.
    assert_eq!((measured.warmup_runs, measured.warmup_settled), (1, false));
    assert_eq!(measured.blocks.iter().map(|block| block.wall_ns.len()).collect::<Vec<_>>(), [1]);
    let refused = measure(&path, &Protocol { threads: 4, ..TINY }, subject);
    assert!(matches!(refused, Err(EngineError::Threads(4))));
}

/// A Raspberry Pi's files, as far as they are read.
fn raspberry_pi() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n\nModel\t\t: Raspberry Pi 4 Model B\n"),
        ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
        ("proc/stat", "cpu  10 0 0 90 0 0 0 0 0 0\ncpu0 5 0 0 45 0 0 0 0 0 0\ncpu1 5 0 0 45 0 0 0 0 0 0\nintr 1\n"),
        ("proc/loadavg", "0.42 0.30 0.20 1/100 1234\n"),
        ("proc/meminfo", "MemTotal: 3884000 kB\nMemAvailable:    3000000 kB\n"),
        ("proc/sys/kernel/osrelease", "6.6.31-v8+\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1500000\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_min_freq", "600000\n"),
        ("sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq", "1500000\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48686\n"),
        ("sys/class/thermal/thermal_zone1/temp", "51000\n"),
        ("sys/class/thermal/cooling_device0/temp", "99000\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
        ("sys/class/rfkill/rfkill0/type", "bluetooth\n"),
        ("sys/class/rfkill/rfkill0/soft", "1\n"),
        ("sys/class/rfkill/rfkill0/hard", "0\n"),
        ("sys/class/rfkill/rfkill1/type", "wlan\n"),
        ("sys/class/rfkill/rfkill1/soft", "0\n"),
        ("sys/class/rfkill/rfkill1/hard", "0\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
        ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
    ];
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    folder
}

#[test]
fn reads_the_conditions_of_a_board() {
    let board = raspberry_pi();
    let mut probe = Probe::at(board.path(), &[1]);
    let now = probe.read();
    assert_eq!(now.cpu, "Raspberry Pi 4 Model B Rev 1.4");
    assert_eq!((now.cores, &now.pinned[..]), (2, &[1][..]));
    assert_eq!(now.governor.as_deref(), Some("performance"));
    assert_eq!((now.frequency_khz, now.frequency_range_khz), (Some(1_500_000), Some((600_000, 1_500_000))));
    assert_eq!((now.temperature_millic, now.throttled), (Some(51_000), Some(0x50005)));
    assert_eq!((now.load_average, now.free_memory_bytes), (Some(0.42), Some(3_000_000 << 10)));
    assert_eq!((now.kernel.as_str(), now.other_load), ("6.6.31-v8+", None)); // no time has passed yet

    // 100 ticks on, 30 of them busy (5 stolen by a hypervisor), while this thread slept.
    let stat = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 5 0 0 45 0 0 0 0 0 0\ncpu1 20 5 5 110 5 0 0 5 0 0\n";
    std::fs::write(board.path().join("proc/stat"), stat).expect("written");
    std::thread::sleep(std::time::Duration::from_millis(30));
    let other = probe.read().other_load.expect("time has passed");
    assert!(other > 0.2 && other <= 0.3, "{other}");
}

#[test]
fn reads_what_moves_measurements() {
    let board = raspberry_pi();
    let conditions = Probe::at(board.path(), &[1]).read();
    let facts = Facts::at(board.path(), conditions.clone());
    assert_eq!(facts.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(facts.memory_bytes, Some(3_884_000 << 10));
    let radio = |kind: &str, on| Radio { kind: kind.into(), on };
    assert_eq!(facts.radios, Some(vec![radio("bluetooth", false), radio("wlan", true)]));
    let check = |throttled, expected| {
        let facts = Facts::at(board.path(), Conditions { throttled, ..conditions.clone() });
        assert_eq!(facts.undervoltage, expected, "{throttled:?}");
    };
    check(Some(0x50005), Some(true)); // bit 0 now, bit 16 since boot
    check(Some(0x1_0000), Some(true));
    check(Some(0x4_0004), Some(false)); // hot, but fed
    check(None, Some(true)); // as the driver of the supply says
    let empty = tempfile::tempdir().expect("a folder");
    let facts = Facts::at(empty.path(), Conditions::default());
    assert_eq!((facts.board, facts.memory_bytes, facts.radios, facts.undervoltage), (None, None, None, None));
}

#[test]
fn an_unknown_machine_is_described_by_what_it_tells() {
    let empty = tempfile::tempdir().expect("a folder");
    let now = Probe::at(empty.path(), &[0]).read();
    assert_eq!(now, targets::measurement::Conditions { pinned: vec![0], ..Default::default() });
}
