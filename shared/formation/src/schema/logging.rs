//! The tables of `logging`.

use super::Shape::{Bool, Literal, LogStreams, LogTarget, Map, Size, Text, Texts, Whole};
use super::State::{Built, Refused, Removed};
use super::values::{header, one_of};
use super::{Refusal, Table};

pub(crate) static LOGGING: Table = Table {
    required: &[],
    keys: &[
        ("system", Built(Map(&SYSTEM))),
        ("conversation", Built(Map(&CONVERSATION))),
        ("redaction", Built(Map(&REDACTION))),
        // The older form, without `conversation`.
        ("enabled", Built(Bool)),
        ("streams", Built(LogStreams)),
        ("level", Removed("write `logging.system.level`")),
        ("format", Removed("each of `logging.conversation.streams` has its own")),
        ("destinations", Removed("write `logging.conversation.streams`")),
        ("output", Removed("write `logging.conversation.streams`")),
    ],
};

static SYSTEM: Table = Table {
    required: &[],
    keys: &[
        ("level", Built(Literal(level))),
        ("destination", Built(LogTarget)),
        ("max_size", Built(Size)),
        ("max_files", Built(Whole { min: 1, max: 100 })),
    ],
};

static CONVERSATION: Table =
    Table { required: &[], keys: &[("enabled", Built(Bool)), ("streams", Built(LogStreams))] };

static REDACTION: Table = Table { required: &[], keys: &[("entities", Built(Bool))] };

/// One entry of `streams`.
pub(crate) static STREAM: Table = Table {
    required: &["transport"],
    keys: &[
        ("transport", Built(Literal(transport))),
        ("level", Built(Literal(level))),
        ("format", Built(Literal(format))),
        ("destination", Built(Text)),
        ("protocol", Built(Literal(protocol))),
        ("events", Built(Texts)),
        ("auth", Built(Map(&AUTH))),
        // Not documented by the original, as is the next: of files.
        ("max_size", Built(Size)),
        ("max_files", Built(Whole { min: 1, max: 100 })),
        ("topic", Refused),
        ("partition", Refused),
        ("token", Refused),
    ],
};

static AUTH: Table = Table {
    required: &["type"],
    keys: &[
        ("type", Built(Literal(auth))),
        ("token", Built(Text)),
        ("username", Built(Text)),
        ("password", Built(Text)),
        ("header", Built(Literal(header))),
        ("key", Built(Text)),
        ("headers", Refused),
        ("mechanism", Refused),
    ],
};

fn level(text: &str) -> Result<(), Refusal> {
    one_of(
        text,
        "level",
        &["debug", "info", "warning", "error"],
        &[],
        "write `debug`, `info`, `warning` or `error`",
    )
}

fn transport(text: &str) -> Result<(), Refusal> {
    let mend = "write `stdout`, `file` or `stream`";
    one_of(text, "transport", &["stdout", "file", "stream"], &["trail"], mend)
}

fn format(text: &str) -> Result<(), Refusal> {
    const PLANNED: [&str; 7] = [
        "msgpack",
        "protobuf",
        "datadog_json",
        "splunk_hec",
        "elastic_bulk",
        "grafana_loki",
        "newrelic_json",
    ];
    let mend = "write `jsonl`, `text` or `opentelemetry`";
    one_of(text, "format", &["jsonl", "text", "opentelemetry"], &PLANNED, mend)
}

fn protocol(text: &str) -> Result<(), Refusal> {
    one_of(text, "protocol", &["http"], &["zmq", "kafka", "tcp", "udp"], "write `http`")
}

fn auth(text: &str) -> Result<(), Refusal> {
    let mend = "write `none`, `bearer`, `basic` or `api_key`";
    one_of(
        text,
        "auth",
        &["none", "bearer", "basic", "api_key"],
        &["custom", "sasl", "token"],
        mend,
    )
}
