//! The weights file: equal weights are equal bytes, and foreign bytes are refused, not trusted.

use graph::weights::{Tensor, Weights, WeightsError};
use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};

mod common;

/// Tensors of up to three axes, among them empty ones, with every bit pattern `f32` has.
fn tensors() -> impl Strategy<Value = Weights> {
    let tensor = prop::collection::vec(0..4_usize, 0..4).prop_flat_map(|shape| {
        let n_values: usize = shape.iter().product();
        let values = prop::collection::vec(any::<u32>().prop_map(f32::from_bits), n_values);
        values.prop_map(move |values| Tensor { shape: shape.clone(), values })
    });
    prop::collection::btree_map("[a-z0-9/]{1,12}\\.(weight|bias|mean)", tensor, 0..6)
        .prop_map(|tensors| Weights { tensors })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_file_comes_back_to_the_byte(weights in tensors()) {
        let bytes = weights.to_safetensors().expect("tensors fit a file");
        let again = Weights::from_safetensors(&bytes).expect("we wrote it");
        // Compared as bits: NaN is not equal to itself.
        let bits = |it: &Weights| -> Vec<(String, Vec<usize>, Vec<u32>)> {
            let tensors = it.tensors.iter();
            tensors.map(|(k, t)| (k.clone(), t.shape.clone(), t.values.iter().map(|v| v.to_bits()).collect())).collect()
        };
        prop_assert_eq!(bits(&again), bits(&weights));
        prop_assert_eq!(again.to_safetensors().expect("tensors fit a file"), bytes);
    }

    #[test]
    fn damaged_files_are_errors(weights in tensors(), cut: prop::sample::Index, noise: Vec<u8>) {
        let bytes = weights.to_safetensors().expect("tensors fit a file");
        let cut = cut.index(bytes.len());
        prop_assert!(matches!(Weights::from_safetensors(&bytes[..cut]), Err(WeightsError::Format(_))));
        // Anything but a panic.
        let _ = Weights::from_safetensors(&noise);
    }

    #[test]
    fn a_network_accepts_its_own_weights(seed: u64, n_nodes in 1..30_usize) {
        let graph = common::random::graph(seed, n_nodes);
        let mut weights = common::random::weights(&graph, seed);
        prop_assert!(weights.check(&graph).is_ok());
        if let Some((key, _)) = weights.tensors.pop_first() {
            let error = weights.check(&graph).expect_err("one is gone").to_string();
            prop_assert!(error.contains(&key), "{}", error);
        }
    }
}

#[test]
fn other_number_types_are_refused_by_key() {
    let view = TensorView::new(Dtype::F16, vec![2], &[0; 4]).expect("two half floats are four bytes");
    let bytes = safetensors::serialize([("conv.weight", view)], None).expect("it fits a file");
    let error = Weights::from_safetensors(&bytes).expect_err("half floats are not read");
    assert_eq!(error.to_string(), "not a weights file: conv.weight is F16, not F32");
}
