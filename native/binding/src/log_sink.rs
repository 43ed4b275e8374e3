//! What the native module has to say goes to the node's one log, in JavaScript.

use std::fmt::Write;
use std::sync::OnceLock;

use napi::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use parking_lot::RwLock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Events that may wait for the event loop; beyond it they are dropped, never waited for.
const QUEUE: usize = 1024;

/// One event.
#[napi(object)]
pub struct LogEvent {
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// The Rust module it comes from.
    pub target: String,
    /// The message, with its fields behind it as `key=value`.
    pub message: String,
}

/// The JavaScript function that takes events. Weak: it keeps no process alive.
pub type OnLog = ThreadsafeFunction<LogEvent, (), LogEvent, Status, false, true, QUEUE>;

static SINK: OnceLock<RwLock<Option<OnLog>>> = OnceLock::new();

/// Sends events to `on_log` from now on, in place of the function before it.
pub fn attach(on_log: OnLog) {
    let sink = SINK.get_or_init(|| RwLock::new(None));
    *sink.write() = Some(on_log);
    // A second engine of the process finds the subscriber in place; that is no error.
    let _ = tracing::subscriber::set_global_default(Sink);
}

/// Forwards events of our own crates from `INFO`, and of the libraries from `WARN`.
struct Sink;

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if metadata.target().starts_with("otlake") {
            Level::INFO
        } else {
            Level::WARN
        };
        metadata.is_event() && *metadata.level() <= limit
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(sink) = SINK.get() else { return };
        let guard = sink.read();
        let Some(on_log) = guard.as_ref() else { return };
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let event = LogEvent {
            level: level.to_owned(),
            target: metadata.target().to_owned(),
            message: text.message + &text.fields,
        };
        on_log.call(event, ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
