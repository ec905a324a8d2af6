//! Where a format's bytes come from: a file, a gzip file, or this program itself.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::DataError;

/// A stream of bytes with a name for messages. Names ending in `.gz` are unpacked on the way.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A file.
    File(PathBuf),
    /// Bytes that ship inside the program.
    Embedded {
        /// The file they were.
        name: &'static str,
        /// Their content.
        bytes: &'static [u8],
    },
}

impl Input {
    /// The file to name in a message.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Embedded { name, .. } => Path::new(name),
        }
    }

    /// The unpacked bytes, from the first.
    pub(crate) fn open(&self) -> Result<Box<dyn Read>, DataError> {
        let packed: Box<dyn Read> = match self {
            Self::File(path) => Box::new(File::open(path).map_err(DataError::io(path))?),
            Self::Embedded { bytes, .. } => Box::new(*bytes),
        };
        if self.path().extension().is_some_and(|extension| extension == "gz") {
            return Ok(Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(packed)))));
        }
        Ok(Box::new(BufReader::with_capacity(1 << 16, packed)))
    }
}

/// The visible content of a folder, sorted by name so that nothing depends on the file system.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The folder.
    pub(crate) path: PathBuf,
    /// Its regular files.
    pub(crate) files: Vec<Entry>,
    /// Its folders.
    pub(crate) folders: Vec<Entry>,
    /// Hidden entries, and those that are neither file nor folder.
    pub(crate) skipped: usize,
}

/// A file or folder in a [`Dir`].
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// Its full path.
    pub(crate) path: PathBuf,
}

impl Dir {
    /// Lists a folder; links are followed.
    pub(crate) fn list(path: &Path) -> Result<Self, DataError> {
        let mut dir = Self { path: path.to_path_buf(), files: Vec::new(), folders: Vec::new(), skipped: 0 };
        for entry in fs::read_dir(path).map_err(DataError::io(path))? {
            let path = entry.map_err(DataError::io(path))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
                let problem = "this name is not valid UTF-8; rename it".into();
                return Err(DataError::Unrecognised { path, problem });
            };
            if name.starts_with('.') {
                dir.skipped += 1;
                continue;
            }
            let metadata = fs::metadata(&path).map_err(DataError::io(&path))?;
            if metadata.is_dir() {
                dir.folders.push(Entry { name, path });
            } else if metadata.is_file() {
                dir.files.push(Entry { name, path });
            } else {
                dir.skipped += 1;
            }
        }
        dir.files.sort_by(|a, b| a.name.cmp(&b.name));
        dir.folders.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dir)
    }

    /// The files whose name without `.gz` is wanted; an unpacked file wins over its packed twin.
    /// When all that is wanted is packed as `.xz`, that is the error.
    pub(crate) fn inputs(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Input>, DataError> {
        let mut found: Vec<Input> = Vec::new();
        for file in &self.files {
            match file.name.strip_suffix(".gz") {
                Some(plain) if self.files.iter().any(|other| other.name == plain) => {}
                Some(plain) if wanted(plain) => found.push(Input::File(file.path.clone())),
                None if wanted(&file.name) => found.push(Input::File(file.path.clone())),
                Some(_) | None => {}
            }
        }
        if found.is_empty() {
            let packed = |file: &&Entry| file.name.strip_suffix(".xz").is_some_and(&wanted);
            if let Some(file) = self.files.iter().find(packed) {
                return Err(DataError::Packed { path: file.path.clone() });
            }
        }
        Ok(found)
    }

    /// The lines of a text file of class names, or nothing when there is no such file.
    pub(crate) fn class_names(&self, name: &str) -> Result<Option<Vec<String>>, DataError> {
        let Some(file) = self.files.iter().find(|file| file.name == name) else {
            return Ok(None);
        };
        let text = fs::read_to_string(&file.path).map_err(DataError::io(&file.path))?;
        let names: Vec<String> =
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        if names.is_empty() {
            return Err(DataError::Empty { path: file.path.clone() });
        }
        Ok(Some(names))
    }
}

/// Reads until `buffer` is full or the stream ends; returns how many bytes there were.
/// `offset` is where the buffer starts in the stream, for the message.
pub(crate) fn fill(path: &Path, reader: &mut impl Read, offset: u64, buffer: &mut [u8]) -> Result<usize, DataError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, offset + filled as u64, error)),
        }
    }
    Ok(filled)
}

/// Tells a damaged gzip stream, which the decoder reports as bad input, from a failing disk.
pub(crate) fn unreadable(path: &Path, offset: u64, error: io::Error) -> DataError {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => DataError::Corrupt {
            path: path.to_path_buf(),
            offset,
            problem: format!("the gzip stream is damaged or cut off ({error})"),
        },
        _ => DataError::Io { path: path.to_path_buf(), source: error },
    }
}
