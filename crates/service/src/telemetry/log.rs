//! One line an event, with the fields of its spans, and only those that are allowed.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde::{Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use crate::config::Party;

/// The fields that a log line may have; all others are left out, those of libraries included.
pub const ALLOWED_FIELDS: &[&str] = &[
    "address",
    "attempt",
    "duration_ms",
    "error",
    "kind",
    "lid_m",
    "message",
    "method",
    "outcome",
    "party",
    "request_id",
    "route",
    "rrpid",
    "set_message",
    "status",
    "step",
    "xid",
];

/// Longer values are cut.
const VALUE_CHARS_MAX: usize = 1000;

/// Writes log lines of one party.
#[derive(Debug)]
pub struct LogLayer<W> {
    party: Party,
    format: LogFormat,
    writer: W,
}

impl<W> LogLayer<W> {
    /// A layer that writes to `writer`.
    pub fn new(party: Party, format: LogFormat, writer: W) -> Self {
        Self {
            party,
            format,
            writer,
        }
    }
}

/// By name.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// What was said last of a name stands.
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.binary_search_by_key(&name, |(known, _)| known) {
            Ok(at) => {
                if let Some((_, before)) = self.0.get_mut(at) {
                    *before = value;
                }
            }
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    fn put(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        if ALLOWED_FIELDS.contains(&field.name()) {
            self.set(field.name(), value());
        }
    }
}

/// Cut where it is too long.
fn short(text: &str) -> Value {
    let end = text.char_indices().nth(VALUE_CHARS_MAX);
    let end = end.map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text).into()
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, || short(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || short(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || value.into());
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        let scope = context.event_scope(event);
        for span in scope.into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                for (name, value) in &of_span.0 {
                    fields.set(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        let level = event.metadata().level().as_str();
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let line = match self.format {
            LogFormat::Text => text(&now, level, self.party.name(), &fields),
            LogFormat::Json => json(&now, level, self.party.name(), fields),
        };
        // There is nobody left to tell that the log cannot be written.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

fn text(now: &str, level: &str, party: &str, fields: &Fields) -> String {
    let is_message = |(name, _): &&(&str, Value)| *name == "message";
    let message = fields.0.iter().find(is_message);
    let message = message.and_then(|(_, value)| value.as_str());
    let message = message.unwrap_or_default().escape_debug();
    let mut line = format!("{now} {level:5} {party} {message}");
    for (name, value) in fields.0.iter().filter(|field| !is_message(field)) {
        // Quoted and escaped unless it is a plain word, so that no value can forge a line.
        let _ = match value.as_str() {
            Some(word) if is_plain(word) => write!(line, " {name}={word}"),
            _ => write!(line, " {name}={value}"),
        };
    }
    line.push('\n');
    line
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && c != '"')
}

fn json(now: &str, level: &str, party: &str, mut fields: Fields) -> String {
    for (name, value) in [("time", now), ("level", level), ("party", party)] {
        fields.set(name, value.into());
    }
    // Texts and numbers by name always serialize.
    let mut line = serde_json::to_string(&fields).unwrap_or_default();
    line.push('\n');
    line
}
