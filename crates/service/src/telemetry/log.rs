//! One line an event, with the fields of its spans, and only those that are allowed.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde_json::{Map, Value};
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

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if ALLOWED_FIELDS.contains(&field.name()) {
            self.0.insert(field.name().to_owned(), value);
        }
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        let text: String = text.chars().take(VALUE_CHARS_MAX).collect();
        self.put(field, text.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
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
        for span in context
            .event_scope(event)
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .iter()
            .rev()
        {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let level = event.metadata().level().as_str();
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let line = match self.format {
            LogFormat::Text => text(&now, level, self.party.name(), fields.0),
            LogFormat::Json => json(&now, level, self.party.name(), fields.0),
        };
        // There is nobody left to tell that the log cannot be written.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

fn text(now: &str, level: &str, party: &str, mut fields: Map<String, Value>) -> String {
    let message = fields.remove("message").unwrap_or_default();
    let message = message.as_str().unwrap_or_default().escape_debug();
    let mut line = format!("{now} {level:5} {party} {message}");
    for (name, value) in fields {
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

fn json(now: &str, level: &str, party: &str, fields: Map<String, Value>) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), now.into());
    line.insert("level".to_owned(), level.into());
    line.extend(fields);
    line.insert("party".to_owned(), party.into());
    format!("{}\n", Value::Object(line))
}
