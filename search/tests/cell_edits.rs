//! Cells that are edited step by step stay cells, and an edit changes what it says.

use search::{
    chooser::{Replay, Uniform},
    space::{
        Morph, Scale, SearchSpace, Task,
        cell::{Cell, CellOp, CellSpace},
        cells::{AnyCell, Cells},
        recurrent::RecurrentSpace,
    },
};

/// The answers that leave the first block's left side as it is.
fn unchanged(cell: &Cell) -> Vec<usize> {
    let op = CellOp::ALL.iter().position(|it| *it == cell.blocks[0].ops[0]).expect("it is one of them");
    vec![0, 0, 0, op]
}

#[test]
fn edited_cells_are_cells() {
    let space = CellSpace::default();
    let scale =
        Scale { layers: 1, channels: 4, input: [1, 12, 12], classes: 3, front_end: None, task: Task::Classification };
    // Kept, grown, shrunk.
    let mut sizes = [0; 3];
    for seed in 0..300 {
        let mut cell = space.sample(&mut Uniform::new(seed, "cell", 0));
        for step in 0..6 {
            let edited = space.morph(&cell, &mut Uniform::new(seed, "edit", step));
            let (before, after) = (cell.blocks.len(), edited.blocks.len());
            assert!(edited.is_well_formed() && space.blocks.contains(&after), "{cell:?} became {edited:?}");
            let rows = space.embed(&edited);
            assert!(rows.len() == after && rows.iter().all(|row| row.len() == 4), "{rows:?}");
            assert!(before.abs_diff(after) <= 1, "{before} blocks, then {after}");
            sizes[(after + 3 - before) % 3] += 1;
            cell = edited;
        }
        space.build(&cell, &scale).expect("the image is large enough");
    }
    assert!(sizes.iter().all(|n| 200 < *n), "kept, grown, shrunk: {sizes:?}");
}

#[test]
fn what_was_inserted_can_be_taken_away_again() {
    let space = CellSpace { blocks: 1..=8 };
    for seed in 0..200 {
        let cell = CellSpace::default().sample(&mut Uniform::new(seed, "cell", 0));
        for at in 0..=cell.blocks.len() {
            // A block that reads the oldest and the newest state there is, and that nobody reads.
            let insert = [unchanged(&cell), vec![0, at, 0, at + 1, 1, 3]].concat();
            let longer = space.morph(&cell, &mut Replay::new(&insert));
            assert_eq!(longer.blocks.len(), cell.blocks.len() + 1);
            assert_eq!(longer.blocks[at].inputs, [0, at + 1]);
            assert!(!longer.reads(at + 2), "{longer:?}");
            let remove = [unchanged(&longer), vec![1, at]].concat();
            assert_eq!(space.morph(&longer, &mut Replay::new(&remove)), cell, "at {at}");
        }
    }
}

#[test]
fn who_read_a_block_that_goes_reads_what_it_read() {
    let space = CellSpace::default();
    // The third block reads the second, whose left side reads the first.
    let cell = CellSpace { blocks: 3..=3 }.sample(&mut Replay::new(&[0, 0, 0, 1, 1, 2, 1, 2, 2, 3, 3, 4, 4]));
    let without = space.morph(&cell, &mut Replay::new(&[unchanged(&cell), vec![1, 1]].concat()));
    assert_eq!(without.blocks.len(), 2);
    assert_eq!(without.blocks[1].inputs, [2, 2], "{cell:?}");
    assert_eq!(without.blocks[1].ops, cell.blocks[2].ops);
    // The smallest cell keeps its blocks.
    let kept = space.morph(&without, &mut Replay::new(&[unchanged(&without), vec![1, 1]].concat()));
    assert_eq!(kept, without);
}

#[test]
fn an_edit_of_a_recurrent_cell_changes_a_node() {
    let (space, text) = (RecurrentSpace::darts(), Cells::of(Task::Language));
    let scale = Scale { layers: 1, channels: 4, input: [1, 1, 5], classes: 7, front_end: None, task: Task::Language };
    // Kept as they were, another non-linearity, another state read.
    let mut changed = [0; 3];
    for seed in 0..200 {
        let mut cell = space.sample(&mut Uniform::new(seed, "cell", 0));
        for step in 0..6 {
            let edited = space.morph(&cell, &mut Uniform::new(seed, "edit", step));
            let any = text.morph(&AnyCell::Recurrent(cell.clone()), &mut Uniform::new(seed, "edit", step));
            assert_eq!(any, AnyCell::Recurrent(edited.clone()));
            assert!(edited.nodes.iter().enumerate().all(|(idx, node)| node.input <= idx), "{edited:?}");
            let rows = space.embed(&edited);
            assert!(rows.len() == 8 && rows.iter().all(|row| row.len() == 2), "{rows:?}");
            let of = |what: &dyn Fn(usize) -> bool| (0..8).filter(|idx| what(*idx)).count();
            let inputs = of(&|idx| cell.nodes[idx].input != edited.nodes[idx].input);
            let functions = of(&|idx| cell.nodes[idx].function != edited.nodes[idx].function);
            assert!(inputs + functions <= 1 && cell.first == edited.first, "{cell:?} became {edited:?}");
            changed[if functions == 1 { 1 } else { 2 * inputs }] += 1;
            cell = edited;
        }
        space.build(&cell, &scale).expect("recurrent cells fit");
    }
    assert!(changed.iter().all(|n| 200 < *n), "kept, non-linearity, state: {changed:?}");
}

#[test]
fn files_tell_cells_of_two_kinds_apart() {
    for task in [Task::Classification, Task::Segmentation, Task::Language] {
        let space = Cells::of(task);
        for seed in 0..50 {
            let cell = space.sample(&mut Uniform::new(seed, "cell", 0));
            let text = serde_json::to_string(&cell).expect("a cell has a form in files");
            assert_eq!(serde_json::from_str::<AnyCell>(&text).expect("it was written"), cell);
            let [fewest, most] = space.parts();
            let parts = cell.describe().split(' ').next().and_then(|it| it.parse::<usize>().ok());
            assert!(parts.is_some_and(|it| fewest <= it && it <= most), "{}", cell.describe());
            assert_eq!(matches!(cell, AnyCell::Recurrent(_)), task == Task::Language);
        }
    }
    let blocks = r#"[{"inputs":[0,1],"ops":["identity","sep_conv_3x3"]}]"#;
    assert!(matches!(serde_json::from_str(blocks).expect("a cell as runs have left them"), AnyCell::Stacked(_)));
    assert!(serde_json::from_str::<AnyCell>(r#"{"blocks":[]}"#).is_err());
}
