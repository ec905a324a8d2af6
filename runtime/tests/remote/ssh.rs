//! A board over ssh that works: what it answers, and what it keeps.

use std::fs;
use std::time::{Duration, Instant};

use runtime::device::Device;
use runtime::engine::{ENGINE, Model};
use runtime::protocol::probe_input;
use targets::measurement::Reach;

use crate::bench::{Board, brief, names, reference_model};
use crate::proxy::Proxy;

#[test]
fn a_board_answers_as_this_machine_does() {
    let Some(board) = Board::start("a measurement over ssh") else { return };
    let path = reference_model(board.folder.path());
    let mut remote = board.remote(board.port);

    let mut model = Model::load(&path).expect("loads");
    let inputs = probe_input(3 * model.input_len());
    let expected: Vec<f32> =
        inputs.chunks(model.input_len()).flat_map(|input| model.run(input).expect("runs")).collect();
    let outputs = remote.check(&path, &inputs).expect("answers");
    assert_eq!((outputs.shape, outputs.values), (vec![1, 10], expected));

    let local = runtime::protocol::measure(
        &path,
        &brief(),
        runtime::protocol::Subject { target: "host", device: "local", reach: Reach::Local },
    );
    let measured = remote.measure(&path, &brief()).expect("measured");
    assert_eq!(measured.output_hash, local.expect("measured").output_hash);
    assert_eq!((measured.target.as_str(), measured.device.as_str(), measured.reach), ("host", "bench", Reach::Ssh));
    assert_eq!(measured.blocks.iter().map(|block| block.wall_ns.len()).collect::<Vec<_>>(), [2, 2]);

    let profile = remote.profile(&path, 2).expect("answers");
    assert!(profile.nodes.iter().any(|node| node.name.starts_with("stem")));
    let facts = remote.facts().expect("answers");
    assert_eq!((facts.engine.as_str(), facts.arch.as_str()), (ENGINE, std::env::consts::ARCH));
    assert!(0 < facts.conditions.cores && facts.memory_bytes.is_some_and(|bytes| 1 << 20 < bytes));
}

#[test]
fn only_the_agent_stays_and_clean_removes_it() {
    let Some(board) = Board::start("what stays on a board") else { return };
    let path = reference_model(board.folder.path());
    let folder = board.agent_folder();
    let mut remote = board.remote(board.port);
    remote.measure(&path, &brief()).expect("measured");
    remote.check(&path, &[]).expect("answers");
    let kept = names(&folder);
    assert!(kept.len() == 2 && kept[0] == ".pipeline-agent" && kept[1].starts_with("pipeline-agent-"), "{kept:?}");

    // The same agent is not sent again; one that was damaged there is.
    let agent = folder.join(&kept[1]);
    let written = || fs::metadata(&agent).and_then(|it| it.modified()).expect("it is there");
    let before = written();
    board.remote(board.port).measure(&path, &brief()).expect("measured");
    assert_eq!(written(), before);
    fs::write(&agent, b"torn").expect("it is ours");
    board.remote(board.port).measure(&path, &brief()).expect("measured");
    assert_eq!(
        fs::metadata(&agent).expect("it is there").len(),
        fs::metadata(env!("CARGO_BIN_EXE_pipeline-agent")).expect("built").len()
    );

    // What a session left behind that never came back is removed by the next one, after a day; agents
    // of other versions after a week.
    let day = Duration::from_secs(24 * 3_600);
    fs::create_dir(folder.join("work-1-1")).expect("made");
    fs::write(folder.join("pipeline-agent-0.12.part"), "half").expect("it is ours");
    for (name, days) in [("work-1-1", 3), ("pipeline-agent-0.12.part", 9), (kept[1].as_str(), 99)] {
        let then = std::time::SystemTime::now() - days * day;
        fs::File::open(folder.join(name)).and_then(|it| it.set_modified(then)).expect("it is ours");
    }
    let mut last = board.remote(board.port);
    last.connect().expect("reached");
    assert_eq!(names(&folder), kept);

    assert_eq!(last.clean().expect("cleaned"), [folder.display().to_string()]);
    assert!(!folder.exists());
    assert_eq!(names(&board.folder.path().join("tmp")), [""; 0]); // the lock is gone, too
    assert_eq!(last.clean().expect("nothing is left"), [""; 0]);
}

#[test]
fn a_slow_link_takes_longer_and_answers_the_same() {
    let Some(board) = Board::start("a slow link") else { return };
    let proxy = Proxy::to(board.port);
    let path = reference_model(board.folder.path());
    let mut remote = board.remote(proxy.port);
    let inputs = probe_input(20 * 3 * 32 * 32); // 240 kB
    let fast = remote.check(&path, &inputs).expect("answers");
    proxy.slow_down(200_000);
    let started = Instant::now();
    assert_eq!(remote.check(&path, &inputs).expect("answers"), fast);
    assert!(Duration::from_secs(1) < started.elapsed(), "{:?}: it was not slowed down", started.elapsed());
}
