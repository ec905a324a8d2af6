//! Every form of an operation computes the same, in the engine that ships.

use export::{Lowering, Metadata, onnx_as};
use graph::{Graph, fold::shipped, weights::Weights};
use runtime::{
    engine::Model,
    validate::{Limits, validate},
};

#[path = "../../graph/tests/common/mod.rs"]
mod common;

use common::{random, reference};

/// Networks, of every operation that a space may use.
const N: u64 = 300;

/// Largest difference between two forms, relative to the largest output.
const TOLERANCE: f32 = 1e-5;

#[test]
fn forms_agree_with_the_plain_one() {
    let mut compared = 0;
    for seed in 0..N {
        let graph = random::graph(seed, 3 + seed as usize % 25);
        let (weights, image) = (random::weights(&graph, seed), random::image(&graph, seed));
        let plain = computed(&graph, &weights, &image, Lowering::default());
        let interpreted = reference::run(&graph, &weights, &image);
        let size = plain.iter().fold(1.0, |size: f32, it| size.max(it.abs()));
        let is_admitted = |lowering| {
            let file = onnx_as(&graph, &weights, &Metadata::default(), lowering).expect("the network is complete");
            validate(&file, &Limits::default()).map(drop)
        };
        for lowering in every(&graph) {
            // The gate takes no pads beyond a window; no space makes them.
            assert!(
                is_admitted(Lowering::default()).is_err() || is_admitted(lowering).is_ok(),
                "{lowering}: {graph:#?}"
            );
            let found = computed(&graph, &weights, &image, lowering);
            assert_eq!(found.len(), plain.len(), "{lowering}: {graph:#?}");
            for ((found, plain), interpreted) in found.iter().zip(&plain).zip(&interpreted) {
                let (form, truth) = ((found - plain).abs(), (f64::from(*found) - interpreted).abs());
                assert!(form <= TOLERANCE * size, "{lowering} of network {seed}: {found}, not {plain}: {graph:#?}");
                assert!(truth <= 1e-4 * f64::from(size), "{lowering} of network {seed}: {found}, not {interpreted}");
            }
            compared += 1;
        }
    }
    // Otherwise the networks would hold too few operations with another form.
    assert!(N < compared, "{compared} comparisons");
}

/// Every form of each kind alone, and the last of every kind at once.
fn every(graph: &Graph) -> Vec<Lowering> {
    let shipped = shipped(graph);
    let kinds = Lowering::default().alternatives(&shipped);
    let last = (0..kinds.len()).fold(Lowering::default(), |all, kind| {
        *all.alternatives(&shipped)[kind].last().expect("every kind has another form")
    });
    kinds.into_iter().flatten().chain([last]).collect()
}

fn computed(graph: &Graph, weights: &Weights, image: &[f32], lowering: Lowering) -> Vec<f32> {
    let file = onnx_as(graph, weights, &Metadata::default(), lowering).expect("the network is complete");
    let mut model = Model::from_bytes(&file).unwrap_or_else(|error| panic!("{lowering}: {error}: {graph:#?}"));
    model.run(image).unwrap_or_else(|error| panic!("{lowering}: {error}"))
}
