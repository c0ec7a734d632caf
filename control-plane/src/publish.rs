//! Publishes policies as bundles.

/// A compiled bundle in force.
#[derive(Debug, Clone)]
pub struct PublishedBundle {
    pub digest: String,
    pub bytes: Vec<u8>,
}
