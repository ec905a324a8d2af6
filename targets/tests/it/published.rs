//! How far do the tables go on times that others measured on real boards?
#![expect(clippy::print_stdout, reason = "a skipped test says so, and figures are worth reading")]

use std::collections::BTreeMap;

use graph::{Graph, cost::static_cost};
use targets::{Features, LatencyModel, Target, features, stats::quantile, stats::spearman};

use crate::networks::{mobilenet_v1, mobilenet_v2, nas_bench_201};

/// Rows of a published table, split at commas; `None`, with a printed line, where it is not here.
pub(crate) fn table(name: &str) -> Option<Vec<Vec<String>>> {
    let path = format!("{}/../../shared/data/latency/{name}", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: {name} (no ../shared/data)");
        return None;
    };
    Some(text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

pub(crate) fn number(text: &str) -> f64 {
    text.parse().expect("the tables hold numbers")
}

pub(crate) fn rpi4() -> LatencyModel {
    LatencyModel::from_table(&Target::find("rpi4").expect("it is built in").latency)
}

/// The networks of NAS-Bench-201, with their seconds on a board: column 6 is a Raspberry Pi 4,
/// column 7 a Pixel 3. Cells that pass nothing on are left out: nothing runs.
pub(crate) fn nas_bench_times(column: usize) -> Option<Vec<(Features, f64)>> {
    let rows = table("nb201_cifar10_full.csv")?;
    let network = |row: &Vec<String>| Some((features(&nas_bench_201(&row[1])?), 1e-3 * number(&row[column])));
    Some(rows.iter().filter_map(network).collect())
}

/// MobileNetV1 and V2 at many sizes on a Raspberry Pi 4, by engine and arithmetic, in seconds.
pub(crate) fn mobilenet_times() -> Option<BTreeMap<String, Vec<(Features, f64)>>> {
    let mut systems = BTreeMap::<String, Vec<(Features, f64)>>::new();
    for row in table("rpi4_mlperf_v05.csv")?.iter().filter(|row| !row[2].is_empty()) {
        let arithmetic = if row[1].ends_with("quantized") { "int8" } else { "fp32" };
        let system = format!("{} {arithmetic}", row[0]);
        systems.entry(system).or_default().push((features(&mobilenet(row)), 1e-3 * number(&row[6])));
    }
    Some(systems)
}

/// The network of a row of the MobileNet table.
fn mobilenet(row: &[String]) -> Graph {
    let build = if row[1].starts_with("mobilenet-v1-") { mobilenet_v1 } else { mobilenet_v2 };
    build(number(&row[2]), number(&row[3]) as usize)
}

/// The networks are what was timed: their multiply-accumulates are the published ones.
#[test]
fn networks_are_the_published_ones() {
    let check = |graph: &Graph, macs: f64, tolerance: f64| {
        let found = static_cost(graph).macs as f64 / 1e6;
        assert!((found - macs).abs() <= tolerance, "{found} M is not {macs} M");
    };
    let Some(rows) = table("nb201_cifar10_full.csv") else { return };
    for row in rows.iter().filter(|row| !row[1].contains("none")).step_by(97) {
        check(&nas_bench_201(&row[1]).expect("every edge carries something"), number(&row[3]), 1e-3);
    }
    let Some(rows) = table("rpi4_mlperf_v05.csv") else { return };
    for row in rows.iter().filter(|row| !row[2].is_empty()) {
        // V2's published counts are rounded, and differ from its description by up to 1 %.
        let tolerance = if row[1].starts_with("mobilenet-v1-") { 0.06 } else { 0.01 * number(&row[4]) };
        check(&mobilenet(row), number(&row[4]), tolerance);
    }
}

/// The default scale of rpi4 is for another engine than the one timed here, so what is asserted is
/// order and magnitude. Seen: Spearman 0.96, over 98 % inside the interval.
#[test]
fn the_rpi4_table_orders_networks_of_a_raspberry_pi() {
    let Some(times) = nas_bench_times(6) else { return };
    let model = rpi4();
    let figures: Vec<_> = times.iter().map(|(features, _)| model.predict(features)).collect();
    let (predicted, measured): (Vec<f64>, Vec<f64>) =
        figures.iter().zip(&times).map(|(figure, &(_, seconds))| (figure.value, seconds)).unzip();
    let order = spearman(&predicted, &measured).expect("many networks");
    let inside = figures.iter().zip(&measured).filter(|(figure, seconds)| (figure.low..=figure.high).contains(seconds));
    let inside = inside.count() as f64 / measured.len() as f64;
    println!("{} networks: Spearman {order:.3}, {:.1} % inside the interval", measured.len(), 100.0 * inside);
    let mut ratios: Vec<f64> = measured.iter().zip(&predicted).map(|(measured, it)| measured / it).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |p| quantile(&ratios, p).expect("many networks");
    println!("measured over predicted: 98 in 100 from {:.2} to {:.2}, median {:.2}", at(0.01), at(0.99), at(0.5));
    assert!(1_000 < measured.len());
    assert!(0.85 <= order, "Spearman {order}");
    assert!(0.95 <= inside, "{inside} inside the interval");
}

/// MobileNetV1 at 16 sizes with two engines: one slower than the table says, one faster, every
/// network within the interval.
#[test]
fn the_rpi4_table_has_the_right_magnitude() {
    let Some(rows) = table("rpi4_mlperf_v05.csv") else { return };
    let model = rpi4();
    for system in ["rpi4-tflite-v1.15", "rpi4-armnn-v19.08-neon"] {
        let float = |row: &&Vec<String>| row[1].starts_with("mobilenet-v1-") && !row[1].ends_with("quantized");
        let (mut predicted, mut measured) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| row[0] == system).filter(float) {
            let figure = model.predict(&features(&mobilenet_v1(number(&row[2]), number(&row[3]) as usize)));
            let seconds = 1e-3 * number(&row[6]);
            assert!(
                (figure.low..=figure.high).contains(&seconds),
                "{system}: {} took {seconds}, not {figure:?}",
                row[1]
            );
            predicted.push(figure.value);
            measured.push(seconds);
        }
        let order = spearman(&predicted, &measured).expect("16 networks");
        let ratios = || measured.iter().zip(&predicted).map(|(measured, it)| measured / it);
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        println!(
            "{} on {system}: Spearman {order:.3}, measured over predicted {least:.2} to {most:.2}",
            measured.len()
        );
        assert_eq!(measured.len(), 16);
        assert!(0.95 <= order, "{system}: Spearman {order}");
    }
}
