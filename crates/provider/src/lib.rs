//! Provider dialects: bodies and streams to facts.
//!
//! [`Api::of`] says what a request asks for, [`read_request`] turns its body
//! into the facts policies speak of, [`ResponseReader`] follows the answer as
//! it passes, [`error_body`] speaks back in the client's own dialect. No I/O;
//! whatever bytes come, the answer is facts or a reason, never a panic.

mod api;
mod error;
mod json;
mod request;
mod response;
mod sse;

pub use api::{Api, Dialect};
pub use error::{ErrorBody, error_body};
pub use request::{ReadRequest, Unreadable, read_request};
pub use response::{BodyKind, ResponseFacts, ResponseReader};
