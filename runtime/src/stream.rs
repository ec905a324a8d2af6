//! A recurrent network word by word: what it remembers is brought along from call to call.

use crate::engine::{EngineError, Model};

/// Prefix of the inputs that bring what was remembered.
const MEMORY: &str = "memory";

/// A network whose file is one step, and what it remembers of the steps before: its first input is new at each step, and
/// what its further outputs give goes into its further inputs the next time, in their order.
pub struct Stream {
    model: Model,
    /// What all memories have, one after the other.
    state: Vec<f32>,
}

impl Stream {
    /// At the beginning of a text: nothing is remembered.
    ///
    /// # Errors
    /// The model is not recurrent: its inputs but the first are not called `memory0_in`, `memory1_in` and so on, or it has not
    /// an output of the same size for each.
    pub fn new(model: Model) -> Result<Self, EngineError> {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let is_memory = |(nth, name): (usize, &str)| name == format!("{MEMORY}{nth}_in");
        let named = inputs.iter().skip(1).map(|(name, _)| *name).enumerate().all(is_memory);
        let sizes = |ports: &[(&str, usize)]| ports.iter().skip(1).map(|(_, len)| *len).collect::<Vec<_>>();
        if inputs.len() < 2 || !named || sizes(&inputs) != sizes(&outputs) {
            let what = "inputs and outputs do not pair up as those of a recurrent network (`memory0_in` with the second output)";
            return Err(EngineError::Interface { what: what.into() });
        }
        let state = vec![0.0; sizes(&inputs).iter().sum()];
        Ok(Self { model, state })
    }

    /// One step: what the first output gives for `input`, such as the number of a word.
    ///
    /// # Errors
    /// `input` has another length than the first input, or the engine fails.
    pub fn step(&mut self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        let mut outputs = self.model.run(&[input, &self.state].concat())?;
        self.state = outputs.split_off(outputs.len() - self.state.len());
        Ok(outputs)
    }

    /// Values that a step reads beside what is remembered.
    pub fn input_len(&self) -> usize {
        self.model.input_len() - self.state.len()
    }

    /// What is remembered: all memories, one after the other.
    pub fn state(&self) -> &[f32] {
        &self.state
    }

    /// Goes on as if `state` had been remembered.
    ///
    /// # Errors
    /// It has another length than [`Stream::state`].
    pub fn resume(&mut self, state: &[f32]) -> Result<(), EngineError> {
        if state.len() != self.state.len() {
            return Err(EngineError::Input { given: state.len(), needed: self.state.len() });
        }
        self.state.copy_from_slice(state);
        Ok(())
    }

    /// Begins anew.
    pub fn forget(&mut self) {
        self.state.fill(0.0);
    }
}
