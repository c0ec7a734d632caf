//! Provider dialects: bodies and streams to facts, and changed back.
//!
//! [`Api::of`] says what a request asks for, [`read_request`] turns its body
//! into the facts policies speak of, [`read_response`] does so for a whole
//! answer; [`rewrite`] changes either in the places that they name.
//! [`ResponseReader`] follows an answer as it passes, [`StreamEditor`] judges
//! a stream as it passes and changes it, [`error_body`] and [`error_event`]
//! speak back in the client's own dialect. No I/O; whatever bytes come, the
//! answer is facts or a reason, never a panic.

mod answer;
mod api;
mod attached;
mod error;
mod json;
mod literal;
mod places;
mod request;
mod response;
mod said;
mod sse;
mod stream;
mod text;

pub use answer::{Channel, TextKind};
pub use api::{Api, Dialect};
pub use error::{ErrorBody, error_body, error_event};
pub use literal::Edit;
pub use places::{MemberEdit, Places, RewriteError, TextEdit, TextId, rewrite};
pub use request::{ReadRequest, Unreadable, read_request};
pub use response::{BodyKind, ReadResponse, ResponseReader, Summary, read_response};
pub use said::Said;
pub use sse::{EventReader, EventTooLarge, RawEvent};
pub use stream::{
    Judge, OnUnread, Progress, Ruling, Stop, StreamEditor, StreamEnd, StreamLimits, WholeText,
};
