//! Running text: its words, the vocabulary that they are told apart by, and segments of it, in which the next word is asked
//! after each word.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Read;

use crate::idx::file_name;
use crate::input::{Dir, Input};
use crate::part::Raw;
use crate::source::{Files, Format, Kind, Options, Source};
use crate::{DataError, IGNORED};

/// How text becomes what a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextOptions {
    /// Words that are told apart at most, [`UNKNOWN`] and [`END`] among them: the most frequent of the training text.
    pub vocabulary: usize,
    /// Words of a segment, which gradients pass through.
    pub segment: usize,
}

impl Default for TextOptions {
    /// As Penn TreeBank is used: 10,000 words, and gradients through 35.
    fn default() -> Self {
        Self { vocabulary: 10_000, segment: 35 }
    }
}

/// The class of every word that is not of the vocabulary.
pub const UNKNOWN: &str = "<unk>";

/// The word that ends a line or a paragraph.
pub const END: &str = "<eos>";

/// Segments of running text, one after the other.
///
/// # Shapes
/// - `words`: `[n, places]`, each the number of a class; what follows each is the part's label there
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The words.
    pub words: Vec<u32>,
    /// So many of the last segments are the validation text that came with the set; 0 where none did.
    pub n_validation: usize,
}

impl Text {
    /// The words of one segment.
    pub fn segment(&self, idx: usize, places: usize) -> &[u32] {
        &self.words[idx * places..(idx + 1) * places]
    }
}

/// Streams that a text is read in while it is scored. Each begins without knowing what stands before it: few are read.
pub const SCORING_STREAMS: usize = 10;

/// Segments in such an order that every `n_streams` of them are a batch, and the next batch goes on, row by row, where it
/// stopped: the text is cut into as many streams, read side by side. Where the text does not divide, the last rows of the
/// last batch are missing.
pub fn streams(segments: &[usize], n_streams: usize) -> Vec<usize> {
    let n_streams = n_streams.clamp(1, segments.len().max(1));
    let (each, longer) = (segments.len() / n_streams, segments.len() % n_streams);
    let start = |stream: usize| stream * each + stream.min(longer);
    let rows = |step: usize| if step < each { n_streams } else { longer };
    let of_step = |step: usize| (0..rows(step)).map(move |stream| start(stream) + step);
    (0..=each).flat_map(of_step).map(|idx| segments[idx]).collect()
}

/// Where words end and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convention {
    /// Penn TreeBank as T. Mikolov prepared it: ready-made words, a sentence a line.
    Penn,
    /// Anything else: words are what white space divides, in lower case; an empty line ends a paragraph.
    Prose,
}

/// The files of a text, and the numbers of its words.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    train: Input,
    validation: Option<Input>,
    test: Input,
    convention: Convention,
    segment: usize,
    numbers: HashMap<String, u32>,
    /// Words of the training text, ends counted.
    n_words: usize,
}

/// Words of Penn TreeBank's training text, ends counted, and of its vocabulary.
pub const PENN: [usize; 2] = [929_589, 10_000];

/// Finds `train.txt` and `test.txt`, with `valid.txt` beside them where there is one, or the same as `ptb.train.txt`.
pub(crate) fn detect(dir: &Dir, options: &Options) -> Result<Option<Source>, DataError> {
    for (prefix, convention) in [("ptb.", Convention::Penn), ("", Convention::Prose)] {
        let find = |part: &str| {
            let name = format!("{prefix}{part}.txt");
            dir.inputs(|it| it == name).map(|found| found.into_iter().next())
        };
        let Some(train) = find("train")? else { continue };
        let Some(test) = find("test")? else {
            let problem =
                format!("beside `{prefix}train.txt` there is no `{prefix}test.txt`; put some pages aside as one");
            return Err(DataError::Unrecognised { path: dir.path.clone(), problem });
        };
        let validation = find("valid")?;
        return open(dir, options.text, [train, test], validation, convention).map(Some);
    }
    Ok(None)
}

/// Whether the folder has a training text.
pub(crate) fn is_here(dir: &Dir) -> bool {
    let is_train = |name: &str| matches!(name, "train.txt" | "ptb.train.txt");
    dir.inputs(is_train).is_ok_and(|found| !found.is_empty())
}

fn open(
    dir: &Dir,
    options: TextOptions,
    [train, test]: [Input; 2],
    validation: Option<Input>,
    convention: Convention,
) -> Result<Source, DataError> {
    let TextOptions { vocabulary, segment } = options;
    let refuse = |problem: String| Err(DataError::Text { problem });
    if vocabulary < FEWEST_WORDS || u32::try_from(vocabulary).is_err() {
        return refuse(format!("a vocabulary has at least {FEWEST_WORDS} words, {UNKNOWN} and {END} among them"));
    }
    if segment == 0 {
        return refuse("a segment has at least one word".into());
    }
    let words = words(&train, convention)?;
    let n_words = words.len();
    let classes = most_frequent(words, vocabulary);
    let numbers = classes.iter().cloned().zip(0..).collect();
    let mut notes = Vec::new();
    if convention == Convention::Penn {
        notes.push(if [n_words, classes.len()] == PENN {
            "this is Penn TreeBank, by its words and its vocabulary".to_owned()
        } else {
            let [words, types] = PENN;
            format!(
                "the files are called as Penn TreeBank's, but have {n_words} training words of {} where it has {words} of \
                 {types}: figures cannot be compared",
                classes.len()
            )
        });
    }
    Ok(Source {
        name: file_name(&dir.path),
        path: dir.path.clone(),
        format: Format::Text,
        kind: Kind::Text,
        shape: [1, 1, segment],
        front_end: None,
        classes,
        held_out: false,
        skipped: 0,
        notes,
        files: Files::Text(Texts { train, validation, test, convention, segment, numbers, n_words }),
    })
}

/// The two special ones, and one to tell apart from them.
const FEWEST_WORDS: usize = 3;

impl Texts {
    /// The training text, and what validates behind it.
    pub(crate) fn read_train(&self) -> Result<Raw, DataError> {
        let mut raw = self.read(&self.train)?;
        if let Some(validation) = &self.validation {
            let more = self.read(validation)?;
            raw.labels.extend(more.labels);
            if let (Some(text), Some(more)) = (&mut raw.text, more.text) {
                text.n_validation = more.words.len() / self.segment;
                text.words.extend(more.words);
            }
        }
        Ok(raw)
    }

    pub(crate) fn read_test(&self) -> Result<Raw, DataError> {
        self.read(&self.test)
    }

    /// Whether this is the text of the printed figures.
    pub(crate) fn is_penn_treebank(&self) -> bool {
        self.convention == Convention::Penn && [self.n_words, self.numbers.len()] == PENN
    }

    fn read(&self, input: &Input) -> Result<Raw, DataError> {
        let number = |word: String| self.numbers.get(&word).copied().unwrap_or(0);
        let numbers: Vec<u32> = words(input, self.convention)?.into_iter().map(number).collect();
        let Some((_, after)) = numbers.split_first().filter(|(_, after)| !after.is_empty()) else {
            let problem = "a text has two words at least".into();
            return Err(DataError::Unrecognised { path: input.path().to_path_buf(), problem });
        };
        let (mut words, mut labels) = (numbers[..after.len()].to_vec(), after.to_vec());
        // The last segment is as long as the others; nothing is asked behind the end.
        let n = words.len().next_multiple_of(self.segment);
        words.resize(n, 0);
        labels.resize(n, IGNORED);
        Ok(Raw { text: Some(Text { words, n_validation: 0 }), ..Raw::images([1, 1, self.segment], Vec::new(), labels) })
    }
}

/// The words of a file in their order.
fn words(input: &Input, convention: Convention) -> Result<Vec<String>, DataError> {
    let mut bytes = Vec::new();
    input.open()?.read_to_end(&mut bytes).map_err(|error| crate::input::unreadable(input.path(), 0, error))?;
    let text = String::from_utf8(bytes).map_err(|error| DataError::Corrupt {
        path: input.path().to_path_buf(),
        offset: error.utf8_error().valid_up_to() as u64,
        problem: "text is UTF-8; convert it, as with `iconv -t UTF-8`".into(),
    })?;
    let mut words: Vec<String> = Vec::new();
    let end = |words: &mut Vec<String>| {
        if words.last().is_some_and(|word| word != END) {
            words.push(END.to_owned());
        }
    };
    for line in text.lines() {
        match convention {
            Convention::Penn => {
                words.extend(line.split_whitespace().map(str::to_owned));
                words.push(END.to_owned());
            }
            Convention::Prose if line.trim().is_empty() => end(&mut words),
            Convention::Prose => words.extend(line.split_whitespace().map(str::to_lowercase)),
        }
    }
    if convention == Convention::Prose {
        end(&mut words);
    }
    Ok(words)
}

/// [`UNKNOWN`], [`END`], and then the others, the most frequent first; of equals the first of the alphabet.
fn most_frequent(words: Vec<String>, vocabulary: usize) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    let mut counted: Vec<(String, usize)> =
        counts.into_iter().filter(|(word, _)| word != UNKNOWN && word != END).collect();
    counted.sort_unstable_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    let special = [UNKNOWN, END].map(str::to_owned);
    special.into_iter().chain(counted.into_iter().map(|(word, _)| word)).take(vocabulary).collect()
}
