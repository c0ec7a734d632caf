//! Placeholders of one exchange, and the texts they stand for.
//!
//! The same text has the same placeholder throughout. A placeholder never equals a text
//! that the client wrote itself, so restoring the answer cannot put one text in the place
//! of another. Nothing of it outlives the exchange.

use jupiter_detect::detectors::Kind;
use jupiter_provider::Edit;
use std::ops::Range;

/// What was taken out of a request, to be put back into its answer.
#[derive(Debug, Default)]
pub(super) struct Vault {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    placeholder: String,
    text: String,
}

impl Vault {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The placeholder of a text; `taken` says whether the request has one by that name.
    pub fn placeholder(&mut self, kind: Kind, text: &str, taken: impl Fn(&str) -> bool) -> String {
        if let Some(known) = self.entries.iter().find(|entry| entry.text == text) {
            return known.placeholder.clone();
        }
        let name = kind.as_str().to_ascii_uppercase();
        let free = |placeholder: &String| {
            let known = self.entries.iter().any(|it| it.placeholder == *placeholder);
            !known && !taken(placeholder)
        };
        // One of so many is free: neither a request nor this list holds all of them.
        let names = (1u32..).map(|nth| format!("[{name}_{nth}]"));
        let placeholder = names.into_iter().find(free).unwrap_or_default();
        self.entries.push(Entry {
            placeholder: placeholder.clone(),
            text: text.to_owned(),
        });
        placeholder
    }

    /// The edits that put the texts back, in order, in `text[within]`; offsets count from
    /// the start of `text`.
    pub fn restorations(&self, text: &str, within: Range<usize>) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut at = within.start;
        while let Some(rest) = text.get(at..within.end)
            && let Some(open) = rest.find('[')
        {
            let here = rest.get(open..).unwrap_or_default();
            let known = self.entries.iter();
            let known = known.filter(|entry| here.starts_with(&entry.placeholder));
            let start = at + open;
            at = start + 1;
            if let Some(entry) = known.max_by_key(|entry| entry.placeholder.len()) {
                at = start + entry.placeholder.len();
                edits.push(Edit {
                    range: start..at,
                    with: entry.text.clone(),
                });
            }
        }
        edits
    }

    /// How many of the last bytes of a text may be the beginning of a placeholder.
    pub fn open_bytes(&self, text: &str) -> usize {
        let longest = self.entries.iter().map(|it| it.placeholder.len()).max();
        let from = text.len().saturating_sub(longest.unwrap_or(0));
        let tail = text.as_bytes().get(from..).unwrap_or_default();
        let begins = |rest: &[u8]| {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.placeholder.as_bytes().starts_with(rest))
        };
        let whole = |rest: &[u8]| {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.placeholder.as_bytes() == rest)
        };
        let starts = tail.iter().enumerate().filter(|(_, byte)| **byte == b'[');
        let mut rests = starts.filter_map(|(at, _)| tail.get(at..));
        let open = rests.find(|rest| begins(rest) && !whole(rest));
        open.map_or(0, <[u8]>::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        let mut vault = Vault::default();
        assert_eq!(
            vault.placeholder(Kind::Email, "a@x.org", |_| false),
            "[EMAIL_1]"
        );
        assert_eq!(
            vault.placeholder(Kind::Email, "b@x.org", |_| false),
            "[EMAIL_2]"
        );
        assert_eq!(
            vault.placeholder(Kind::Email, "a@x.org", |_| false),
            "[EMAIL_1]"
        );
        vault
    }

    #[test]
    fn placeholder_that_the_client_wrote_is_not_used() {
        let mut vault = Vault::default();
        let taken = |placeholder: &str| placeholder == "[SSN_1]";
        assert_eq!(
            vault.placeholder(Kind::Ssn, "078-05-1120", taken),
            "[SSN_2]"
        );
    }

    #[test]
    fn texts_are_put_back_where_their_placeholders_stand() {
        let text = "[[EMAIL_2] and [EMAIL_1], not [EMAIL_3]";
        let edits = vault().restorations(text, 0..text.len());
        let found: Vec<_> = edits
            .iter()
            .map(|it| (text.get(it.range.clone()), it.with.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (Some("[EMAIL_2]"), "b@x.org"),
                (Some("[EMAIL_1]"), "a@x.org")
            ]
        );
    }

    #[test]
    fn beginning_of_a_placeholder_is_held() {
        let vault = vault();
        for (text, open) in [
            ("x [EMA", 4),
            ("x [EMAIL_1", 8),
            ("x [EMAIL_1]", 0),
            ("[[", 1),
            ("[EMAIL_9", 0),
            ("é[", 1),
            ("", 0),
        ] {
            assert_eq!(vault.open_bytes(text), open, "{text}");
        }
        assert_eq!(Vault::default().open_bytes("["), 0);
    }
}
