//! The tables of agents elsewhere.

use super::Shape::{Anything, Bool, Headers, Kinds, Literal, Map, NoList, Text, Texts, Url, Whole};
use super::State::{Built, Inert, Stale, Unbuilt};
use super::values::{header, schema_version, version, word};
use super::{Keys, Kind, Shape, State, Table};

pub(crate) static A2A: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("filtering", Unbuilt),
        ("outbound", Built(Map(&OUTBOUND))),
        ("inbound", Built(Map(&INBOUND))),
        ("receiver", Stale("did you mean `a2a.inbound`?")),
        ("sender", Stale("did you mean `a2a.outbound`?")),
    ],
};

static OUTBOUND: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("services", Built(Anything)),
        ("default_retry_attempts", Built(RETRIES)),
        ("default_timeout_seconds", Built(TIMEOUT)),
        ("registries", Built(NoList)),
        ("startup_policy", Inert(Some("a remote agent is looked up when it is first needed"))),
        (
            "retry_timeout_seconds",
            Inert(Some("a remote agent is looked up when it is first needed")),
        ),
    ],
};

static INBOUND: Table = Table {
    required: &[],
    keys: &[
        ("enabled", Built(Bool)),
        ("auth", Built(Kinds(&INBOUND_AUTH))),
        ("trusted_endpoints", Built(Texts)),
        ("registries", Built(NoList)),
        ("host", Inert(Some("the formation's own port serves it"))),
        ("port", Inert(Some("the formation's own port serves it"))),
        ("startup_policy", Inert(Some("there is nothing to look up"))),
    ],
};

/// A remote agent's own file.
pub(crate) static REMOTE_FILE: Table =
    Table { required: &["schema", "id", "name", "description", "url"], keys: KEYS };

/// A remote agent written into the manifest.
pub(crate) static REMOTE_INLINE: Table =
    Table { required: &["id", "name", "description", "url"], keys: KEYS };

const KEYS: &[(&str, State)] = &[
    ("schema", Built(Literal(schema_version))),
    ("id", Built(Literal(word))),
    ("service_id", Built(Literal(word))),
    ("name", Built(Text)),
    ("description", Built(Text)),
    ("url", Built(Url)),
    ("version", Built(Literal(version))),
    ("active", Built(Bool)),
    ("timeout_seconds", Built(TIMEOUT)),
    ("retry_attempts", Built(RETRIES)),
    ("auth", Built(Kinds(&OUTBOUND_AUTH))),
    ("endpoint", Stale("did you mean `url`?")),
    ("protocol", Stale("remote agents speak one protocol")),
    ("circuit_breaker", Unbuilt),
    ("health_check", Unbuilt),
    ("author", Inert(None)),
    ("contact", Inert(None)),
    ("contacts", Inert(None)),
    ("license", Inert(None)),
    ("metadata", Inert(None)),
];

static OUTBOUND_AUTH: [Kind; 7] = [
    Kind { name: "none", keys: Keys::Table(&NONE) },
    Kind { name: "api_key", keys: Keys::Table(&API_KEY) },
    Kind { name: "bearer", keys: Keys::Table(&BEARER) },
    Kind { name: "basic", keys: Keys::Table(&BASIC) },
    Kind { name: "custom", keys: Keys::Table(&CUSTOM) },
    Kind { name: "hmac", keys: Keys::Table(&HMAC) },
    Kind { name: "oauth2", keys: Keys::Table(&OAUTH2) },
];

static INBOUND_AUTH: [Kind; 7] = [
    Kind { name: "none", keys: Keys::Table(&NONE) },
    Kind { name: "api_key", keys: Keys::Table(&API_KEY) },
    Kind { name: "bearer", keys: Keys::Table(&BEARER) },
    Kind { name: "basic", keys: Keys::Table(&BASIC) },
    Kind { name: "custom", keys: Keys::Table(&CUSTOM) },
    Kind { name: "hmac", keys: Keys::Table(&HMAC) },
    Kind { name: "openid", keys: Keys::Table(&OPENID) },
];

static NONE: Table = Table { required: &[], keys: &[TYPE] };

static API_KEY: Table = Table {
    required: &["key"],
    keys: &[TYPE, ("header", Built(Literal(header))), ("key", Built(Text))],
};

static BEARER: Table = Table { required: &["token"], keys: &[TYPE, ("token", Built(Text))] };

static BASIC: Table = Table {
    required: &["username", "password"],
    keys: &[TYPE, ("username", Built(Text)), ("password", Built(Text))],
};

static CUSTOM: Table = Table { required: &["headers"], keys: &[TYPE, ("headers", Built(Headers))] };

static HMAC: Table = Table {
    required: &["secret"],
    keys: &[
        TYPE,
        ("secret", Built(Text)),
        ("signature_header", Built(Literal(header))),
        ("timestamp_header", Built(Literal(header))),
        ("timestamp_tolerance", Built(Whole { min: 1, max: 86_400 })),
    ],
};

static OAUTH2: Table = Table {
    required: &["client_id", "client_secret", "token_url"],
    keys: &[
        TYPE,
        ("client_id", Built(Text)),
        ("client_secret", Built(Text)),
        ("token_url", Built(Url)),
        ("scope", Built(Text)),
    ],
};

static OPENID: Table = Table {
    required: &["issuer", "audience"],
    keys: &[
        TYPE,
        ("issuer", Built(Url)),
        ("audience", Built(Text)),
        ("jwks_url", Built(Url)),
        ("allowed_algorithms", Built(Texts)),
        ("clock_skew_seconds", Built(Whole { min: 0, max: 3_600 })),
    ],
};

const TYPE: (&str, State) = ("type", Built(Text));
const RETRIES: Shape = Whole { min: 0, max: 10 };
const TIMEOUT: Shape = Whole { min: 1, max: 3_600 };
