//! Names, paths, serials and addresses that mean harm: each arrives as it is, or is refused, and none is
//! ever obeyed. A shell that obeyed one would make a file named `canary`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use runtime::device::{Address, Device, HostKeys, Ssh, Transport};
use tempfile::TempDir;

use crate::adb::{adb, board};
use crate::bench::{agent, brief, reference_model, remote, write_program};

/// Pieces that a shell, or a program that reads options, would do something with.
const PIECES: [&str; 32] = [
    "'",
    "\"",
    "`touch canary`",
    "$(touch canary)",
    "; touch canary;",
    "& touch canary &",
    "| touch canary",
    "\n",
    "\ntouch canary\n",
    "> canary",
    "< canary",
    "\\",
    "\\'",
    " ",
    "\t",
    "*",
    "?",
    "[a-z]",
    "~",
    "!",
    "#",
    "$HOME",
    "${IFS}",
    "$'\\n'",
    "--",
    "-rf",
    "-oProxyCommand=touch${IFS}canary",
    "%h",
    "\r",
    "\x1b[2J",
    "ü",
    "pipeline:done 0\n",
];

/// Pieces and ordinary characters in any order.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9._-]{1,8}",
        1 => "\\PC{1,3}",
    ];
    prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.concat())
}

/// As one component of a path.
fn name() -> impl Strategy<Value = String> {
    hostile()
        .prop_map(|text| text.replace(['/', '\0'], "").chars().take(60).collect::<String>())
        .prop_filter("a name", |name| !name.is_empty() && name != "." && name != "..")
}

/// Each case makes one to four names: far more than 2,000 in all.
const CASES: u32 = 500;
const LIMIT: Duration = Duration::from_secs(60);

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

fn is_obeyed(board: &TempDir) -> bool {
    [board.path(), &board.path().join("home"), Path::new(".")].iter().any(|folder| folder.join("canary").exists())
}

#[test]
fn the_canary_sings() {
    // What all tests here rely on: a text that reaches a shell unquoted is obeyed, and that is noticed.
    let board = board(Path::new("/usr/bin:/bin"));
    let program = board.path().join("adb");
    let text = fs::read_to_string(&program).expect("written").replace("\"$*\"", "\"$* $(cat serial)\"");
    fs::write(&program, text).expect("it is ours");
    let _ = adb(&board, "; touch canary").run("give", &["9", "/dev/null"], LIMIT);
    assert!(is_obeyed(&board));
}

#[test]
fn files_of_any_name_arrive() {
    let board = board(Path::new("/usr/bin:/bin"));
    let (here, back) = (board.path().join("here"), board.path().join("back"));
    fs::write(&here, b"content").expect("written");
    proptest!(config(CASES / 4), |(folder in name(), name in name())| {
        let there = board.path().join("home").join(&folder).join(&name);
        let remote = there.to_str().expect("text");
        let way = adb(&board, "x");
        way.push(&here, remote, "600").expect("arrives");
        prop_assert_eq!(fs::read(&there).expect("it is there"), b"content");
        way.pull(remote, &back, 100).expect("comes back");
        prop_assert_eq!(fs::read(&back).expect("it is here"), b"content");
        let folder = there.parent().expect("a folder");
        let said = way.run("remove", &[folder.to_str().expect("text")], LIMIT).expect("answers");
        prop_assert!(said.status == 0 && !folder.exists());
        prop_assert!(!is_obeyed(&board));
    });
}

#[test]
fn arguments_arrive_as_they_are() {
    let board = board(Path::new("/usr/bin:/bin"));
    proptest!(config(CASES / 2), |(words in prop::collection::vec(hostile(), 1..5))| {
        let words = words.iter().map(|it| it.replace('\0', "")).collect::<Vec<_>>();
        let args = ["60", "", "/usr/bin/printf", "%s\\036"].into_iter().chain(words.iter().map(String::as_str));
        let said = adb(&board, "x").run("run", &args.collect::<Vec<_>>(), LIMIT).expect("answers");
        let expected = words.iter().flat_map(|it| [it.as_str(), "\u{1e}"]).collect::<String>();
        prop_assert_eq!(String::from_utf8(said.stdout).expect("text"), expected);
        prop_assert!(!is_obeyed(&board));
    });
}

#[test]
fn serials_are_arguments() {
    let board = board(Path::new("/usr/bin:/bin"));
    proptest!(config(CASES), |(serial in hostile())| {
        let serial = serial.replace('\0', "");
        // An address refuses most of them; what is made without one is no danger either.
        let _ = format!("adb://{serial}").parse::<Address>();
        let said = adb(&board, &serial).run("give", &["9", "/dev/null"], LIMIT).expect("answers");
        prop_assert_eq!(said.status, 0);
        prop_assert_eq!(fs::read_to_string(board.path().join("serial")).expect("written"), serial);
        prop_assert!(!is_obeyed(&board));
    });
}

#[test]
fn addresses_are_refused_or_reach_their_host() {
    let board = board(Path::new("/usr/bin:/bin"));
    // As ssh: options up to `--`, a host, and words that are joined with spaces for a shell there. Some
    // configurations give the host's name to a shell here; this one does, too.
    let text = format!(
        "#!/bin/sh\ncd '{0}'\nuser=\nwhile [ $# -gt 0 ] && [ \"$1\" != -- ]; do\n\
         if [ \"$1\" = -l ]; then user=$2; fi\nif [ \"$1\" = -O ]; then exit 0; fi\nshift; done\n\
         printf '%s\\n%s' \"$user\" \"$2\" > host\nsh -c \"true $user $2\"\nshift 2\nexec sh -c \"$*\"\n",
        board.path().display()
    );
    write_program(&board.path().join("ssh"), &text);
    let part = prop_oneof![3 => "[a-z0-9.-]{1,12}", 2 => hostile()];
    let n_reached = std::cell::Cell::new(0);
    proptest!(config(CASES), |(user in part.clone(), host in part, port in 0u32..70_000)| {
        let text = format!("ssh://{user}@{host}:{port}");
        if let Ok(address) = text.parse::<Address>() {
            let shown = address.to_string();
            prop_assert_eq!(shown.parse::<Address>(), Ok(address.clone()));
            let Address::Ssh { user, host, .. } = &address else { panic!("{address:?}") };
            let expected = format!("{}\n{host}", user.as_deref().unwrap_or_default());
            let mut ssh = Ssh::new(address);
            (ssh.program, ssh.host_keys) = (board.path().join("ssh"), HostKeys::Known);
            let said = ssh.run("give", &["9", "/dev/null"], LIMIT).expect("answers");
            prop_assert_eq!(said.status, 0);
            prop_assert_eq!(fs::read_to_string(board.path().join("host")).expect("written"), expected);
            n_reached.set(n_reached.get() + 1);
        }
        prop_assert!(!is_obeyed(&board));
    });
    assert!(CASES / 10 < n_reached.get(), "only {n_reached:?} were addresses at all");
}

#[test]
fn whole_measurements_with_hostile_names() {
    let board = board(Path::new("/usr/bin:/bin"));
    let path = reference_model(board.path());
    for text in ["'; touch canary; '", "$(touch canary)", "a\ntouch canary\n", "-rf / \"`touch canary`\"", "--lock"] {
        let mut remote = remote(Box::new(adb(&board, text)), agent());
        (remote.name, remote.target) = (text.to_owned(), text.to_owned());
        // A line of what the board tells holds no line break, and so no folder may.
        let folder = board.path().join(text.replace(['/', '\n'], " "));
        remote.folder = Some(folder.display().to_string());
        let measured = remote.measure(&path, &brief()).expect("measured");
        assert_eq!((measured.device.as_str(), measured.target.as_str()), (text, text));
        assert_eq!(remote.connect().expect("reached").folder, folder.display().to_string());
        assert_eq!(remote.clean().expect("cleaned").len(), 1);
        assert!(!folder.exists() && !is_obeyed(&board), "{text:?}");
    }
}

#[test]
fn addresses_are_understood() {
    let check = |text: &str, expected: Option<(&str, Option<&str>, Option<u16>)>| {
        let parsed = text.parse::<Address>();
        let found = match &parsed {
            Ok(Address::Ssh { user, host, port }) => Some((host.as_str(), user.as_deref(), *port)),
            Ok(Address::Adb { serial }) => Some((serial.as_str(), None, None)),
            Err(error) => {
                assert!(error.to_string().contains("ssh://USER@HOST"), "{error}");
                None
            }
        };
        assert_eq!(found, expected, "{text}");
    };
    check("ssh://pi@raspberrypi.local", Some(("raspberrypi.local", Some("pi"), None)));
    check("ssh://pi@10.0.0.7:2222/", Some(("10.0.0.7", Some("pi"), Some(2222))));
    check("ssh://board", Some(("board", None, None)));
    check("ssh://pi@[fe80::1%eth0]:22", Some(("fe80::1%eth0", Some("pi"), Some(22))));
    check("ssh://[::1]", Some(("::1", None, None)));
    check("adb://emulator-5554", Some(("emulator-5554", None, None)));
    check("adb://192.168.1.5:5555", Some(("192.168.1.5:5555", None, None)));
    for wrong in [
        "",
        "pi@board",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@board",
        "ssh://a b",
        "ssh://pi@board:0",
        "ssh://pi@board:99999",
        "ssh://pi@board:x",
        "ssh://pi@fe80::1",
        "ssh://pi@[::1",
        "ssh://pi@[::1]x",
        "ssh://pi:secret@board",
        "adb://",
        "adb://-d",
        "adb://a b",
        "http://board",
    ] {
        check(wrong, None);
    }
}
