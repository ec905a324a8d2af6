//! Fetches known data sets: resumed when cut, checked before use, in place only when complete.
//!
//! Everything happens in `INTO/NAME.part/`. Each file is written to `FILE.part` and gets its name
//! when its SHA-256 is the published one; the folder gets the name `INTO/NAME` when all files are
//! there. So a folder of that name is complete, whatever was killed before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use tar::EntryType;
use ureq::Agent;
use ureq::http::Response;

use crate::DataError;
use crate::catalogue::{CATALOGUE, Listed, Origin, listed};
use crate::hash::sha256_file;

/// What a server holds of a data set.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// The address before `/FILE`.
    pub base: &'a str,
    /// The files, in the order they are fetched.
    pub files: &'a [Remote<'a>],
    /// Names of the classes, written as `classes.txt` when the files themselves have none.
    pub class_names: &'a [&'a str],
}

/// One file on a server.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// Its name, there and here.
    pub name: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, as 64 lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// Whether it is a `.tar.gz` whose content is wanted instead.
    pub archive: bool,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file at hand.
    pub file: &'a str,
    /// What is done with it.
    pub step: Step,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes there will be.
    pub total: u64,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is coming over the network.
    Fetch,
    /// Its hash is compared.
    Verify,
    /// Its content is written out.
    Unpack,
    /// It was here already.
    Present,
}

/// Attempts a file gets in one call; each goes on where the last was cut.
const ATTEMPTS: usize = 3;

/// No known archive unpacks to more (CIFAR-10: 184 MB in 8 files).
const MAX_UNPACKED: u64 = 1 << 30;

/// Fetches a set of the catalogue into `into/NAME` and returns that folder. One that is there
/// already is left as it is.
pub fn get(name: &str, into: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DataError> {
    let Some(Listed { origin, .. }) = listed(name) else {
        let names: Vec<&str> = CATALOGUE.iter().map(|listed| listed.name).collect();
        return Err(DataError::Unknown { name: name.into(), known: names.join(", ") });
    };
    match origin {
        Origin::Download(download) => fetch(name, download, into, progress),
        Origin::FashionTiny | Origin::Optdigits => Err(DataError::NotDownloadable { name: name.into() }),
    }
}

/// Fetches what `download` describes into `into/NAME` and returns that folder.
pub fn fetch(
    name: &str,
    download: &Download<'_>,
    into: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, DataError> {
    let done = into.join(name);
    if done.is_dir() {
        progress(Progress { file: name, step: Step::Present, done: 0, total: 0 });
        return Ok(done);
    }
    let work = into.join(format!("{name}.part"));
    fs::create_dir_all(&work).map_err(DataError::io(&work))?;
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        // The packed bytes are wanted, not what a transparent decoder makes of them.
        .accept_encoding("identity")
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build()
        .into();
    for remote in download.files {
        fetch_file(&agent, download.base, remote, &work, progress)?;
    }
    for remote in download.files.iter().filter(|remote| remote.archive) {
        let archive = work.join(remote.name);
        progress(Progress { file: remote.name, step: Step::Unpack, done: 0, total: remote.bytes });
        unpack(&archive, &work, MAX_UNPACKED)?;
        fs::remove_file(&archive).map_err(DataError::io(&archive))?;
    }
    if !download.class_names.is_empty() {
        let path = work.join("classes.txt");
        fs::write(&path, download.class_names.join("\n") + "\n").map_err(DataError::io(&path))?;
    }
    fs::rename(&work, &done).map_err(DataError::io(&done))?;
    Ok(done)
}

/// Writes the files of a `.tar.gz` into `into`, without their common top folder.
///
/// Nothing but regular files below `into` is ever written: an entry that is a link or a device, or
/// whose path is absolute or climbs, is an error, and so are more than `max_bytes` in all.
pub fn unpack(archive: &Path, into: &Path, max_bytes: u64) -> Result<(), DataError> {
    let refuse = |entry: String, problem: String| DataError::Archive { path: archive.to_path_buf(), entry, problem };
    let file = File::open(archive).map_err(DataError::io(archive))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    let damaged = |entry: String, error: &io::Error| refuse(entry, format!("the archive is damaged ({error})"));
    let mut left = max_bytes;
    for (number, entry) in tar.entries().map_err(|error| damaged("0".into(), &error))?.enumerate() {
        let mut entry = entry.map_err(|error| damaged(number.to_string(), &error))?;
        let path = entry.path().map_err(|error| damaged(number.to_string(), &error))?.into_owned();
        let shown = path.display().to_string();
        let parts = safe_parts(&path).map_err(|problem| refuse(shown.clone(), problem))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            other => return Err(refuse(shown, format!("it is neither file nor folder but {other:?}"))),
        }
        let inner = if parts.len() > 1 { &parts[1..] } else { &parts[..] };
        let target = into.join(inner.iter().collect::<PathBuf>());
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(DataError::io(folder))?;
        }
        let file = File::create(&target).map_err(DataError::io(&target))?;
        let mut file = BufWriter::new(file);
        let written = io::copy(&mut (&mut entry).take(left.saturating_add(1)), &mut file)
            .and_then(|written| file.flush().map(|()| written));
        let written = written.map_err(|error| damaged(shown.clone(), &error))?;
        left = left
            .checked_sub(written)
            .ok_or_else(|| refuse(shown, format!("the archive holds more than {max_bytes} bytes")))?;
    }
    Ok(())
}

/// Brings one file to `work/NAME`, its hash compared.
fn fetch_file(
    agent: &Agent,
    base: &str,
    remote: &Remote<'_>,
    work: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    let url = format!("{}/{}", base.trim_end_matches('/'), remote.name);
    let (target, part) = (work.join(remote.name), work.join(format!("{}.part", remote.name)));
    if target.is_file() {
        // It has its name, so it was right; an earlier call was cut at a later file.
        progress(Progress { file: remote.name, step: Step::Present, done: remote.bytes, total: remote.bytes });
        return Ok(());
    }
    let mut attempt = 1;
    while size(&part)? != remote.bytes {
        match transfer(agent, &url, remote, &part, progress) {
            Ok(()) => {}
            Err(DataError::Network { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
    progress(Progress { file: remote.name, step: Step::Verify, done: remote.bytes, total: remote.bytes });
    let found = sha256_file(&part)?;
    if found != remote.sha256 {
        return Err(mismatch(url, remote, &part, found));
    }
    fs::rename(&part, &target).map_err(DataError::io(&target))
}

/// One request: appends to `part` what the server sends from its end on, or starts over when the
/// server cannot do that.
fn transfer(
    agent: &Agent,
    url: &str,
    remote: &Remote<'_>,
    part: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DataError> {
    let network = |problem: String, kept: u64| DataError::Network { url: url.to_owned(), problem, kept };
    let mut have = size(part)?;
    if have > remote.bytes {
        have = 0;
    }
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| network(error.to_string(), have))?;
    let resumes = have > 0 && response.status() == 206 && range_start(&response) == Some(have);
    match response.status().as_u16() {
        206 if resumes => {}
        200 => {
            have = 0;
            // Better to know before 170 MB than after.
            if let Some(length) = response.body().content_length().filter(|&length| length != remote.bytes) {
                return Err(mismatch(url.to_owned(), remote, part, format!("that of a file of {length} bytes")));
            }
        }
        206 | 416 => {
            // What is here does not fit what is there: start over with the next attempt.
            remove(part)?;
            return Err(network("the server refused to go on where the file was cut".into(), 0));
        }
        status => return Err(DataError::Status { url: url.to_owned(), status }),
    }
    let mut options = OpenOptions::new();
    let options = if resumes { options.append(true) } else { options.write(true).create(true).truncate(true) };
    let mut file = options.open(part).map_err(DataError::io(part))?;
    // One byte more than is right shows that the file is another one.
    let mut body = response.into_body().into_reader().take(remote.bytes - have + 1);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(network(error.to_string(), have)),
        };
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(DataError::io(part))?;
        have += n as u64;
        progress(Progress { file: remote.name, step: Step::Fetch, done: have, total: remote.bytes });
    }
    file.sync_all().map_err(DataError::io(part))?;
    if have > remote.bytes {
        let found = format!("that of a file of more than {} bytes", remote.bytes);
        return Err(mismatch(url.to_owned(), remote, part, found));
    }
    if have < remote.bytes {
        return Err(network("the connection ended early".into(), have));
    }
    Ok(())
}

/// Deletes a file that is not the known one, and says so.
fn mismatch(url: String, remote: &Remote<'_>, part: &Path, found: String) -> DataError {
    match remove(part) {
        Ok(()) => DataError::Mismatch { url, expected: remote.sha256.to_owned(), found },
        Err(error) => error,
    }
}

/// Deletes a file, if there is one.
fn remove(path: &Path) -> Result<(), DataError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DataError::io(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a 206 answer starts: `Content-Range: bytes START-END/TOTAL`.
fn range_start<T>(response: &Response<T>) -> Option<u64> {
    let range = response.headers().get("Content-Range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Bytes of a file, 0 when there is none.
fn size(path: &Path) -> Result<u64, DataError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(DataError::io(path)(error)),
    }
}

/// The names along a relative path; an error for one that would leave the folder.
fn safe_parts(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(PathBuf::from(name)),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("its path leads out of the folder".into());
            }
        }
    }
    Ok(parts)
}
