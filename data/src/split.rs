//! Seeded, stratified division of a part into training and validation images or clips.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use crate::keyed;
use crate::part::{Part, first_of_group};
use crate::{DataError, Task};

/// How many images or clips to set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A share of all, between 0 and 1, rounded to whole ones.
    Fraction(f64),
    /// That many images.
    Count(usize),
}

impl Amount {
    /// The number of images, of `n`.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Fraction(fraction) => (fraction * n as f64).round() as usize,
            Self::Count(count) => count,
        }
    }
}

/// Divides a part into training and validation indices, both ascending: every image is in exactly
/// one of them, and each class gives its share, to within one image.
///
/// Where records have [groups](Part::groups), every group is on one side: a network is not validated on voices that it
/// was trained on. Shares are then only as close as whole groups allow. A single group is divided all the same.
///
/// Text is not shuffled: its end validates, or what came with it for that, whatever the amount.
///
/// The same labels, amount and seed give the same split on every machine. An error when a side
/// would be empty.
pub fn split(part: &Part, validation: Amount, seed: u64) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let n = part.len();
    // Text that came with a validation part is divided already.
    if let Some(given) = part.text.as_ref().map(|text| text.n_validation).filter(|given| 0 < *given) {
        return Ok(((0..n - given).collect(), (n - given..n).collect()));
    }
    let problem = match validation {
        Amount::Fraction(fraction) if !(0.0 < fraction && fraction < 1.0) => {
            Some("a fraction lies between 0 and 1".to_owned())
        }
        Amount::Fraction(_) | Amount::Count(_) if validation.of(n) == 0 => {
            Some(format!("that is no {}", part.noun().trim_end_matches('s')))
        }
        Amount::Fraction(_) | Amount::Count(_) if validation.of(n) >= n => {
            Some("none would be left to train on".to_owned())
        }
        Amount::Fraction(_) | Amount::Count(_) => None,
    };
    if let Some(problem) = problem {
        return Err(DataError::Split { asked: validation.to_string(), n, what: part.noun(), problem });
    }
    if part.text.is_some() {
        let left = n - validation.of(n);
        return Ok(((0..left).collect(), (left..n).collect()));
    }
    // What has many labels a record is of no one class.
    let alike;
    let labels = match part.task {
        Task::Classification => &part.labels,
        Task::Segmentation | Task::Language => {
            alike = vec![0; n];
            &alike
        }
    };
    Ok(divide(labels, &part.groups, validation.of(n), seed, "data/split"))
}

/// Takes `count` of the records, or groups of about as many; returns (left, taken), both ascending.
pub(crate) fn divide(
    labels: &[u32],
    groups: &[String],
    count: usize,
    seed: u64,
    purpose: &str,
) -> (Vec<usize>, Vec<usize>) {
    let firsts = first_of_group(groups);
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (idx, first) in firsts.into_iter().enumerate() {
        members.entry(first).or_default().push(idx);
    }
    // Without a group of two, or with one group alone, there is nothing to keep together.
    if members.len() < 2 || members.len() == labels.len() {
        return stratified(labels, count, seed, purpose);
    }
    grouped(labels, members.into_values().collect(), count, seed, purpose)
}

/// Takes whole groups, in random order: each that brings the classes nearer to their shares. At least one is taken and
/// at least one is left.
fn grouped(
    labels: &[u32],
    mut groups: Vec<Vec<usize>>,
    count: usize,
    seed: u64,
    purpose: &str,
) -> (Vec<usize>, Vec<usize>) {
    let n_classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let counts = |records: &[usize]| {
        let mut counts = vec![0; n_classes];
        for &idx in records {
            counts[labels[idx] as usize] += 1;
        }
        counts
    };
    let all: Vec<usize> = (0..labels.len()).collect();
    let mut wanted: Vec<isize> = apportion(&counts(&all), count).into_iter().map(|share| share as isize).collect();
    let distance = |wanted: &[isize], group: &[usize]| -> usize {
        wanted.iter().zip(counts(group)).map(|(wanted, n)| wanted.abs_diff(n as isize)).sum()
    };
    keyed::shuffle(&mut keyed::rng(seed, purpose, 0), &mut groups);
    let (mut left, mut taken): (Vec<Vec<usize>>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    for group in groups {
        if distance(&wanted, &group) < distance(&wanted, &[]) {
            for &idx in &group {
                wanted[labels[idx] as usize] -= 1;
            }
            taken.push(group);
        } else {
            left.push(group);
        }
    }
    if taken.is_empty() {
        // All are too large: the one that overshoots least, the first of the shuffled on a tie.
        let nearest = (0..left.len()).min_by_key(|&nth| distance(&wanted, &left[nth])).unwrap_or(0);
        taken.push(left.remove(nearest));
    }
    if left.is_empty() {
        left.extend(taken.pop());
    }
    let flat = |groups: Vec<Vec<usize>>| {
        let mut records = groups.concat();
        records.sort_unstable();
        records
    };
    (flat(left), flat(taken))
}

/// Takes `count` of the images, by class; returns (left, taken), both ascending.
pub(crate) fn stratified(labels: &[u32], count: usize, seed: u64, purpose: &str) -> (Vec<usize>, Vec<usize>) {
    let n_classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
    let mut members = vec![Vec::new(); n_classes];
    for (idx, &label) in labels.iter().enumerate() {
        members[label as usize].push(idx);
    }
    let shares = apportion(&members.iter().map(Vec::len).collect::<Vec<_>>(), count.min(labels.len()));
    let (mut left, mut taken) = (Vec::new(), Vec::new());
    for (class, (mut members, share)) in members.into_iter().zip(shares).enumerate() {
        // Keyed by class: what one class draws does not depend on the size of another.
        keyed::shuffle(&mut keyed::rng(seed, purpose, class as u64), &mut members);
        left.extend_from_slice(&members[share..]);
        taken.extend_from_slice(&members[..share]);
    }
    left.sort_unstable();
    taken.sort_unstable();
    (left, taken)
}

/// Divides `count` among classes in proportion to their sizes: the whole parts first, then one
/// each to the largest remainders, the lower class first on a tie (Hamilton's method). Among the
/// classes with a remainder, one that would give its last image comes last, so that a rare class
/// stays trainable where that is possible.
fn apportion(sizes: &[usize], count: usize) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|&size| size as u128).sum::<u128>().max(1);
    let exact = |size: usize| size as u128 * count as u128;
    let mut shares: Vec<usize> = sizes.iter().map(|&size| (exact(size) / total) as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&class| {
        let remainder = exact(sizes[class]) % total;
        (remainder == 0, shares[class] + 1 >= sizes[class], Reverse(remainder))
    });
    let rest = count - shares.iter().sum::<usize>();
    for &class in order.iter().take(rest) {
        shares[class] += 1;
    }
    shares
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => write!(f, "a share of {fraction}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}
