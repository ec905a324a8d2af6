//! Downloads from a server of our own on the loopback address.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{fs, thread};

use data::download::{Download, Progress, Remote, Step, fetch, get, unpack};
use data::{DataError, Options, Source};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::files::{cifar, folder, gz, idx, refused};

/// How the server answers one request.
#[derive(Clone, Copy)]
enum Answer {
    /// As asked, with ranges.
    Whole,
    /// As asked, but the connection breaks after this many bytes of the body.
    Cut(usize),
    /// The whole file, whatever range was asked for.
    IgnoreRange,
    /// 206, but from byte 0 whatever was asked for.
    WrongRange,
    /// The whole file without its length, cut after this many bytes.
    Unannounced(usize),
    /// Only this status.
    Status(u16),
}

/// Serves these files; the n-th request gets the n-th answer, later ones the last. Returns the
/// base address and what was asked: path and range.
fn serve(files: Vec<(&'static str, Vec<u8>)>, answers: &'static [Answer]) -> (String, Receiver<(String, Option<u64>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address can be bound");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (sender, requests) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let answer = answers[number.min(answers.len() - 1)];
            // A client that hangs up in the middle is part of these tests.
            let _ = reply(stream, &files, answer, &sender);
        }
    });
    (base, requests)
}

fn reply(
    mut stream: TcpStream,
    files: &[(&'static str, Vec<u8>)],
    answer: Answer,
    requests: &Sender<(String, Option<u64>)>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().expect("a request has a first line")?;
    let path = first.split(' ').nth(1).expect("a request names a path").trim_start_matches('/').to_owned();
    let mut from = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    // Told before it is answered, so that the test knows of it once the client does.
    let _ = requests.send((path.clone(), from));
    let body = files.iter().find(|(name, _)| *name == path).map_or(&[][..], |(_, bytes)| bytes.as_slice());
    let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
    let partial = |from: usize| format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
    let start = usize::try_from(from.unwrap_or(0)).expect("small files");
    let (status, headers, body) = match answer {
        Answer::Status(status) => (status, length(&[]), &[][..]),
        Answer::IgnoreRange => (200, length(body), body),
        Answer::WrongRange => (206, length(body) + &partial(0), body),
        Answer::Unannounced(cut) => (200, String::new(), &body[..cut]),
        Answer::Whole if from.is_none() => (200, length(body), body),
        Answer::Cut(cut) if from.is_none() => (200, length(body), &body[..cut]),
        Answer::Whole => (206, length(&body[start..]) + &partial(start), &body[start..]),
        Answer::Cut(cut) => (206, length(&body[start..]) + &partial(start), &body[start..start + cut]),
    };
    write!(stream, "HTTP/1.1 {status} Test\r\nConnection: close\r\n{headers}\r\n")?;
    stream.write_all(body)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 300,000 bytes that gzip cannot shrink.
fn noise() -> Vec<u8> {
    let mut rng = data::keyed::rng(1, "noise", 0);
    (0..300_000).map(|_| data::keyed::below(&mut rng, 256) as u8).collect()
}

/// Fetches one file called `noise.bin` of these bytes into `into/set`.
fn fetch_noise(base: &str, into: &Path, expected: &[u8]) -> Result<PathBuf, DataError> {
    let sha256 = sha256(expected);
    let files = [Remote { name: "noise.bin", bytes: expected.len() as u64, sha256: &sha256, archive: false }];
    fetch("set", &Download { base, files: &files, class_names: &[] }, into, &mut |_| {})
}

fn into() -> TempDir {
    folder(&[])
}

#[test]
fn a_set_is_fetched_checked_and_readable() {
    let images = gz(&idx(&[10, 1, 1], &(0..10).collect::<Vec<u8>>()));
    let labels = gz(&idx(&[10], &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]));
    let names = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"];
    let (base, requests) = serve(vec![(names[0], images.clone()), (names[1], labels.clone())], &[Answer::Whole]);
    let hashes = [sha256(&images), sha256(&labels)];
    let remote = |n: usize, bytes: &[u8]| (names[n], bytes.len() as u64, n);
    let files = [remote(0, &images), remote(1, &labels)].map(|(name, bytes, n)| Remote {
        name,
        bytes,
        sha256: &hashes[n],
        archive: false,
    });
    let download = Download { base: &base, files: &files, class_names: &["cat", "dog"] };
    let dir = into();
    let mut steps = Vec::new();
    let mut note = |progress: Progress<'_>| {
        assert!(progress.done <= progress.total);
        steps.push(progress.step);
    };
    let path = fetch("pets", &download, dir.path(), &mut note).expect("the server is good");
    assert_eq!(path, dir.path().join("pets"));
    assert_eq!(fs::read_dir(dir.path()).expect("it is a folder").count(), 1, "nothing else is left");
    let source = Source::open(path.to_str().expect("UTF-8"), &Options::default()).expect("it opens");
    assert_eq!(source.classes, ["cat", "dog"]);
    assert_eq!(source.train().expect("it reads").len(), 8);
    // A second call asks nobody.
    fetch("pets", &download, dir.path(), &mut note).expect("it is there");
    assert_eq!(steps, [Step::Fetch, Step::Verify, Step::Fetch, Step::Verify, Step::Present]);
    assert_eq!(requests.try_iter().count(), 2);
}

#[test]
fn a_cut_connection_is_resumed() {
    // Within one call: cut after 100,000 bytes, then after 50,000 more, then the rest.
    let (base, requests) =
        serve(vec![("noise.bin", noise())], &[Answer::Cut(100_000), Answer::Cut(50_000), Answer::Whole]);
    let dir = into();
    let path = fetch_noise(&base, dir.path(), &noise()).expect("three attempts are enough");
    assert_eq!(fs::read(path.join("noise.bin")).expect("it is there"), noise());
    let asked: Vec<Option<u64>> = requests.try_iter().map(|(_, from)| from).collect();
    assert_eq!(asked, [None, Some(100_000), Some(150_000)]);
}

#[test]
fn a_later_call_goes_on_where_the_last_was_cut() {
    let dir = into();
    let (base, _requests) = serve(vec![("noise.bin", noise())], &[Answer::Cut(120_000), Answer::Status(503)]);
    refused(fetch_noise(&base, dir.path(), &noise()), &["noise.bin", "503"]);
    assert!(!dir.path().join("set").exists());
    let (base, requests) = serve(vec![("noise.bin", noise())], &[Answer::Whole]);
    fetch_noise(&base, dir.path(), &noise()).expect("the server is good again");
    assert_eq!(requests.try_iter().collect::<Vec<_>>(), [("noise.bin".to_owned(), Some(120_000))]);
}

#[test]
fn servers_that_cannot_resume_start_over() {
    for (answers, ranges) in [
        (&[Answer::Cut(100_000), Answer::IgnoreRange] as &[Answer], vec![None, Some(100_000)]),
        (&[Answer::Cut(100_000), Answer::WrongRange, Answer::Whole], vec![None, Some(100_000), None]),
        (&[Answer::Cut(100_000), Answer::Status(416), Answer::Whole], vec![None, Some(100_000), None]),
        (&[Answer::Unannounced(100_000), Answer::Whole], vec![None, Some(100_000)]),
        (&[Answer::Status(416), Answer::WrongRange, Answer::Whole], vec![None, None, None]),
    ] {
        let (base, requests) = serve(vec![("noise.bin", noise())], answers.to_vec().leak());
        let dir = into();
        let path = fetch_noise(&base, dir.path(), &noise()).expect("it starts over");
        assert_eq!(fs::read(path.join("noise.bin")).expect("it is there"), noise());
        assert_eq!(requests.try_iter().map(|(_, from)| from).collect::<Vec<_>>(), ranges);
    }
}

#[test]
fn a_part_that_is_too_long_is_started_over() {
    let (base, requests) = serve(vec![("noise.bin", noise())], &[Answer::Whole]);
    let dir = folder(&[("set.part/noise.bin.part", vec![7; 300_001])]);
    let path = fetch_noise(&base, dir.path(), &noise()).expect("it starts over");
    assert_eq!(fs::read(path.join("noise.bin")).expect("it is there"), noise());
    assert_eq!(requests.try_iter().map(|(_, from)| from).collect::<Vec<_>>(), [None]);
}

#[test]
fn another_file_is_refused() {
    // Same length, one other byte; and files of other lengths, announced or not.
    let mut other = noise();
    other[7] ^= 1;
    let longer = [noise(), vec![0]].concat();
    for (served, answer, text) in [
        (other, Answer::Whole, "is "),
        (longer.clone(), Answer::Whole, "a file of 300001 bytes"),
        (noise()[..9].to_vec(), Answer::Whole, "a file of 9 bytes"),
        (longer, Answer::Unannounced(300_001), "more than 300000 bytes"),
    ] {
        let (base, _requests) = serve(vec![("noise.bin", served)], vec![answer].leak());
        let dir = into();
        refused(fetch_noise(&base, dir.path(), &noise()), &["noise.bin", text, &sha256(&noise()), "deleted"]);
        assert!(!dir.path().join("set").exists());
        let left = fs::read_dir(dir.path().join("set.part")).expect("the work folder stays").count();
        assert_eq!(left, 0, "nothing of the wrong file is left");
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let (base, _requests) = serve(vec![], &[Answer::Status(404)]);
    let dir = into();
    refused(fetch_noise(&base, dir.path(), &noise()), &[&base, "404"]);
    assert!(!dir.path().join("set").exists());
    // Nobody listens on a port that was just closed.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("it was bound");
    refused(fetch_noise(&format!("http://{port}"), dir.path(), &noise()), &["run the same command again"]);
    refused(get("no-such-set", dir.path(), &mut |_| {}), &["no-such-set", "cifar10"]);
    refused(get("optdigits", dir.path(), &mut |_| {}), &["built in"]);
}

/// A `.tar.gz` of these entries: path, type, content.
fn tar_gz(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        // The builder refuses bad paths itself, so they are written past it.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if *kind == tar::EntryType::Symlink || *kind == tar::EntryType::Link {
            header.set_link_name("/etc/passwd").expect("a short name fits");
        }
        header.set_cksum();
        builder.append(&header, *content).expect("writing to memory cannot fail");
    }
    gz(&builder.into_inner().expect("writing to memory cannot fail"))
}

#[test]
fn an_archive_is_fetched_and_unpacked() {
    use tar::EntryType::{Directory, Regular};
    let names = b"cat\ndog\n";
    let archive = tar_gz(&[
        ("cifar-10-batches-bin/", Directory, &[]),
        ("cifar-10-batches-bin/batches.meta.txt", Regular, names),
        ("./cifar-10-batches-bin/data_batch_1.bin", Regular, &cifar(&[(&[0], 1), (&[1], 2)])),
        ("cifar-10-batches-bin/test_batch.bin", Regular, &cifar(&[(&[1], 3)])),
    ]);
    let (base, _requests) = serve(vec![("cifar.tar.gz", archive.clone())], &[Answer::Whole]);
    let hash = sha256(&archive);
    let files = [Remote { name: "cifar.tar.gz", bytes: archive.len() as u64, sha256: &hash, archive: true }];
    let dir = into();
    let download = Download { base: &base, files: &files, class_names: &[] };
    let path = fetch("cifar10", &download, dir.path(), &mut |_| {}).expect("the server is good");
    let options = Options { downloads: Some(dir.path().to_path_buf()), ..Options::default() };
    let source = Source::open("cifar10", &options).expect("it opens by name");
    assert_eq!((source.classes.len(), source.train().expect("it reads").len()), (2, 2));
    assert!(!path.join("cifar.tar.gz").exists(), "the archive is gone");
}

#[test]
fn dangerous_archives_are_refused() {
    use tar::EntryType::{Char, Fifo, Link, Regular, Symlink};
    let content = b"gotcha".as_slice();
    for (path, kind, content, text) in [
        ("../evil", Regular, content, "leads out of the folder"),
        ("set/../../evil", Regular, content, "leads out of the folder"),
        ("/tmp/evil", Regular, content, "leads out of the folder"),
        ("set/link", Symlink, &[], "neither file nor folder"),
        ("set/link", Link, &[], "neither file nor folder"),
        ("set/device", Char, &[], "neither file nor folder"),
        ("set/pipe", Fifo, &[], "neither file nor folder"),
        ("set/large", Regular, &[0; 5000], "more than 1000 bytes"),
    ] {
        let dir = folder(&[("a.tar.gz", tar_gz(&[("set/fine", Regular, b"fine"), (path, kind, content)]))]);
        let out = dir.path().join("deep/out");
        fs::create_dir_all(&out).expect("folders can be made");
        refused(unpack(&dir.path().join("a.tar.gz"), &out, 1000), &["a.tar.gz", path, text]);
        let mut inside: Vec<String> = fs::read_dir(&out)
            .expect("it is a folder")
            .map(|entry| entry.expect("it lists").file_name().to_string_lossy().into_owned())
            .collect();
        inside.retain(|name| name != "large");
        assert_eq!(inside, ["fine"], "{path}");
        assert_eq!(fs::read_dir(dir.path().join("deep")).expect("it is a folder").count(), 1);
    }
    let cut = tar_gz(&[("set/fine", Regular, &noise())]);
    let dir = folder(&[("a.tar.gz", cut[..cut.len() / 2].to_vec())]);
    refused(unpack(&dir.path().join("a.tar.gz"), dir.path(), 1 << 30), &["a.tar.gz", "damaged"]);
}
