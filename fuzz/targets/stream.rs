//! Any bytes as a streamed answer of either dialect, cut anywhere.
#![no_main]

use jupiter_provider::{
    Api, BodyKind, Channel, Edit, Judge, OnUnread, ResponseReader, Ruling, Stop, StreamEditor,
    StreamLimits, Summary, WholeText,
};
use std::collections::BTreeMap;

const LIMITS: StreamLimits = StreamLimits {
    event_bytes: 1 << 16,
    held_bytes: 1 << 14,
};
/// Taken out, where something is; its first letter is held back.
const WORD: &str = "al";

/// Keeps what it was told; lets it pass, takes a word out, or stops at it.
#[derive(Debug, Default, PartialEq)]
struct Listening {
    takes_out: bool,
    stops: bool,
    texts: BTreeMap<Channel, (String, usize)>,
    wholes: Vec<(Channel, String)>,
    lasts: usize,
    unread: Vec<&'static str>,
}

fn edits(text: &str, from: usize) -> Vec<Edit> {
    let found = text[from..].match_indices(WORD);
    found
        .map(|(at, word)| Edit {
            range: from + at..from + at + word.len(),
            with: "\"X\"".to_owned(),
        })
        .collect()
}

impl Judge for Listening {
    fn on_text(&mut self, channel: Channel, piece: &str, end: bool) -> Ruling {
        let (text, seen) = self.texts.entry(channel).or_default();
        text.push_str(piece);
        if !self.takes_out {
            let upto = usize::MAX;
            return Ruling::Release { upto, edits: vec![] };
        }
        let edits = edits(text, *seen);
        if self.stops && !edits.is_empty() {
            return Ruling::Stop;
        }
        *seen = edits.last().map_or(*seen, |edit| edit.range.end);
        let held = usize::from(!end && text[*seen..].ends_with('a'));
        let upto = text.len() - held;
        Ruling::Release { upto, edits }
    }

    fn on_whole(&mut self, whole: WholeText<'_>) -> Result<Vec<Edit>, Stop> {
        self.wholes.push((whole.channel, whole.text.to_owned()));
        match self.takes_out {
            true => Ok(edits(whole.text, 0)),
            false => Ok(vec![]),
        }
    }

    fn on_last(&mut self, _: &Summary) -> Result<(), Stop> {
        self.lasts += 1;
        assert_eq!(self.lasts, 1, "an answer ends once");
        Ok(())
    }

    fn on_unread(&mut self, reason: &'static str) -> OnUnread {
        self.unread.push(reason);
        match self.stops {
            true => OnUnread::Stop,
            false => OnUnread::Pass,
        }
    }
}

fn edited<'b>(
    api: Api,
    (takes_out, stops): (bool, bool),
    parts: impl Iterator<Item = &'b [u8]>,
) -> (Vec<u8>, Listening, Summary) {
    let mut editor = StreamEditor::new(api, LIMITS);
    let mut out = Vec::new();
    let mut judge = Listening {
        takes_out,
        stops,
        ..Listening::default()
    };
    for part in parts {
        editor.push(part, &mut judge, &mut out);
    }
    let end = editor.finish(&mut judge, &mut out);
    (out, judge, end.summary)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((cuts, stream)) = input.split_first() else {
        return;
    };
    let length = 1 + usize::from(cuts & 31);
    for api in [Api::ChatCompletions, Api::Messages, Api::Responses, Api::Completions] {
        for how in [(false, false), (true, false), (true, true)] {
            let whole = edited(api, how, std::iter::once(stream));
            assert!(how.0 || whole.0 == stream, "what nobody changes passes as it was");
            assert_eq!(edited(api, how, stream.chunks(length)), whole);
        }

        let read = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let mut reader = ResponseReader::new(api, BodyKind::EventStream, 1 << 16);
            parts.for_each(|part| reader.push(part));
            reader.finish(true)
        };
        let whole = read(&mut std::iter::once(stream));
        assert_eq!(read(&mut stream.chunks(length)), whole);
    }
});
