//! Judges a streamed answer while it passes, and changes it.
//!
//! [`StreamEditor`] takes bytes and gives bytes. Of each event it tells the
//! texts to a [`Judge`], which says what may leave: text that could still
//! become part of a match is held back and leaves with a later event of its
//! channel, or in an event of its own before the one that ends the channel.
//!
//! - An event that needs no change passes byte for byte. One that does keeps
//!   everything but the changed texts; token probabilities, which would spell
//!   the text out, go with it.
//! - Any cutting of the stream into pieces gives the same output and tells
//!   the same texts.
//! - What cannot be read is told to the judge, which lets it pass or stops;
//!   it is in [`Summary::unscanned`] either way.

mod held;
mod template;

use crate::answer::{Channel, End, Event, FOREIGN_EVENT, Role, Spot, TextKind, event, is_foreign};
use crate::json::{Node, Value};
use crate::literal::{self, Edit, Form, Inside};
use crate::places::spliced;
use crate::response::{Summary, parse};
use crate::sse::{EventReader, RawEvent};
use crate::{Api, Dialect, ErrorBody, error_event};
use held::Held;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use template::Template;

/// Decides what may leave.
pub trait Judge {
    /// The next piece of a channel's text; `end` says that no more follows.
    /// Offsets of the ruling count from the start of the channel's text.
    fn on_text(&mut self, channel: Channel, piece: &str, end: bool) -> Ruling;

    /// A text that comes whole, which may say again what has streamed, or something else in
    /// its place; the edits to make in it, or `Err` to stop.
    fn on_whole(&mut self, text: WholeText<'_>) -> Result<Vec<Edit>, Stop>;

    /// All of the answer was told, and the event that says so has not left yet.
    fn on_last(&mut self, summary: &Summary) -> Result<(), Stop>;

    /// Something cannot be read.
    fn on_unread(&mut self, reason: &'static str) -> OnUnread;
}

/// What becomes of a channel's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The text before `upto` may leave, with `edits` made, each named once
    /// and ending before `upto`. At a channel's end, all of it leaves. Half an
    /// escape in JSON, which is not told before its rest came, leaves early
    /// only where `upto` is beyond what was told.
    Release { upto: usize, edits: Vec<Edit> },
    /// Nothing more leaves; the answer is refused.
    Stop,
}

/// The judge stops the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// A text that is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeText<'t> {
    pub channel: Channel,
    pub text: &'t str,
}

/// What to do with what cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnread {
    Pass,
    Stop,
}

/// Whether the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Open,
    /// The judge stopped it: nothing more leaves, whatever comes.
    Stopped,
}

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    pub event_bytes: usize,
    /// Of text held back, over all channels.
    pub held_bytes: usize,
}

/// More channels than a model has things to say.
const MAX_CHANNELS: usize = 1024;

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEnd {
    pub summary: Summary,
    pub progress: Progress,
}

/// One streamed answer.
#[derive(Debug)]
pub struct StreamEditor {
    api: Api,
    limits: StreamLimits,
    events: EventReader,
    channels: BTreeMap<Channel, Speaking>,
    summary: Summary,
    ended: bool,
    state: State,
    numbers: Numbers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Nothing is read any more, all passes.
    Blind,
    Stopped,
}

/// A channel: what is held of it, and how to say it.
#[derive(Debug)]
struct Speaking {
    held: Held,
    template: Template,
}

/// Typed events are numbered; events of our own move those that follow.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    next: u64,
    /// By how much the client's count is ahead of the provider's.
    ahead: u64,
}

/// Breaks when the judge stops.
type Step<T = ()> = ControlFlow<Stop, T>;

impl StreamEditor {
    pub fn new(api: Api, limits: StreamLimits) -> StreamEditor {
        StreamEditor {
            api,
            limits,
            events: EventReader::new(limits.event_bytes),
            channels: BTreeMap::new(),
            summary: Summary::default(),
            ended: false,
            state: State::Reading,
            numbers: Numbers::default(),
        }
    }

    /// Takes the next bytes of the stream, appends to `out` what may leave.
    pub fn push(&mut self, bytes: &[u8], judge: &mut dyn Judge, out: &mut Vec<u8>) -> Progress {
        match self.state {
            State::Reading => {}
            State::Blind => {
                out.extend_from_slice(bytes);
                return Progress::Open;
            }
            State::Stopped => return Progress::Stopped,
        }
        // Lent out: the rest of `self` judges the events.
        let mut events = std::mem::replace(&mut self.events, EventReader::new(0));
        let step = match events.push(bytes, |raw| self.pass_on(raw, false, judge, out)) {
            Ok(step) => step,
            Err(_) => self.go_blind("event_too_large", judge, out),
        };
        if self.state == State::Blind {
            out.extend(events.take_partial().0);
        }
        self.events = events;
        self.progress(step)
    }

    /// The stream ended; nothing is held after it.
    pub fn finish(mut self, judge: &mut dyn Judge, out: &mut Vec<u8>) -> StreamEnd {
        let mut progress = match self.state {
            State::Stopped => Progress::Stopped,
            State::Reading | State::Blind => Progress::Open,
        };
        if self.state == State::Reading {
            let step = self.end(judge, out);
            progress = self.progress(step);
            if !self.ended {
                self.unscanned("cut");
            }
        }
        self.summary.is_cut = !self.ended;
        StreamEnd {
            summary: self.summary,
            progress,
        }
    }

    /// Whether its last event, as the dialect has it, has left.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What was said so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The transport has no more: whatever is held leaves, as the judge says.
    pub fn close(&mut self, judge: &mut dyn Judge, out: &mut Vec<u8>) -> Progress {
        match self.state {
            State::Reading => {
                let step = self.end(judge, out);
                self.progress(step)
            }
            State::Blind => Progress::Open,
            State::Stopped => Progress::Stopped,
        }
    }

    /// Ends a stopped stream as its dialect ends one that failed.
    pub fn refuse(&self, error: ErrorBody<'_>, out: &mut Vec<u8>) {
        let dialect = self.api.dialect().unwrap_or(Dialect::OpenAi);
        let event = error_event(self.api, dialect, error, self.numbers.next);
        out.extend_from_slice(event.as_bytes());
    }

    /// Bytes held at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.events.kept_bytes() + self.held_bytes() + self.summary.said.kept_bytes()
    }

    fn held_bytes(&self) -> usize {
        self.channels.values().map(|c| c.held.bytes()).sum()
    }

    fn progress(&mut self, step: Step) -> Progress {
        match step {
            ControlFlow::Continue(()) => Progress::Open,
            ControlFlow::Break(Stop) => {
                self.state = State::Stopped;
                self.channels.clear();
                Progress::Stopped
            }
        }
    }

    fn unscanned(&mut self, reason: &'static str) {
        self.summary.unscanned.get_or_insert(reason);
    }

    fn end(&mut self, judge: &mut dyn Judge, out: &mut Vec<u8>) -> Step {
        let (raw, first) = self.events.take_partial();
        let partial = RawEvent { raw: &raw, first };
        let data = partial.data().filter(|data| !data.is_empty());
        match data {
            Some(data) if data == b"[DONE]" || parse(&data).is_ok() => {
                self.pass_on(partial, true, judge, out)
            }
            Some(_) => {
                self.flush(&[End::All], &[], judge, out)?;
                self.pass_unread("cut", &raw, judge, out)
            }
            // Before a line that did not end, or it would begin with theirs.
            None => {
                self.flush(&[End::All], &[], judge, out)?;
                if breaks_off(&raw) {
                    return self.pass_unread("cut", &raw, judge, out);
                }
                out.extend_from_slice(&raw);
                Step::Continue(())
            }
        }
    }

    /// One event, changed as the judge says.
    fn pass_on(
        &mut self,
        raw: RawEvent<'_>,
        closing: bool,
        judge: &mut dyn Judge,
        out: &mut Vec<u8>,
    ) -> Step {
        let data = raw.data().filter(|data| !data.is_empty());
        let Some(data) = data.filter(|_| self.state == State::Reading) else {
            out.extend_from_slice(raw.raw);
            return Step::Continue(());
        };
        if data == b"[DONE]" {
            let mut rest = Vec::new();
            self.flush(&[End::All], &[], judge, &mut rest)?;
            self.tell_last(judge)?;
            out.extend(rest);
            out.extend_from_slice(raw.raw);
            return Step::Continue(());
        }
        // What comes after the end was not there when the whole answer was judged.
        let Some(root) = parse(&data).ok().filter(|_| !self.ended) else {
            return self.pass_unread("malformed_stream", raw.raw, judge, out);
        };
        if is_foreign(self.api, &root) {
            if closing {
                self.flush(&[End::All], &[], judge, out)?;
            }
            return self.pass_unread(FOREIGN_EVENT, raw.raw, judge, out);
        }
        let mut event = event(self.api, &root);
        if closing {
            event.ends.push(End::All);
        }
        self.summary.add(&root);
        if let Some(reason) = event.texts.unscanned {
            self.unscanned(reason);
        }

        let number = root.get("sequence_number");
        if let Some(number) = number.and_then(Node::as_u64) {
            self.numbers.next = number.saturating_add(self.numbers.ahead);
        }
        let mut changed = Vec::new();
        self.flush(&event.ends, &event.texts.spots, judge, &mut changed)?;
        let (before, mut splices) = (changed, self.judge_event(&event, &root, &data, judge)?);
        if event.last {
            self.tell_last(judge)?;
        }
        if let Some(number) = number {
            if self.numbers.ahead > 0 {
                splices.push(Edit {
                    range: number.span.range(),
                    with: self.numbers.next.to_string(),
                });
            }
            self.numbers.next = self.numbers.next.saturating_add(1);
        }
        out.extend(before);
        if splices.is_empty() {
            out.extend_from_slice(raw.raw);
        } else {
            out.extend(raw.with_data(&spliced(&data, splices)));
        }
        if self.held_bytes() > self.limits.held_bytes {
            return self.go_blind("held_too_large", judge, out);
        }
        if self.channels.len() > MAX_CHANNELS {
            return self.go_blind("too_many_channels", judge, out);
        }
        Step::Continue(())
    }

    /// Tells, once, that no more comes.
    fn tell_last(&mut self, judge: &mut dyn Judge) -> Step {
        if !self.ended {
            if let Err(stop) = judge.on_last(&self.summary) {
                return Step::Break(stop);
            }
            self.ended = true;
        }
        Step::Continue(())
    }

    /// Tells the texts of an event; gives what to change in its data.
    fn judge_event(
        &mut self,
        event: &Event<'_>,
        root: &Node<'_>,
        data: &[u8],
        judge: &mut dyn Judge,
    ) -> Step<Vec<Edit>> {
        let spots = &event.texts.spots;
        let mut splices = Vec::new();
        for (index, spot) in spots.iter().enumerate() {
            self.summary.said.add_streamed(spot);
            let with = match spot.role {
                Role::Whole => self.judge_whole(spot, data, judge)?,
                Role::Delta => {
                    let follows = spots
                        .iter()
                        .skip(index + 1)
                        .any(|s| s.role == Role::Delta && s.channel == spot.channel);
                    let ends = event.ends.iter().any(|e| e.covers(spot.channel));
                    let api = self.api;
                    let speaking = self.channels.entry(spot.channel);
                    let speaking = speaking.or_insert_with(|| Speaking {
                        held: Held::new(spot.form),
                        template: Template::of(api, root, data, spot),
                    });
                    let held = &mut speaking.held;
                    let leaving = held.add(spot.channel, spot.text, ends && !follows, judge)?;
                    leaving.map(|text| literal::quoted(&text))
                }
            };
            if let Some(with) = with {
                splices.push(Edit {
                    range: spot.literal.range(),
                    with,
                });
            }
        }
        if !splices.is_empty() {
            splices.extend(event.texts.logprobs.iter().map(|node| Edit {
                range: node.span.range(),
                with: no_logprobs(node).to_owned(),
            }));
        }
        Step::Continue(splices)
    }

    /// The literal that takes the place of a whole text's, if it changes.
    fn judge_whole(
        &mut self,
        spot: &Spot<'_>,
        data: &[u8],
        judge: &mut dyn Judge,
    ) -> Step<Option<String>> {
        let text = match spot.form {
            Form::Embedded => literal::shown(spot.text, Inside::default(), false).text,
            Form::Plain | Form::Number => spot.text.into(),
        };
        let whole = WholeText {
            channel: spot.channel,
            text: &text,
        };
        let edits = match judge.on_whole(whole) {
            Ok(edits) if edits.is_empty() => return Step::Continue(None),
            Ok(edits) => literal::in_order(edits),
            Err(stop) => return Step::Break(stop),
        };
        let source = data.get(spot.literal.range()).unwrap_or_default();
        let source = std::str::from_utf8(source).unwrap_or_default();
        Step::Continue(Some(literal::edited_literal(source, spot.form, &edits)))
    }

    /// Ends the channels that `ends` covers, those apart whose last text is
    /// among `spots`; what was held of them leaves in events of its own.
    fn flush(
        &mut self,
        ends: &[End],
        spots: &[Spot<'_>],
        judge: &mut dyn Judge,
        out: &mut Vec<u8>,
    ) -> Step {
        for (channel, speaking) in &mut self.channels {
            let speaks = |s: &Spot<'_>| s.role == Role::Delta && s.channel == *channel;
            let covered = ends.iter().any(|e| e.covers(*channel));
            if !covered || speaking.held.has_ended() || spots.iter().any(speaks) {
                continue;
            }
            let rest = speaking.held.add(*channel, "", true, judge)?;
            if let Some(rest) = rest {
                self.numbers.write(&speaking.template, &rest, out);
            }
        }
        Step::Continue(())
    }

    fn pass_unread(
        &mut self,
        reason: &'static str,
        raw: &[u8],
        judge: &mut dyn Judge,
        out: &mut Vec<u8>,
    ) -> Step {
        self.unscanned(reason);
        match judge.on_unread(reason) {
            OnUnread::Pass => {
                out.extend_from_slice(raw);
                Step::Continue(())
            }
            OnUnread::Stop => Step::Break(Stop),
        }
    }

    /// Reads no further; what was held leaves as it is, if the judge lets it.
    fn go_blind(&mut self, reason: &'static str, judge: &mut dyn Judge, out: &mut Vec<u8>) -> Step {
        self.pass_unread(reason, b"", judge, out)?;
        for speaking in self.channels.values_mut() {
            let rest = speaking.held.give_up();
            if !rest.is_empty() {
                self.numbers.write(&speaking.template, &rest, out);
            }
        }
        self.channels.clear();
        self.state = State::Blind;
        Step::Continue(())
    }
}

/// Whether the last line has no end: nobody knows what it was about to say, unless it is a
/// comment.
fn breaks_off(raw: &[u8]) -> bool {
    let line = raw.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next();
    line.is_some_and(|line| !line.trim_ascii().is_empty() && !line.starts_with(b":"))
}

impl Numbers {
    /// An event of our own.
    fn write(&mut self, template: &Template, text: &str, out: &mut Vec<u8>) {
        template.write(text, self.next, out);
        self.next = self.next.saturating_add(1);
        self.ahead = self.ahead.saturating_add(1);
    }
}

/// What says that there are none.
pub(crate) fn no_logprobs(logprobs: &Node<'_>) -> &'static str {
    match logprobs.value {
        Value::Array(_) => "[]",
        _ => "null",
    }
}

#[cfg(test)]
mod tests;
