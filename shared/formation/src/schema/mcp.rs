//! The tables of tools over the Model Context Protocol.

use super::Shape::{
    Anything, Arguments, Bool, CallHeaders, CallText, CallVariables, Endpoint, Kinds, Literal,
    OneOrMore, Scalars, Spaces, Switch, Text, Tools, Whole, Word,
};
use super::State::{Built, Inert, Unbuilt};
use super::values::{header, path_inside, schema_version, word};
use super::{Keys, Kind, Shape, State, Table};

/// The block of the manifest.
pub(crate) static MCP: Table = Table {
    required: &[],
    keys: &[
        ("servers", Built(Anything)),
        ("connection_ttl", Built(TTL)),
        ("default_retry_attempts", Built(RETRIES)),
        ("default_timeout_seconds", Built(TIMEOUT)),
        ("max_tool_iterations", Built(Whole { min: 1, max: 1_000 })),
        ("max_tool_calls", Built(Whole { min: 1, max: 10_000 })),
        ("max_repeated_errors", Built(Whole { min: 1, max: 100 })),
        ("max_timeout_in_seconds", Built(Whole { min: 1, max: 86_400 })),
        ("max_tool_timeout_in_seconds", Built(TIMEOUT)),
        ("enhance_user_prompts", Built(Bool)),
        ("watch", Built(Switch(&WATCH))),
    ],
};

pub(crate) static WATCH: Table = Table {
    required: &[],
    keys: &[
        ("interval", Built(Whole { min: 1, max: 86_400 })),
        ("timeout", Built(Whole { min: 1, max: 604_800 })),
        ("max_concurrent", Built(Whole { min: 1, max: 1_000 })),
        ("max_consecutive_failures", Built(Whole { min: 1, max: 100 })),
    ],
};

/// A server's own file.
pub(crate) static MCP_FILE: Table = Table { required: &["schema", "id", "type"], keys: KEYS };

/// A server written into the manifest or an agent.
pub(crate) static MCP_INLINE: Table = Table { required: &["id", "type"], keys: KEYS };

const KEYS: &[(&str, State)] = &[
    ("schema", Built(Literal(schema_version))),
    ("id", Built(Literal(word))),
    ("name", Inert(None)),
    ("description", Built(Text)),
    ("type", Built(Word { words: &["command", "http"], unbuilt: &[] })),
    ("command", Built(Text)),
    ("args", Built(Arguments)),
    ("env", Built(CallVariables)),
    ("cwd", Built(Literal(path_inside))),
    ("endpoint", Built(Endpoint)),
    ("url", Built(Endpoint)),
    ("headers", Built(CallHeaders)),
    ("method", Inert(Some("the protocol says how its messages are sent"))),
    ("protocol", Inert(Some("the protocol says how its messages are sent"))),
    ("auth", Built(Kinds(&AUTH))),
    ("timeout_seconds", Built(TIMEOUT)),
    ("retry_attempts", Built(RETRIES)),
    ("connection_ttl", Built(TTL)),
    ("parameters", Built(Scalars)),
    ("tools", Built(Tools)),
    ("install", Unbuilt),
    ("health_check", Unbuilt),
    ("rate_limiting", Unbuilt),
    ("active", super::State::Stale("a server loads when `mcp.servers` lists it")),
    ("capabilities", Inert(None)),
    ("metadata", Inert(None)),
    ("author", Inert(None)),
    ("license", Inert(None)),
    ("version", Inert(None)),
];

pub(crate) static TOOLS: Table = Table {
    required: &[],
    keys: &[
        ("allow", Built(OneOrMore)),
        ("deny", Built(OneOrMore)),
        ("whitelist", Built(OneOrMore)),
        ("blacklist", Built(OneOrMore)),
    ],
};

static AUTH: [Kind; 6] = [
    Kind { name: "none", keys: Keys::Table(&NONE) },
    Kind { name: "env", keys: Keys::Variables },
    Kind { name: "bearer", keys: Keys::Table(&BEARER) },
    Kind { name: "basic", keys: Keys::Table(&BASIC) },
    Kind { name: "api_key", keys: Keys::Table(&API_KEY) },
    Kind { name: "oauth", keys: Keys::Table(&OAUTH) },
];

static NONE: Table = Table { required: &[], keys: &[TYPE, ACCEPT_INLINE] };

static BEARER: Table =
    Table { required: &["token"], keys: &[TYPE, ("token", Built(CallText)), ACCEPT_INLINE] };

static BASIC: Table = Table {
    required: &["username", "password"],
    keys: &[TYPE, ("username", Built(CallText)), ("password", Built(CallText)), ACCEPT_INLINE],
};

static API_KEY: Table = Table {
    required: &["key"],
    keys: &[TYPE, ("header", Built(Literal(header))), ("key", Built(CallText)), ACCEPT_INLINE],
};

/// The protocol's own specification says the rest.
static OAUTH: Table = Table {
    required: &[],
    keys: &[
        TYPE,
        ("client_id", Built(Text)),
        ("client_secret", Built(Text)),
        ("scopes", Built(Spaces)),
    ],
};

const TYPE: (&str, State) = ("type", Built(Text));
/// Of the mode in which credentials are told in a chat.
pub(crate) const ACCEPT_INLINE: (&str, State) =
    ("accept_inline", Inert(Some("credentials are never taken from a chat")));
const TTL: Shape = Whole { min: 0, max: 86_400 };
const RETRIES: Shape = Whole { min: 0, max: 10 };
const TIMEOUT: Shape = Whole { min: 1, max: 3_600 };
