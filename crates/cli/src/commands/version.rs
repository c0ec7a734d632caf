//! `mercator version`: what is running here.

use crate::exit::Answer;
use crate::output::{self, Format};

pub fn run(format: Format) -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Text => output::print(&format!("mercator {version}")),
        Format::Json => output::print_json(&serde_json::json!({
            "name": "mercator",
            "version": version,
        })),
    }
    Answer::Yes
}
