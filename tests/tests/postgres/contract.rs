//! Every promise of the store.

use std::sync::Arc;

use jupiter_control_plane::store::Store;
use jupiter_testkit::postgres::database;

use crate::support::{config_of, open};

async fn empty() -> (Arc<dyn Store>, ()) {
    let database = database().await;
    (open(config_of(&database, "")).await, ())
}

jupiter_control_plane::store_contract!(super::empty);
