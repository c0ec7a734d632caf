//! The values a field can have while some conditions hold: intervals and finite sets.
//!
//! Null is a value of its own. A domain may be too large, never too small: what is said
//! to be empty is empty, and what is said to be within another is within it.

use crate::program::Order;
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Domain {
    Number(Numbers),
    Text(Words),
    Bool(Bools),
    /// A field whose values are not followed, only whether it has any.
    Other {
        null: bool,
        some: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers {
    pub null: bool,
    /// Bound, and whether the bound itself is left out.
    least: (f64, bool),
    most: (f64, bool),
    among: Option<Vec<f64>>,
    excluded: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Words {
    pub null: bool,
    among: Option<BTreeSet<String>>,
    excluded: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bools {
    pub null: bool,
    pub yes: bool,
    pub no: bool,
}

impl Domain {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Domain::Number(numbers) => !numbers.null && numbers.has_none(),
            Domain::Text(words) => !words.null && words.has_none(),
            Domain::Bool(Bools { null, yes, no }) => !null && !yes && !no,
            Domain::Other { null, some } => !null && !some,
        }
    }

    pub(super) fn within(&self, other: &Domain) -> bool {
        match (self, other) {
            (Domain::Number(a), Domain::Number(b)) => (b.null || !a.null) && a.within(b),
            (Domain::Text(a), Domain::Text(b)) => (b.null || !a.null) && a.within(b),
            (Domain::Bool(a), Domain::Bool(b)) => {
                (b.null || !a.null) && (b.yes || !a.yes) && (b.no || !a.no)
            }
            (
                Domain::Other { null, some },
                Domain::Other {
                    null: may_be_null,
                    some: may_be_some,
                },
            ) => (*may_be_null || !null) && (*may_be_some || !some),
            _ => false,
        }
    }

    /// What both leave.
    pub(super) fn intersect(&mut self, other: &Domain) {
        match (self, other) {
            (Domain::Number(a), Domain::Number(b)) => a.intersect(b),
            (Domain::Text(a), Domain::Text(b)) => a.intersect(b),
            (Domain::Bool(a), Domain::Bool(b)) => {
                a.null &= b.null;
                a.yes &= b.yes;
                a.no &= b.no;
            }
            (
                Domain::Other { null, some },
                Domain::Other {
                    null: other_null,
                    some: other_some,
                },
            ) => {
                *null &= other_null;
                *some &= other_some;
            }
            _ => {}
        }
    }

    /// The field has a value, or has none.
    pub(super) fn present(&mut self, present: bool) {
        match self {
            Domain::Number(numbers) => match present {
                true => numbers.null = false,
                false => numbers.among = Some(Vec::new()),
            },
            Domain::Text(words) => match present {
                true => words.null = false,
                false => words.among = Some(BTreeSet::new()),
            },
            Domain::Bool(bools) => match present {
                true => bools.null = false,
                false => (bools.yes, bools.no) = (false, false),
            },
            Domain::Other { null, some } => match present {
                true => *null = false,
                false => *some = false,
            },
        }
    }
}

impl Numbers {
    pub(super) fn any(least: f64, most: f64, null: bool) -> Numbers {
        Numbers {
            null,
            least: (least, false),
            most: (most, false),
            among: None,
            excluded: Vec::new(),
        }
    }

    /// What is left when a comparison holds, or does not.
    pub(super) fn compare(&mut self, order: Order, value: f64, holds: bool) {
        // The opposite of an order holds for null as well.
        let order = match (order, holds) {
            (order, true) => order,
            (Order::Equal, false) => Order::NotEqual,
            (Order::NotEqual, false) => Order::Equal,
            (Order::Less, false) => return self.at_least(value, false),
            (Order::Greater, false) => return self.at_most(value, false),
            (Order::AtMost, false) => return self.at_least(value, true),
            (Order::AtLeast, false) => return self.at_most(value, true),
        };
        match order {
            Order::NotEqual => return self.excluded.push(value),
            Order::Equal => {
                self.at_least(value, false);
                self.at_most(value, false);
            }
            Order::Less => self.at_most(value, true),
            Order::Greater => self.at_least(value, true),
            Order::AtMost => self.at_most(value, false),
            Order::AtLeast => self.at_least(value, false),
        }
        self.null = false;
    }

    pub(super) fn among(&mut self, set: &[f64]) {
        self.null = false;
        match &mut self.among {
            Some(known) => known.retain(|number| set.contains(number)),
            None => self.among = Some(set.to_vec()),
        }
    }

    pub(super) fn exclude(&mut self, set: &[f64]) {
        self.excluded.extend_from_slice(set);
    }

    fn intersect(&mut self, other: &Numbers) {
        let null = self.null && other.null;
        self.at_least(other.least.0, other.least.1);
        self.at_most(other.most.0, other.most.1);
        self.exclude(&other.excluded);
        if let Some(set) = &other.among {
            self.among(set);
        }
        self.null = null;
    }

    fn at_least(&mut self, value: f64, open: bool) {
        if value > self.least.0 || (value == self.least.0 && open) {
            self.least = (value, open);
        }
    }

    fn at_most(&mut self, value: f64, open: bool) {
        if value < self.most.0 || (value == self.most.0 && open) {
            self.most = (value, open);
        }
    }

    fn in_range(&self, number: f64) -> bool {
        let above = number > self.least.0 || (number == self.least.0 && !self.least.1);
        let below = number < self.most.0 || (number == self.most.0 && !self.most.1);
        above && below
    }

    fn has(&self, number: f64) -> bool {
        self.in_range(number)
            && !self.excluded.contains(&number)
            && self.among.as_ref().is_none_or(|set| set.contains(&number))
    }

    fn has_none(&self) -> bool {
        match &self.among {
            Some(set) => !set.iter().any(|number| self.has(*number)),
            None if self.least.0 == self.most.0 => !self.has(self.least.0),
            None => self.least.0 > self.most.0,
        }
    }

    fn within(&self, other: &Numbers) -> bool {
        if self.has_none() {
            return true;
        }
        if let Some(set) = &self.among {
            return set
                .iter()
                .all(|number| !self.has(*number) || other.has(*number));
        }
        if self.least.0 == self.most.0 {
            return other.has(self.least.0);
        }
        let from = other.least.0 < self.least.0
            || (other.least.0 == self.least.0 && (self.least.1 || !other.least.1));
        let to = other.most.0 > self.most.0
            || (other.most.0 == self.most.0 && (self.most.1 || !other.most.1));
        from && to
            && other.among.is_none()
            && other.excluded.iter().all(|number| !self.has(*number))
    }
}

impl Words {
    pub(super) fn any(among: Option<&[&str]>, null: bool) -> Words {
        Words {
            null,
            among: among.map(|words| words.iter().map(|word| (*word).to_owned()).collect()),
            excluded: BTreeSet::new(),
        }
    }

    /// `==` holds, or does not.
    pub(super) fn equal(&mut self, word: &str, holds: bool) {
        match holds {
            true => self.only(|known| known == word, || BTreeSet::from([word.to_owned()])),
            false => {
                self.excluded.insert(word.to_owned());
            }
        }
    }

    pub(super) fn among(&mut self, set: &[String]) {
        self.only(
            |known| set.iter().any(|word| word == known),
            || set.iter().cloned().collect(),
        );
    }

    pub(super) fn exclude(&mut self, set: &[String]) {
        self.excluded.extend(set.iter().cloned());
    }

    /// Keeps what passes a test, where the words are known.
    pub(super) fn filter(&mut self, test: impl Fn(&str) -> bool) {
        if let Some(known) = &mut self.among {
            known.retain(|word| test(word));
        }
    }

    fn intersect(&mut self, other: &Words) {
        let null = self.null && other.null;
        self.excluded.extend(other.excluded.iter().cloned());
        if let Some(set) = &other.among {
            self.only(|known| set.contains(known), || set.clone());
        }
        self.null = null;
    }

    fn only(&mut self, keep: impl Fn(&str) -> bool, all: impl Fn() -> BTreeSet<String>) {
        self.null = false;
        match &mut self.among {
            Some(known) => known.retain(|word| keep(word)),
            None => self.among = Some(all()),
        }
    }

    fn has(&self, word: &str) -> bool {
        !self.excluded.contains(word) && self.among.as_ref().is_none_or(|set| set.contains(word))
    }

    fn has_none(&self) -> bool {
        let known = self.among.as_ref();
        known.is_some_and(|set| !set.iter().any(|word| self.has(word)))
    }

    fn within(&self, other: &Words) -> bool {
        match &self.among {
            Some(set) => set.iter().all(|word| !self.has(word) || other.has(word)),
            None => other.among.is_none() && other.excluded.is_subset(&self.excluded),
        }
    }
}
