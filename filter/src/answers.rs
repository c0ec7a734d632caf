//! Answers to requests with an `Idempotency-Key`, kept for whoever sends the request again.
//!
//! An answer is gathered as the client gets it, and leaves for a control plane when its
//! exchange is over (`control-plane/src/idempotency.rs`). It comes back to another
//! exchange under the same key ([`crate::inspector`]). Nothing of one is ever printed.

use jupiter_evidence::IdempotencyAnswer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is kept of an answer's head: what its body is, and what clients show of it when
/// they ask the provider about it. What it says of limits would not be true any more.
pub const KEPT_HEADERS: [&str; 6] = [
    "content-type",
    "request-id",
    "x-request-id",
    "openai-organization",
    "openai-version",
    "anthropic-organization-id",
];

/// The longest [`AnswerLine`] that a control plane takes: with its end it fills a body of
/// 4 MiB. An answer that fits its bound is longer only if most of it are control characters.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024 - 1;

/// An answer as the client got it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptAnswer {
    pub status: u16,
    /// Of [`KEPT_HEADERS`] those that it had.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptAnswer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer on its way to where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerLine {
    /// Of the key and its subject, 64 hex digits.
    pub key: String,
    /// The exchange that has the key.
    pub exchange: String,
    /// Whose answer it is: when this is erased, nobody can read it any more.
    pub subject: String,
    pub answer: KeptAnswer,
}

/// An answer that is being gathered.
pub(crate) struct Gathering {
    most: usize,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    lost: Option<IdempotencyAnswer>,
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering")
            .field("bytes", &self.bytes())
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Gathering {
    pub(crate) fn new(status: u16, headers: &[(&'static str, String)], most: usize) -> Gathering {
        let headers = headers.iter().map(|(name, value)| {
            let name = (*name).to_owned();
            (name, value.clone())
        });
        Gathering {
            most,
            status,
            headers: headers.collect(),
            body: Vec::new(),
            lost: None,
        }
    }

    /// The next bytes that left for the client.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        if self.bytes() + bytes.len() > self.most {
            self.give_up(IdempotencyAnswer::TooLarge);
        } else {
            self.body.extend_from_slice(bytes);
        }
    }

    /// It will not be kept, for this or an earlier reason.
    pub(crate) fn give_up(&mut self, why: IdempotencyAnswer) {
        self.lost.get_or_insert(why);
        self.body = Vec::new();
    }

    /// What it holds.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let head: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        head + self.body.len()
    }

    /// The answer, or why it is not kept.
    pub(crate) fn finish(self) -> Result<KeptAnswer, IdempotencyAnswer> {
        if let Some(why) = self.lost {
            return Err(why);
        }
        let body = String::from_utf8(self.body).map_err(|_| IdempotencyAnswer::Unreadable)?;
        Ok(KeptAnswer {
            status: self.status,
            headers: self.headers,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_kept_whole_or_not_at_all() {
        let of = |most: usize, pieces: &[&[u8]]| {
            let head = [("content-type", "a/b".to_owned())];
            let mut gathering = Gathering::new(200, &head, most);
            pieces.iter().for_each(|piece| gathering.push(piece));
            gathering.finish().map(|answer| answer.body)
        };
        // 15 bytes are the header's.
        assert_eq!(of(20, &[b"ab", b"", b"cde"]), Ok("abcde".to_owned()));
        assert_eq!(of(19, &[b"ab", b"cde"]), Err(IdempotencyAnswer::TooLarge));
        assert_eq!(of(19, &[b"abcde", b"f"]), Err(IdempotencyAnswer::TooLarge));
        // A character in two pieces is one all the same.
        assert_eq!(of(99, &[b"\xc3", b"\xa4"]), Ok("ä".to_owned()));
        assert_eq!(of(99, &[b"\xc3"]), Err(IdempotencyAnswer::Unreadable));
    }

    #[test]
    fn what_is_given_up_holds_nothing_any_more() {
        let mut gathering = Gathering::new(200, &[], 10);
        gathering.push(b"abc");
        gathering.give_up(IdempotencyAnswer::NoRoom);
        gathering.push(b"def");
        gathering.give_up(IdempotencyAnswer::Unreadable);
        assert_eq!(gathering.bytes(), 0);
        assert_eq!(gathering.finish(), Err(IdempotencyAnswer::NoRoom));
    }

    #[test]
    fn nothing_of_an_answer_is_printed() {
        let head = [("x-request-id", "private".to_owned())];
        let mut gathering = Gathering::new(200, &head, 100);
        gathering.push(b"private");
        let gathered = format!("{gathering:?}");
        let kept = format!("{:?}", gathering.finish().unwrap());
        assert!(!gathered.contains("private") && !kept.contains("private"));
    }
}
