//! Hears what the server warns of during a call.
//!
//! A server that is told to cancel a commit which waits for its standby says
//! `COMMIT` and merely warns that no standby may have it. The driver passes
//! warnings on to nobody but the log, as events; so a call that has to know
//! listens to the events of its own polls. Our statements give no occasion for
//! any other warning, and texts are in the server's language: every warning
//! counts.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use tracing::dispatcher::{self, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::store::StoreError;

/// Where the driver tells of notices.
const NOTICES: &str = "sqlx::postgres::notice";

#[derive(Debug, thiserror::Error)]
#[error("the server warned that it may not have done what it confirms")]
struct Warned;

thread_local! {
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

static EAR: LazyLock<Dispatch> = LazyLock::new(|| {
    let next = dispatcher::get_default(Dispatch::clone);
    Dispatch::new(Ear { next })
});

/// What `work` comes to, unless the server warned of something meanwhile.
pub(super) async fn unless_warned<T, E: From<StoreError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut work = pin!(work);
    let mut warned = false;
    let result = poll_fn(|context| {
        let listening = dispatcher::set_default(&EAR);
        let polled = work.as_mut().poll(context);
        drop(listening);
        warned |= HEARD.take();
        polled
    })
    .await;
    match warned {
        true => Err(StoreError::Unavailable(Arc::new(Warned)).into()),
        false => result,
    }
}

/// Notes warnings, and hands on everything to whoever listens else.
struct Ear {
    next: Dispatch,
}

fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == NOTICES && *metadata.level() == Level::WARN
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_warning(metadata) {
            true => Interest::always(),
            false => self.next.register_callsite(metadata),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_warning(metadata) || self.next.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::current().max(LevelFilter::WARN))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.next.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.next.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.next.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        if is_warning(event.metadata()) {
            HEARD.set(true);
        }
        if self.next.enabled(event.metadata()) {
            self.next.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.next.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.next.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.next.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.next.try_close(id)
    }
}
