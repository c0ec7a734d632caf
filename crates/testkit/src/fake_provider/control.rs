//! The control API under `/__fake/`, for those who can't reach in from the
//! same process: what was received, and the standing script.

use bytes::Bytes;
use serde_json::{Value, json};

use super::wire::Reply;
use super::{Script, Shared};

/// Where the control API lives; nothing below is recorded as a request.
pub(super) const PREFIX: &str = "/__fake/";

pub(super) fn answer(shared: &Shared, method: &str, path: &str, body: &Bytes) -> Reply {
    match (method, path) {
        ("GET", "/__fake/requests") => {
            let requests = shared.received().all();
            let requests: Vec<Value> = requests.iter().map(|r| r.to_json()).collect();
            Reply::json(200, &json!({ "requests": requests }))
        }
        ("DELETE", "/__fake/requests") => {
            shared.received().clear();
            Reply::json(200, &json!({}))
        }
        ("GET", "/__fake/script") => Reply::json(200, &json!(shared.script())),
        ("PUT", "/__fake/script") => match serde_json::from_slice::<Script>(body) {
            Ok(script) => {
                shared.set_script(script);
                Reply::json(200, &json!({}))
            }
            Err(error) => Reply::json(400, &json!({ "error": error.to_string() })),
        },
        ("DELETE", "/__fake/script") => {
            shared.set_script(Script::default());
            Reply::json(200, &json!({}))
        }
        _ => Reply::json(404, &json!({ "error": "no such control" })),
    }
}
