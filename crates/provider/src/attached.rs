//! What a part of a message carries that is no text: its media type and its decoded size,
//! told by what stands around the bytes. The bytes themselves are not read.

use crate::json::{self, Member, Node, Value};
use jupiter_policy::facts::PartKind;

/// Bytes of an image, a sound or a file in the request itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) media_type: Option<String>,
    /// Decoded.
    pub(crate) bytes: u64,
}

/// Longest media type that is told.
const MAX_MEDIA_TYPE: usize = 64;
/// Longest head of a data URL, as `is_data_url` has it.
const MAX_HEAD: usize = 128;

impl Carried {
    /// The first that stands in a part; `None` where the part only refers to something.
    pub(crate) fn of(kind: PartKind, members: &[Member<'_>]) -> Option<Carried> {
        members.iter().find_map(|member| match &member.value.value {
            Value::String(text) => Carried::data_url(text).or_else(|| {
                let encoded = matches!(member.key.as_ref(), "data" | "file_data");
                encoded.then(|| Carried {
                    media_type: said_beside(kind, members),
                    bytes: decoded(text),
                })
            }),
            Value::Object(inner) => Carried::of(kind, inner),
            _ => None,
        })
    }

    fn data_url(text: &str) -> Option<Carried> {
        let (head, data) = text.strip_prefix("data:")?.split_once(',')?;
        if head.len() > MAX_HEAD {
            return None;
        }
        let (head, bytes) = match head.strip_suffix(";base64") {
            Some(head) => (head, decoded(data)),
            None => {
                let escapes = data.bytes().filter(|byte| *byte == b'%').count();
                (head, data.len().saturating_sub(escapes * 2) as u64)
            }
        };
        Some(Carried {
            media_type: media_type(head.split(';').next().unwrap_or_default()),
            bytes,
        })
    }
}

/// `media_type` of Anthropic's sources, `format` of OpenAI's audio.
fn said_beside(kind: PartKind, members: &[Member<'_>]) -> Option<String> {
    let said = |key| json::get(members, key).and_then(Node::as_str);
    match said("media_type") {
        Some(said) => media_type(said),
        None => media_type(&format!("{}/{}", kind.as_str(), said("format")?)),
    }
}

/// A media type in small letters, if it is one: nothing else of a request gets into records.
fn media_type(text: &str) -> Option<String> {
    let (kind, subtype) = text.split_once('/')?;
    let is_name = |name: &str| {
        let sign = |byte: u8| matches!(byte, b'.' | b'+' | b'-' | b'_');
        !name.is_empty()
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || sign(it))
    };
    (text.len() <= MAX_MEDIA_TYPE && is_name(kind) && is_name(subtype))
        .then(|| text.to_ascii_lowercase())
}

/// Bytes that base64 text stands for, padded or not, with line ends or without.
fn decoded(text: &str) -> u64 {
    let sign = |byte: &u8| matches!(byte, b'+' | b'/' | b'-' | b'_');
    let digits = text
        .bytes()
        .filter(|it| it.is_ascii_alphanumeric() || sign(it));
    digits.count() as u64 * 3 / 4
}

#[cfg(test)]
mod tests {
    use crate::{Api, read_request};
    use jupiter_policy::facts::{Attachment, PartKind};

    fn attached(api: Api, content: &str) -> Vec<(PartKind, Option<String>, Option<u64>)> {
        let body = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{{"type":"text","text":"look"}},{content}]}}]}}"#
        );
        let read = read_request(api, body.as_bytes()).expect("a request");
        assert_eq!(read.unscanned, Some("non_text_content"));
        let told = |it: Attachment| {
            assert_eq!(it.message, 0);
            (it.kind, it.media_type, it.bytes)
        };
        read.facts.attachments.into_iter().map(told).collect()
    }

    #[test]
    fn type_and_size_are_told_of_what_a_request_carries() {
        use PartKind::{Audio, File, Image};
        let chat = Api::ChatCompletions;
        for (api, content, kind, media_type, bytes) in [
            // One, two and no byte short of a group of three.
            (
                chat,
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#,
                Image,
                "image/png",
                3,
            ),
            (
                chat,
                r#"{"type":"image_url","image_url":{"url":"data:image/PNG;base64,AAAAAA=="}}"#,
                Image,
                "image/png",
                4,
            ),
            (
                chat,
                r#"{"type":"image_url","image_url":{"url":"data:image/svg+xml,%3Csvg%2F%3E"}}"#,
                Image,
                "image/svg+xml",
                6,
            ),
            (
                chat,
                r#"{"type":"input_audio","input_audio":{"data":"AAAAAAA=","format":"wav"}}"#,
                Audio,
                "audio/wav",
                5,
            ),
            (
                chat,
                r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA\nAAAA"}}"#,
                File,
                "application/pdf",
                6,
            ),
            (
                Api::Messages,
                r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AAAAAAAA"}}"#,
                Image,
                "image/jpeg",
                6,
            ),
            (
                Api::Messages,
                r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA=="}}"#,
                File,
                "application/pdf",
                1,
            ),
        ] {
            let expected = [(kind, Some(media_type.to_owned()), Some(bytes))];
            assert_eq!(attached(api, content), expected, "{content}");
        }
    }

    #[test]
    fn what_is_only_referred_to_counts_without_type_and_size() {
        for content in [
            r#"{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}"#,
            r#"{"type":"file","file":{"file_id":"file-1"}}"#,
        ] {
            let [(_, media_type, bytes)] = attached(Api::ChatCompletions, content)
                .try_into()
                .expect("one");
            assert_eq!((media_type, bytes), (None, None), "{content}");
        }
    }

    #[test]
    fn words_in_place_of_a_media_type_are_not_told() {
        for said in ["my secret/plan x", "image", "a/b/c", "/png"] {
            let content = format!(
                r#"{{"type":"image","source":{{"type":"base64","media_type":"{said}","data":"AAAA"}}}}"#
            );
            let expected = [(PartKind::Image, None, Some(3))];
            assert_eq!(attached(Api::Messages, &content), expected, "{said}");
        }
    }
}
