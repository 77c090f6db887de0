//! `logging`: where what happens is told to, besides the API.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

/// Files of logs end in one of these, so that none can be the database or a key.
pub(crate) const FILE_ENDINGS: [&str; 4] = ["log", "jsonl", "ndjson", "txt"];

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Fields")]
pub struct Logging {
    pub system: SystemLog,
    pub streams: Vec<LogStream>,
    /// Whether names of people and the like are to be hidden; `None` when the manifest does not say.
    pub entities: Option<bool>,
}

/// What happens to the formation itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemLog {
    /// `None` when the manifest does not say.
    pub level: Option<LogLevel>,
    pub target: LineTarget,
}

/// One destination of what happens in conversations.
#[derive(Debug, Clone)]
pub struct LogStream {
    pub transport: LogTransport,
    pub level: LogLevel,
    pub format: LogFormat,
    /// Kinds of events, where `*` stands for anything; empty for all that conversations have.
    pub events: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum LogTransport {
    Lines(LineTarget),
    Http { url: String, auth: LogAuth },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LineTarget {
    #[default]
    Stdout,
    File(LogFile),
}

/// A file below the data folder and those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub path: Utf8PathBuf,
    /// A file that would be larger is put aside.
    pub size_max_bytes: u64,
    /// With the one that is written.
    pub files_max: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    #[default]
    Debug,
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Jsonl,
    Text,
    OpenTelemetry,
}

/// How a receiver knows who sends.
#[derive(Debug, Clone, Default)]
pub enum LogAuth {
    #[default]
    None,
    Bearer {
        token: SecretString,
    },
    Basic {
        username: String,
        password: SecretString,
    },
    ApiKey {
        header: String,
        key: SecretString,
    },
}

/// Whether a log can be written there, and if not, why.
pub(crate) fn check_file(path: &str) -> Result<(), &'static str> {
    let path = Utf8Path::new(path);
    if !path.components().all(|part| matches!(part, Utf8Component::Normal(_))) {
        return Err("must stay below the formation's data folder: no leading `/`, no `..`");
    }
    if path.extension().is_none_or(|ending| !FILE_ENDINGS.contains(&ending)) {
        return Err("must end in `.log`, `.jsonl`, `.ndjson` or `.txt`");
    }
    Ok(())
}

// === impl LogLevel ===

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

// === impl LogFormat ===

impl LogFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Text => "text",
            Self::OpenTelemetry => "opentelemetry",
        }
    }
}

// === impl LogAuth ===

impl LogAuth {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::ApiKey { .. } => "api_key",
        }
    }

    pub fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::None => None,
            Self::Bearer { token: secret }
            | Self::Basic { password: secret, .. }
            | Self::ApiKey { key: secret, .. } => Some(secret),
        }
    }
}

// === impl Logging ===

impl From<Fields> for Logging {
    fn from(fields: Fields) -> Self {
        // The older form has no block for conversations; a manifest has one of the two.
        let conversation = fields.conversation.or_else(|| {
            let is_flat = fields.enabled.is_some() || fields.streams.is_some();
            is_flat
                .then_some(ConversationFields { enabled: fields.enabled, streams: fields.streams })
        });
        let streams = match conversation {
            Some(it) if it.enabled.unwrap_or(true) => {
                it.streams.unwrap_or_else(|| vec![StreamFields::default()])
            }
            Some(_) | None => Vec::new(),
        };
        Self {
            system: SystemLog { level: fields.system.level, target: fields.system.file.target() },
            streams: streams.into_iter().map(LogStream::from).collect(),
            entities: fields.redaction.entities,
        }
    }
}

impl From<StreamFields> for LogStream {
    fn from(fields: StreamFields) -> Self {
        let transport = match (fields.transport, fields.url) {
            (TransportName::Stream, Some(url)) => {
                LogTransport::Http { url, auth: fields.auth.into() }
            }
            (TransportName::File, _) => LogTransport::Lines(fields.file.target()),
            (TransportName::Stdout | TransportName::Stream, _) => {
                LogTransport::Lines(LineTarget::Stdout)
            }
        };
        Self { transport, level: fields.level, format: fields.format, events: fields.events }
    }
}

impl From<AuthFields> for LogAuth {
    fn from(fields: AuthFields) -> Self {
        // The walk has seen that each kind has what it needs.
        let secret = |value: Option<SecretString>| value.unwrap_or_default();
        match fields.kind {
            AuthName::None => Self::None,
            AuthName::Bearer => Self::Bearer { token: secret(fields.token) },
            AuthName::Basic => Self::Basic {
                username: fields.username.unwrap_or_default(),
                password: secret(fields.password),
            },
            AuthName::ApiKey => Self::ApiKey {
                header: fields.header.unwrap_or_else(|| "X-API-Key".to_owned()),
                key: secret(fields.key),
            },
        }
    }
}

// === private helpers ===

const FILE_BYTES: u64 = 10 << 20;
const FILES: u32 = 5;

/// As the walk leaves it: both forms, and each destination under the name that its transport gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    system: SystemFields,
    conversation: Option<ConversationFields>,
    enabled: Option<bool>,
    streams: Option<Vec<StreamFields>>,
    redaction: RedactionFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SystemFields {
    level: Option<LogLevel>,
    #[serde(flatten)]
    file: FileFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConversationFields {
    enabled: Option<bool>,
    streams: Option<Vec<StreamFields>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RedactionFields {
    entities: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamFields {
    transport: TransportName,
    url: Option<String>,
    #[serde(flatten)]
    file: FileFields,
    level: LogLevel,
    format: LogFormat,
    events: Vec<String>,
    auth: AuthFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileFields {
    #[serde(alias = "destination")]
    path: Option<Utf8PathBuf>,
    max_size: Option<u64>,
    max_files: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransportName {
    #[default]
    Stdout,
    File,
    Stream,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthFields {
    #[serde(rename = "type")]
    kind: AuthName,
    #[serde(deserialize_with = "secret")]
    token: Option<SecretString>,
    username: Option<String>,
    #[serde(deserialize_with = "secret")]
    password: Option<SecretString>,
    header: Option<String>,
    #[serde(deserialize_with = "secret")]
    key: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthName {
    #[default]
    None,
    Bearer,
    Basic,
    ApiKey,
}

// === impl FileFields ===

impl FileFields {
    fn target(self) -> LineTarget {
        let Self { path, max_size, max_files } = self;
        path.map_or(LineTarget::Stdout, |path| {
            LineTarget::File(LogFile {
                path,
                size_max_bytes: max_size.unwrap_or(FILE_BYTES),
                files_max: max_files.unwrap_or(FILES),
            })
        })
    }
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretString::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_in_the_data_folder_and_are_logs() {
        for good in ["events.log", "logs/a.jsonl", "a.b.txt", "./x.ndjson"] {
            let inside = !good.starts_with('.');
            assert_eq!(check_file(good).is_ok(), inside, "{good}");
        }
        for bad in ["/var/log/x.log", "../x.log", "a/../../x.log", "memory.db", "log", ".log", ""] {
            assert!(check_file(bad).is_err(), "{bad}");
        }
    }
}
