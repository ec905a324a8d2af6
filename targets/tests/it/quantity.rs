//! Are quantities read and printed as people write them?

use proptest::prelude::*;
use targets::{Dimension, Metric, QuantityError};

#[test]
fn reads_what_people_write() {
    let check = |metric: Metric, text, value: f64| {
        let read = metric.parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!((read - value).abs() <= 1e-12 * value.abs(), "{text} is {read}, not {value}");
    };
    check(Metric::Params, "2M", 2e6);
    check(Metric::Params, "1.96 M", 1.96e6);
    check(Metric::Params, "78666", 78_666.0);
    check(Metric::Params, "0", 0.0);
    check(Metric::Macs, "80M", 80e6);
    check(Metric::Macs, "1.2G", 1.2e9);
    check(Metric::Macs, "500k", 5e5);
    check(Metric::Memory, "64MiB", 64.0 * 1_048_576.0);
    check(Metric::Memory, "64 MB", 64e6);
    check(Metric::Flash, "512KiB", 524_288.0);
    check(Metric::Flash, "1kB", 1e3);
    check(Metric::Activations, "1GiB", 1_073_741_824.0);
    check(Metric::Activations, "2GB", 2e9);
    check(Metric::Activations, "37B", 37.0);
    check(Metric::Latency, "20ms", 0.020);
    check(Metric::Latency, " 3.5 ms ", 0.0035);
    check(Metric::Latency, "250us", 250e-6);
    check(Metric::Latency, "250µs", 250e-6);
    check(Metric::Latency, "250μs", 250e-6);
    check(Metric::Latency, "9ns", 9e-9);
    check(Metric::TrainTime, "90s", 90.0);
    check(Metric::TrainTime, "30min", 1_800.0);
    check(Metric::TrainTime, "1.5h", 5_400.0);
    check(Metric::Intensity, "7.1", 7.1);
    check(Metric::Intensity, "7.1 FLOPs/B", 7.1);
    check(Metric::Intensity, "80FLOPs/byte", 80.0);
}

#[test]
fn refuses_the_rest_and_says_what_to_write() {
    let check = |metric: Metric, text: &str, words: &[&str]| {
        let error = metric.parse(text).expect_err(text).to_string();
        for word in words {
            assert!(error.contains(word), "{text:?}: {error:?} does not say {word:?}");
        }
    };
    check(Metric::Latency, "20", &["no unit", "\"20ms\"", "ns, us, ms, s, min, h"]);
    check(Metric::Memory, "64", &["no unit", "\"64MiB\"", "KiB"]);
    check(Metric::Latency, "", &["empty", "20ms"]);
    check(Metric::Latency, "  ", &["empty"]);
    check(Metric::Latency, "-20ms", &["negative"]);
    check(Metric::Latency, "−20ms", &["negative"]);
    check(Metric::Latency, "20mss", &["\"mss\"", "not a unit"]);
    check(Metric::Latency, "20 m", &["\"m\"", "min"]);
    check(Metric::Latency, "20ms or so", &["\"ms or so\""]);
    check(Metric::Latency, "20MB", &["\"MB\""]);
    check(Metric::Latency, "1e400s", &["\"e400s\""]);
    check(Metric::Latency, "ms", &["does not start with a number"]);
    check(Metric::Latency, "NaN", &["does not start with a number"]);
    check(Metric::Latency, "inf", &["does not start with a number"]);
    check(Metric::Latency, "1.2.3ms", &["does not start with a number"]);
    check(Metric::Latency, ".ms", &["does not start with a number"]);
    check(Metric::Params, "2m", &["\"m\"", "k, M, G"]);
    check(Metric::Params, "1.5", &["whole number"]);
    check(Metric::Params, "2000000000G", &["larger"]);
    check(Metric::Params, &"9".repeat(400), &["larger"]);
    check(Metric::Memory, "1MiB2", &["\"MiB2\""]);
    assert!(matches!(Metric::Memory.parse("64"), Err(QuantityError::NoUnit { .. })));
}

#[test]
fn prints_three_digits() {
    let check = |metric: Metric, value, text| assert_eq!(metric.format(value), text);
    check(Metric::Latency, 0.020, "20 ms");
    check(Metric::Latency, 0.012_345, "12.3 ms");
    check(Metric::Latency, 0.999_7, "1 s");
    check(Metric::Latency, 250e-6, "250 µs");
    check(Metric::Latency, 0.3e-9, "0.3 ns");
    check(Metric::Latency, 0.0, "0 s");
    check(Metric::TrainTime, 2_100.0, "35 min");
    check(Metric::TrainTime, 5_400.0, "1.5 h");
    check(Metric::Params, 1_960_000.0, "1.96 M");
    check(Metric::Params, 999.0, "999");
    check(Metric::Params, 78_666.0, "78.7 k");
    check(Metric::Params, 0.0, "0");
    check(Metric::Macs, 91.1e6, "91.1 M");
    check(Metric::Macs, 1.2e9, "1.2 G");
    check(Metric::Memory, 12.4 * 1_048_576.0, "12.4 MiB");
    check(Metric::Memory, 1023.0, "1023 B");
    check(Metric::Memory, 1_000_000.0, "977 KiB");
    check(Metric::Memory, 1_048_500.0, "1 MiB");
    check(Metric::Memory, 0.0, "0 B");
    check(Metric::Intensity, 7.1, "7.1 FLOPs/B");
    check(Metric::Intensity, 0.0, "0 FLOPs/B");
}

fn dimension() -> impl Strategy<Value = Dimension> {
    prop::sample::select(vec![Dimension::Count, Dimension::Bytes, Dimension::Time, Dimension::Intensity])
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(dimension in dimension(), exponent in 0.0..14.0) {
        let value = 10_f64.powf(exponent);
        let value = if dimension == Dimension::Count { value.round() } else { value };
        let text = dimension.format(value);
        let read = dimension.parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!((read - value).abs() <= 0.006 * value, "{value} was printed as {text}");
    }

    #[test]
    fn no_text_makes_it_panic(dimension in dimension(), text in "\\PC{0,12}") {
        if let Ok(value) = dimension.parse(&text) {
            prop_assert!(0.0 <= value && value.is_finite());
        }
    }

    #[test]
    fn no_number_makes_it_panic(dimension in dimension(), value in proptest::num::f64::ANY) {
        prop_assert!(!dimension.format(value).is_empty());
    }
}

#[test]
fn metrics_have_names_of_their_own() {
    for metric in Metric::ALL {
        assert_eq!(Metric::from_name(metric.name()), Some(metric));
        assert_eq!(serde_json::to_value(metric).expect("a word"), metric.name());
        let example = metric.what().rsplit_once('(').expect("what() ends in an example").1;
        assert!(metric.parse(example.trim_end_matches(')')).is_ok(), "{example}");
    }
    assert_eq!(Metric::from_name("speed"), None);
}
