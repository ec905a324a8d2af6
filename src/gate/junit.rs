//! Findings as JUnit XML, which continuous integration systems show: a suite a model, a case a check.

use super::{Check, CheckResult, Findings, Model};

/// The whole file.
pub fn xml(findings: &Findings) -> String {
    let all: Vec<&Check> = findings.models.iter().flat_map(|model| &model.checks).collect();
    let suites: Vec<String> = findings.models.iter().map(suite).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"pipeline verify\" {}>\n{}</testsuites>\n",
        counts(all.iter().copied()),
        suites.concat()
    )
}

fn suite(model: &Model) -> String {
    let name = escape(&model.name);
    let cases: Vec<String> = model.checks.iter().map(|check| case(&name, check)).collect();
    format!("  <testsuite name=\"{name}\" {}>\n{}  </testsuite>\n", counts(&model.checks), cases.concat())
}

fn case(class: &str, check: &Check) -> String {
    let (what, found) = (escape(&check.what), escape(&check.found));
    let inner = match check.result {
        CheckResult::Holds => format!("<system-out>{found}</system-out>"),
        CheckResult::Fails => format!("<failure message=\"{found}\"/>"),
        CheckResult::CannotTell => format!("<error type=\"cannot-tell\" message=\"{found}\"/>"),
        CheckResult::Invalid => format!("<error type=\"invalid\" message=\"{found}\"/>"),
        CheckResult::Skipped => format!("<skipped message=\"{found}\"/>"),
    };
    format!("    <testcase classname=\"{class}\" name=\"{what}\">{inner}</testcase>\n")
}

/// The counting attributes. "Cannot tell" and "invalid" are errors: no verdict was reached.
fn counts<'a>(checks: impl IntoIterator<Item = &'a Check>) -> String {
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    for check in checks {
        tests += 1;
        match check.result {
            CheckResult::Holds => {}
            CheckResult::Fails => failures += 1,
            CheckResult::CannotTell | CheckResult::Invalid => errors += 1,
            CheckResult::Skipped => skipped += 1,
        }
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
}

/// A text as it may stand in an attribute and between tags. What XML 1.0 cannot hold becomes U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // As they are, a reader turns them into blanks.
            '\n' | '\r' | '\t' => escaped.push_str(&format!("&#{};", u32::from(letter))),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
