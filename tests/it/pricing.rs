//! Prices when the board is there, noisy, or lost: a candidate is never without one.

use std::{cell::RefCell, rc::Rc};

use graph::{Graph, Op};
use search::{
    Error,
    chooser::Uniform,
    pricing::Pricer,
    space::{Scale, SearchSpace, Task, cell::CellSpace},
};
use targets::{Budget, Cost, CostModel, Meter, MeterError, MeterErrorKind, Metric, Reading, Source, Target};

use crate::recording;

/// A board that does what it is told next; then it is lost.
#[derive(Clone, Default)]
struct Board(Rc<RefCell<Vec<Option<MeterErrorKind>>>>, Rc<RefCell<usize>>);

impl Meter for Board {
    fn measure(&mut self, _: &Graph) -> Result<Reading, MeterError> {
        *self.1.borrow_mut() += 1;
        let next = if self.0.borrow().is_empty() { Some(MeterErrorKind::Lost) } else { self.0.borrow_mut().remove(0) };
        match next {
            None => {
                let mut measurement = recording::calm(std::time::Duration::from_millis(2));
                "pi".clone_into(&mut measurement.device);
                Ok(measurement.reading(0.9))
            }
            Some(kind) => Err(MeterError { device: "pi".into(), reason: "told so".into(), kind }),
        }
    }
}

fn networks(n: u64) -> Vec<Graph> {
    let (space, scale) = (
        CellSpace::default(),
        Scale { layers: 3, channels: 4, input: [1, 8, 8], classes: 10, front_end: None, task: Task::Classification },
    );
    let cell = |step| space.sample(&mut Uniform::new(5, "pricing", step));
    (0..n).map(|step| space.build(&cell(step), &scale).expect("the image is large enough")).collect()
}

fn pricer(board: &Board, budget: Budget) -> Pricer {
    let model = CostModel::new(Target::find("rpi4").expect("it is built in"));
    Pricer::new(model, budget, Some(Box::new(board.clone())), 1)
}

/// How the latency is known: measured, estimated, or estimated because the board was lost.
fn known(cost: &Cost) -> &'static str {
    match &cost.get(Metric::Latency).expect("every network has one").source {
        Source::Exact => "exact",
        Source::Measured { .. } => "measured",
        Source::Estimated { by } if by.contains("; pi was lost") => "lost",
        Source::Estimated { .. } => "estimated",
    }
}

#[test]
fn a_lost_board_leaves_marked_estimates() {
    use MeterErrorKind::{Invalid, Lost};
    let check = |answers: &[Option<MeterErrorKind>], expected: &[&str], n_asked: usize| {
        let board = Board(Rc::new(RefCell::new(answers.to_vec())), Rc::default());
        // The first few are measured whatever they are predicted to cost.
        let mut pricer = pricer(&board, Budget::default());
        let costs = networks(expected.len() as u64);
        let costs: Vec<Cost> = costs.iter().map(|it| pricer.cost(it).expect("it goes on")).collect();
        assert_eq!(costs.iter().map(known).collect::<Vec<_>>(), expected, "{answers:?}");
        assert_eq!(*board.1.borrow(), n_asked, "{answers:?}");
    };
    check(&[None, None], &["measured", "measured", "lost", "lost", "lost", "lost", "lost"], 4);
    // It is asked again after one, two, four .. candidates, and is then as good as before.
    check(&[None, Some(Lost), None, None], &["measured", "lost", "lost", "measured", "measured"], 4);
    check(&[Some(Lost), Some(Lost), None], &["lost", "lost", "lost", "lost", "lost", "measured"], 3);
    // Noise is no loss.
    check(&[Some(Invalid), None], &["estimated", "estimated", "measured"], 2);
    check(&[Some(Lost), Some(Invalid), None], &["lost", "lost", "estimated", "estimated", "estimated", "measured"], 3);
}

#[test]
fn only_what_a_measurement_would_have_told_is_marked() {
    let board = Board::default();
    let mut pricer = pricer(&board, Budget::default());
    let networks = networks(3);
    let cost = pricer.cost(&networks[0]).expect("it goes on");
    for metric in [Metric::Latency, Metric::Memory] {
        let described = cost.get(metric).expect("it is known").describe(metric);
        assert!(described.contains("not measured on rpi4") && described.contains("pi was lost when"), "{described}");
    }
    assert_eq!(cost.get(Metric::Params).expect("it is counted").source, Source::Exact);
    // An estimate that was asked for as such is one.
    assert_eq!(known(&pricer.estimate(&networks[1])), "estimated");
}

#[test]
fn what_somebody_must_see_to_ends_the_search() {
    for kind in [MeterErrorKind::Unavailable, MeterErrorKind::Rejected] {
        let board = Board(Rc::new(RefCell::new(vec![Some(kind)])), Rc::default());
        let error = pricer(&board, Budget::default()).cost(&networks(1)[0]).expect_err("it ends");
        assert!(matches!(error, Error::Meter(MeterError { kind: found, .. }) if found == kind));
    }
}

#[test]
fn copies_of_a_cell_are_priced_as_their_nodes_are() {
    let model = CostModel::new(Target::find("rpi4").expect("it is built in"));
    let price = |graph: &Graph| model.price(graph);
    let scale =
        Scale { layers: 11, channels: 8, input: [3, 32, 32], classes: 10, front_end: None, task: Task::Classification };
    for step in 0..300 {
        let cell = CellSpace::default().sample(&mut Uniform::new(6, "pricing", step));
        let network = CellSpace::default().build(&cell, &scale).expect("the image is large enough");
        // The same nodes, none of them a copy of another.
        let mut plain = Graph::default();
        for id in network.ids() {
            match network.op(id) {
                Op::Input => plain.input(network.shape(id)),
                op => plain.add(("node", id.index()), *op, network.inputs(id)).expect("they fitted before"),
            };
        }
        assert_eq!(price(&network), price(&plain), "{cell:?}");
    }
}
