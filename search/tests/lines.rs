//! One-dimensional cells: every space, over a line of features.

use data::FrontEnd;
use graph::{Graph, Op, Shape, cost::static_cost};
use search::{
    chooser::Uniform,
    space::{
        Scale, SearchSpace, Task, cell::CellSpace, darts::DartsSpace, enas_micro::EnasMicro, modules::ModuleSpace,
        nasnet::NasNetSpace,
    },
};

const PLANE: Scale =
    Scale { layers: 3, channels: 8, input: [1, 49, 10], classes: 12, front_end: None, task: Task::Classification };
const LINE: Scale = Scale { input: [10, 1, 49], ..PLANE };

/// Windows that the network chooses itself: not those of its front end.
fn kernels(graph: &Graph) -> Vec<[usize; 2]> {
    let of = |id| match graph.op(id) {
        Op::Conv2d(conv) if !conv.fixed => Some(conv.kernel),
        Op::MaxPool(pool) | Op::AvgPool(pool) => Some(pool.kernel),
        _ => None,
    };
    graph.ids().filter_map(of).collect()
}

fn check<S: SearchSpace>(space: &S, name: &str) {
    for step in 0..20 {
        let arch = space.sample(&mut Uniform::new(7, name, step));
        let [line, plane] = [LINE, PLANE].map(|scale| space.build(&arch, &scale).expect("it is large enough"));
        assert!(kernels(&line).iter().all(|kernel| kernel[0] == 1), "{name} {step}: {arch:?}");
        assert_eq!(line.n_nodes(), plane.n_nodes() + 2, "{name} {step}: the same network, and a turn");
        assert!(static_cost(&line).macs < static_cost(&plane).macs, "{name} {step}");
        assert_eq!(line.shape(line.ids().next().expect("it has nodes")), Shape::Map([1, 49, 10]), "what batches have");

        let front_end = Some(FrontEnd::mfcc(16_000));
        let deployed = space.build(&arch, &Scale { front_end, ..LINE }).expect("it is large enough");
        assert!(kernels(&deployed).iter().all(|kernel| kernel[0] == 1), "{name} {step}: {arch:?}");
        assert_eq!(static_cost(&deployed).params, static_cost(&line).params, "{name} {step}");
        assert!(deployed.ids().all(|id| *deployed.op(id) != Op::ChannelsLast), "{name} {step}: features are channels");
    }
}

#[test]
fn spaces_of_cells_become_one_dimensional() {
    check(&CellSpace::default(), "cells");
    check(&EnasMicro::default(), "enas");
    check(&NasNetSpace::default(), "nasnet");
    check(&ModuleSpace::default(), "modules");
    check(&DartsSpace, "darts");
}
