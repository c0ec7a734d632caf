//! The API as its clients see it: through the real router, with a real database.

mod evidence;
mod frame;
mod health;
mod log;
mod policies;
mod revisions;
mod roles;
mod tokens;
