//! The published network beside which keyword spotting stands.

use graph::cost::static_cost;
use search::space::{Scale, Task, ds_cnn};

/// MLPerf Tiny's has 23,756 trainable parameters, 576 of which are biases before batch norm, on 49 frames of 10
/// coefficients and 12 classes; "Hello Edge" gives 5.4 million operations, two for each multiply-accumulate.
#[test]
fn ds_cnn_has_its_published_size() {
    let scale =
        Scale { layers: 0, channels: 0, input: [1, 49, 10], classes: 12, front_end: None, task: Task::Classification };
    let cost = static_cost(&ds_cnn::build(&scale).expect("the features are large enough"));
    assert_eq!(cost.params, 23_756 - 64 - 4 * 2 * 64);
    assert_eq!(cost.macs, 25 * 5 * 64 * 40 + 4 * 125 * 64 * 9 + 4 * 125 * 64 * 64 + 64 * 12);
}
