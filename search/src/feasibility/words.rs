//! An [`Explanation`] in sentences, each of which says whether it is proven or was seen.

use std::fmt;

use targets::{Metric, Source};

use super::{Binding, Change, Explanation, Limit, Price, Reach, Side, Standing};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.networks, self.admitted) {
            (0, _) => self.write_proven(f),
            (_, 0) => self.write_infeasible(f),
            _ => self.write_feasible(f),
        }
    }
}

impl Explanation {
    /// The limits that rule every known network out, each alone.
    fn never_met(&self) -> impl Iterator<Item = &Standing> {
        self.limits.iter().filter(|it| it.met == 0)
    }

    fn write_infeasible(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.networks;
        match self.whole {
            true => write!(f, "None of the {n} networks of the space meets the budget.")?,
            false => write!(f, "None of {n} networks met the budget.")?,
        }
        for standing in &self.limits {
            let Standing { limit, met, nearest, .. } = standing;
            match nearest {
                None => write!(f, "\n  {limit}: never known")?,
                Some(nearest) if *met == 0 => {
                    write!(f, "\n  {limit}: never met; the nearest was {}", nearest.describe(limit.metric))?;
                }
                Some(_) => write!(f, "\n  {limit}: met by {met}")?,
            }
            if !self.whole && standing.reach != Reach::Possible {
                write!(f, "\n    {}", standing.proof())?;
            }
        }
        for set in self.conflicts.iter().filter(|set| 1 < set.len()) {
            let set = list(set.iter().map(Limit::to_string), "and");
            match self.whole {
                true if self.estimated.is_empty() => write!(f, "\nNo network of the space meets together: {set}.")?,
                true => write!(f, "\nOf no network of the space estimates show that it meets together: {set}.")?,
                false => write!(f, "\nEach met by some of the {n} networks, but never by one together: {set}.")?,
            }
        }
        self.write_relaxations(f)?;
        if self.never_met().any(|it| it.limit.side == Side::Max) {
            write!(f, "\nA smaller network, by [deployed] in --config, takes less of everything.")?;
        }
        self.write_estimated(f)
    }

    /// What a reader must know of all that rests on estimates.
    fn write_estimated(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = list(self.estimated.iter().map(|it| it.name().to_owned()), "and");
        match self.estimated.len() {
            0 => Ok(()),
            1 => write!(f, "\nBy estimates of {names}: a network is within where the whole interval is."),
            _ => write!(f, "\nBy estimates of {names}: a network is within where the whole intervals are."),
        }
    }

    fn write_relaxations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.whole { "some network of the space" } else { "one of the networks seen" };
        if let Some(changes) = &self.together {
            let each = list(changes.iter().map(Change::in_words), "and");
            let more = match changes.len() {
                _ if !self.whole => "",
                1 => "; with less, none",
                _ => "; with a smaller largest change, none",
            };
            write!(f, "\nRelax the bounds: with {each} {which} is within{more}.")?;
        }
        // A single change was told above.
        let others = self.alone.iter().filter(|it| self.together.as_deref() != Some(std::slice::from_ref(it)));
        let others = list(others.map(Change::in_words), "or");
        if !others.is_empty() {
            let one = if self.alone.len() < self.limits.len() { "one of these" } else { "one" };
            write!(f, "\nOr relax {one} alone: {others}.")?;
        } else if self.alone.is_empty() && 1 < self.limits.len() && self.together.is_some() {
            write!(f, "\nNo bound is enough alone.")?;
        }
        Ok(())
    }

    fn write_feasible(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { admitted, networks, .. } = self;
        match self.whole {
            true => write!(f, "{admitted} of the {networks} networks of the space are within the budget")?,
            false => write!(f, "{admitted} of {networks} networks were within the budget")?,
        }
        match self.prices.first() {
            Some(Price { best, .. }) => write!(f, "; the best has an accuracy of {:.2} %.", 100.0 * best)?,
            None => write!(f, ".")?,
        }
        for price in &self.prices {
            write!(f, "\n  {}", price.in_words(self.whole))?;
        }
        if self.prices.is_empty() {
            for Standing { limit, met, .. } in &self.limits {
                write!(f, "\n  {limit}: met by {met}")?;
            }
        }
        self.write_estimated(f)
    }

    /// Without any network, what is proven is all there is to say.
    fn write_proven(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.limits.iter().map(|it| it.reach).max_by_key(|it| match it {
            Reach::Possible => 0,
            Reach::NotShown => 1,
            Reach::Impossible => 2,
        });
        let counted = self.limits.iter().any(|it| it.reach == Reach::Impossible && !it.is_estimated());
        f.write_str(match worst {
            Some(Reach::Impossible) if counted => "No network of the space meets the budget.",
            Some(Reach::Impossible) => "By estimates no network of the space meets the budget.",
            Some(Reach::NotShown) => "No estimate can show that a network of the space meets the budget.",
            Some(Reach::Possible) => {
                "Nothing is proven against the budget. Whether one network meets all bounds, a search finds out."
            }
            None => "The budget has no hard bound.",
        })?;
        for standing in &self.limits {
            write!(f, "\n  {}: {}", standing.limit, standing.proof())?;
        }
        let changes = self.limits.iter().filter(|it| it.reach != Reach::Possible).filter_map(|it| {
            let extreme = it.extreme.as_ref()?;
            let to = if it.reach == Reach::Impossible { extreme.hoped } else { extreme.needed };
            Some(Change { from: it.limit, to }.in_words())
        });
        let changes = list(changes, "and");
        if !changes.is_empty() {
            write!(f, "\nAt the least, relax {changes}; that is necessary, and need not be enough.")?;
        }
        Ok(())
    }
}

impl Standing {
    /// Whether what is proven of the space is proven of estimates.
    fn is_estimated(&self) -> bool {
        self.extreme.as_ref().is_some_and(|it| matches!(it.figure.source, Source::Estimated { .. }))
    }

    /// What the certificate says of the limit.
    fn proof(&self) -> String {
        let Self { limit: Limit { metric, side, .. }, extreme, .. } = self;
        let Some(extreme) = extreme else {
            return "nothing is known of the whole space".to_owned();
        };
        let figure = extreme.figure.describe(*metric);
        let (end, beyond) = match side {
            Side::Max => ("least", "below"),
            Side::Min => ("most", "above"),
        };
        let all = if extreme.is_exact() {
            format!("the {end} in the space is {figure}")
        } else {
            let proven = metric.format(extreme.needed);
            format!("no network of the space is shown to be {beyond} {proven}, and the {end} known is {figure}")
        };
        match self.reach {
            Reach::Impossible if self.is_estimated() => format!("impossible by estimates; {all}"),
            Reach::Impossible => format!("impossible; {all}"),
            Reach::NotShown => format!("not shown; {all}: only a measurement can show it"),
            Reach::Possible => format!("possible; {all}"),
        }
    }
}

impl Change {
    /// `latency at most 22.4 ms (+12 %)`: a value that is enough when it is typed as it is printed.
    fn in_words(&self) -> String {
        let limit = self.limit();
        let side = match limit.side {
            Side::Max => "at most",
            Side::Min => "at least",
        };
        let by = match (limit.side, limit.value / self.from.value) {
            (_, ratio) if !ratio.is_finite() => String::new(),
            (Side::Max, ratio) if ratio < MANY => format!(" (+{})", percent(ratio - 1.0)),
            (Side::Max, ratio) => format!(" ({} times)", Metric::Params.format(ratio)),
            (Side::Min, ratio) => format!(" (-{})", percent(1.0 - ratio)),
        };
        format!("{} {side} {}{by}", limit.metric.name(), limit.in_round_numbers())
    }
}

impl Price {
    /// One line: `latency at most 20 ms binds: +1 ms buys 0.70 points; ...`.
    fn in_words(&self, whole: bool) -> String {
        let Self { limit, best, tightened, .. } = self;
        let step = |sign: char| format!("{sign}{}", limit.metric.format(self.step));
        let (wider, tighter) = match limit.side {
            Side::Max => (step('+'), step('-')),
            Side::Min => (step('-'), step('+')),
        };
        let points = |from: f64, to: f64| format!("{:.2} points", 100.0 * (to - from));
        let tighter = match tightened {
            _ if self.step <= 0.0 => String::new(),
            None => format!("; with {tighter} no network is left"),
            Some(less) if less < best => format!("; {tighter} costs {}", points(*less, *best)),
            Some(_) => format!("; {tighter} costs nothing"),
        };
        let used = format!("; the best takes {}", self.used.describe(limit.metric));
        match (self.binding, &self.next) {
            (Binding::Binds, Some(next)) => {
                let buys = if *best < self.relaxed {
                    format!("{wider} buys {}", points(*best, self.relaxed))
                } else {
                    let needed = Limit { value: next.at, ..*limit }.in_round_numbers();
                    format!("{wider} buys nothing, a limit of {needed} buys {}", points(*best, next.accuracy))
                };
                let seen = if whole { "" } else { " with the best one seen" };
                format!("{limit} binds: {buys}{tighter}; without it {}{seen}{used}", points(*best, self.dropped))
            }
            (Binding::Free | Binding::Binds, _) => {
                let none = if whole { "no network is better" } else { "no better network was seen" };
                format!("{limit} does not bind: without it {none}{tighter}{used}")
            }
            (Binding::Unknown, _) => {
                format!(
                    "{limit}: what more would buy is not known, for no network beyond it was trained{tighter}{used}"
                )
            }
        }
    }
}

/// `a, b and c`.
fn list(items: impl Iterator<Item = String>, last: &str) -> String {
    let mut items: Vec<String> = items.collect();
    let Some(end) = items.pop() else { return String::new() };
    if items.is_empty() { end } else { format!("{} {last} {end}", items.join(", ")) }
}

/// Ratio from which on percents say little.
const MANY: f64 = 10.0;

/// `4.2 %`, rounded up, since less is not enough; what the last bits say is no percent.
fn percent(relative: f64) -> String {
    match 100.0 * relative - 1e-9 {
        it if it < 10.0 => format!("{} %", (it * 10.0).ceil() / 10.0),
        it => format!("{} %", it.ceil()),
    }
}
