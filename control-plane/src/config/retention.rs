//! The section `evidence.retention`: how long records are kept.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Document, Section};
use super::values;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long records are kept, and where they go then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Of records without a label below; `None`: for ever.
    pub keep: Option<Duration>,
    /// Of several labels of a record the longest counts.
    pub labels: Vec<LabelRetention>,
    /// Folder that records are written to before they go.
    pub archive: PathBuf,
    /// How often old records are looked for.
    pub interval: Duration,
}

/// How long records with a label are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRetention {
    /// Of the tag that a rule gave the exchange.
    pub name: String,
    /// `None`: whatever its value.
    pub value: Option<String>,
    /// `None`: for ever.
    pub keep: Option<Duration>,
}

impl RetentionConfig {
    /// Nothing younger ever goes; `None`: nothing at all does.
    pub fn shortest(&self) -> Option<Duration> {
        let labels = self.labels.iter().filter_map(|label| label.keep);
        labels.chain(self.keep).min()
    }
}

/// `None` inside: nothing ever goes.
pub(super) fn read(
    document: &mut Document<'_>,
    evidence: &mut Section,
) -> Option<Option<RetentionConfig>> {
    let mut s = document.section(evidence, "retention");
    let keep = document.value(&mut s, "keep", "", age);
    let archive = document.value(&mut s, "archive", "", folder);
    let interval = document.value(&mut s, "interval", "24h", interval);
    let mut labels = Some(Vec::new());
    for mut one in document.list(&mut s, "labels") {
        let label = document.required(&mut one, "label", label);
        let keep = document.required(&mut one, "keep", age_or_ever);
        document.finish(&one);
        match (label.zip(keep), &mut labels) {
            (Some(((name, value), keep)), Some(list)) => {
                list.push(LabelRetention { name, value, keep })
            }
            _ => labels = None,
        }
    }
    document.finish(&s);
    let (keep, archive, labels) = (keep?, archive?, labels?);
    let never = keep.is_none() && labels.iter().all(|label| label.keep.is_none());
    if never {
        return Some(None);
    }
    let Some(archive) = archive else {
        let message = "is needed where records are not kept for ever: what goes is written there";
        document.fault(&s, "archive", message.to_owned());
        return None;
    };
    Some(Some(RetentionConfig {
        keep,
        labels,
        archive,
        interval: interval?,
    }))
}

fn folder(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "" => Ok(None),
        text => values::path(text).map(Some),
    }
}

/// Empty: for ever. A record that is younger than a day may come once more by the other
/// channel, and must be known then.
fn age(text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("`{text}` is not a number of days such as `400d`");
    let days: u32 = text
        .strip_suffix('d')
        .and_then(|days| days.parse().ok())
        .ok_or_else(wrong)?;
    match days {
        1..=36_500 => Ok(Some(DAY * days)),
        _ => Err(format!("`{text}` is not between `1d` and `36500d`")),
    }
}

fn age_or_ever(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "ever" => Ok(None),
        "" => Err("must be a number of days such as `400d`, or `ever`".to_owned()),
        text => age(text),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        least if least < Duration::from_secs(1) => Err(format!("`{text}` is less than `1s`")),
        duration => Ok(duration),
    }
}

/// `name`, or `name=value`.
fn label(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    match name.is_empty() {
        true => Err(format!(
            "`{text}` is not a label such as `pii` or `class=payment`"
        )),
        false => Ok((name.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(lines: &str) -> Result<Option<RetentionConfig>, String> {
        let text = format!("evidence: {{retention: {{{lines}}}}}");
        let config = Config::parse(&text, "test", &|_| None);
        config
            .map(|config| config.evidence.retention)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn ages_are_told_by_label_and_nothing_goes_without_an_archive() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("labels: [{label: pii, keep: ever}]").unwrap(), None);
        let some = "keep: 400d, archive: /archive, labels: [{label: pii, keep: 30d}, \
                    {label: class=payment, keep: ever}]";
        let read = parse(some).unwrap().unwrap();
        assert_eq!(read.keep, Some(DAY * 400));
        assert_eq!(read.shortest(), Some(DAY * 30));
        assert_eq!(read.labels[1].value.as_deref(), Some("payment"));
        assert_eq!(read.interval, DAY);
        for wrong in [
            "keep: 400d",
            "keep: 0d, archive: /a",
            "keep: 12h, archive: /a",
            "keep: 40000d, archive: /a",
            "archive: /a, labels: [{label: pii}]",
            "archive: /a, labels: [{label: '=x', keep: 3d}]",
            "keep: 3d, archive: /a, interval: 1ms",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
