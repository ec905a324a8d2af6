//! What it takes to get the same result again, and to know that it is the same.

use search::space::Task;

use crate::{
    receipt::Receipt,
    score::{noun, records},
};

/// Labels and values, in the order of reading.
pub(super) type Facts = Vec<(String, String)>;

/// Seed, time, strategy and agreement.
pub(super) fn run(receipt: &Receipt) -> Facts {
    let trials: Vec<String> = receipt.trials.iter().map(|(name, n)| format!("{n} of {name}")).collect();
    let parity = format!(
        "logits of trainer and runtime differ by at most {:.1e} over {} {}",
        receipt.parity.max_difference,
        receipt.parity.images,
        noun(&receipt.scale)
    );
    let facts = [
        ("Seed", receipt.seed.to_string()),
        ("Strategy", receipt.strategy.clone()),
        ("Trials", trials.join(", ")),
        ("Target", format!("{}: {}", receipt.target, receipt.target_title)),
        ("Device", receipt.device.clone().unwrap_or_else(|| "none".to_owned())),
        ("Network", receipt.scale.describe()),
        ("Agreement", parity),
        ("Written", date(receipt.written_at)),
    ];
    facts.into_iter().map(|(label, text)| (label.to_owned(), text)).collect()
}

/// The data set, without its classes.
pub(super) fn data(receipt: &Receipt) -> Facts {
    let (card, noun) = (&receipt.data, noun(&receipt.scale));
    let channels = |values: &[f32]| values.iter().map(|it| format!("{it:.4}")).collect::<Vec<_>>().join(", ");
    let [depth, height, width] = card.shape;
    let records = records(&receipt.scale);
    let facts = [
        ("Name", card.name.clone()),
        match &receipt.scale.front_end {
            _ if receipt.scale.task == Task::Language => ("Text", format!("segments of {width} words")),
            None => {
                ("Images", format!("{width} × {height}, {depth} {}", if depth == 1 { "channel" } else { "channels" }))
            }
            Some(front_end) => ("Clips", format!("{height} × {width}, {front_end}, made by the model itself")),
        },
        ("Classes", card.classes.len().to_string()),
        ("Training part", format!("{} {records} that weights learned from", card.train)),
        ("Validation part", format!("{} {records} that choices were made by", card.validation)),
        ("Test part", format!("{} {noun}, used for the final score alone", card.test)),
        ("Mean of each channel", channels(&card.mean)),
        ("Standard deviation", channels(&card.std)),
        ("SHA-256 of the training part", card.sha256.clone()),
    ];
    // Of words there is no mean.
    let facts = facts.into_iter().filter(|(_, text)| !text.is_empty());
    facts.map(|(label, text)| (label.to_owned(), text)).collect()
}

/// `2026-11-22 04:05 UTC` for seconds since 1970.
pub(super) fn date(seconds: u64) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // Every 400 years the calendar repeats.
    let (mut year, mut day) = (1970 + days / 146_097 * 400, days % 146_097);
    while 365 + u64::from(is_leap(year)) <= day {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", day + 1, minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N`.
        let check = |seconds: u64, expected: &str| assert_eq!(date(seconds), expected);
        check(0, "1970-01-01 00:00 UTC");
        check(951_782_399, "2000-02-28 23:59 UTC");
        check(951_782_400, "2000-02-29 00:00 UTC");
        check(1_735_689_599, "2024-12-31 23:59 UTC");
        check(1_795_320_300, "2026-11-22 04:05 UTC");
        check(4_107_542_400, "2100-03-01 00:00 UTC");
        check(16_725_225_600, "2500-01-01 00:00 UTC");
    }
}
