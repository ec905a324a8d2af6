//! The guards of DARTS's search, from the flag to what is said of them.

use crate::micro::{run, workplace};

#[test]
fn guards_are_switched_and_reported() {
    let folder = workplace();
    let said = run(
        &folder,
        "reproduce darts --scale demo --data optdigits --guards partial-channels,skips --run partial --json",
    );
    let found = said.expect(0, &[]).json();
    assert_eq!(found["guards"], serde_json::json!(["partial-channels", "skips"]));
    assert!(found["ours"]["architecture"]["normal"].is_array(), "{found}");
    // The same folder is not gone on with by other means.
    let other = "reproduce darts --scale demo --data optdigits --guards none --run partial";
    run(&folder, other).expect(2, &["holds other work"]);
    run(&folder, "reproduce darts --guards none,skips --data optdigits").expect(2, &["none goes with no other"]);
    run(&folder, "reproduce enas --guards skips --data optdigits").expect(2, &["only darts"]);
    run(&folder, "reproduce auto-deeplab --guards partial-channels --data optdigits").expect(2, &["alone"]);
}
