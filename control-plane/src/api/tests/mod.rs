//! The API as its clients see it: through the real router, with a real database.

mod evidence;
mod frame;
mod health;
mod policies;
mod roles;
mod tokens;
