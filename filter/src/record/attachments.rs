//! Attachments, counted by kind and media type: none is left out, however many there are.
//!
//! What an attachment is, is read in `crates/provider`; [`super::Recorder`] puts the counts
//! into the record.

use jupiter_evidence::AttachmentCount;
use jupiter_policy::facts::Attachment;

/// Media types told apart in one record.
const MAX_MEDIA_TYPES: usize = 20;

/// Attachments by kind and media type; beyond so many types they are counted by kind alone.
pub(super) fn attachments(all: &[Attachment]) -> Vec<AttachmentCount> {
    let mut counts: Vec<AttachmentCount> = Vec::new();
    for attachment in all {
        let kind = attachment.kind.as_str();
        let is = |it: &AttachmentCount, media_type: &Option<String>| {
            it.kind == kind && it.media_type == *media_type
        };
        let known = counts.iter().any(|it| is(it, &attachment.media_type));
        let media_type = match known || counts.len() < MAX_MEDIA_TYPES {
            true => attachment.media_type.clone(),
            false => None,
        };
        let bytes = attachment.bytes.unwrap_or(0);
        match counts.iter_mut().find(|it| is(it, &media_type)) {
            Some(counted) => {
                counted.count += 1;
                counted.bytes += bytes;
            }
            None => counts.push(AttachmentCount {
                kind: kind.to_owned(),
                media_type,
                count: 1,
                bytes,
            }),
        }
    }
    counts
}
