//! The tables of what loads because it is there, and of small blocks of the manifest.

use super::Shape::{Anything, Bool, Commas, Model, Spaces, Text, Url, Word};
use super::State::{Built, Inert, Refused, Unbuilt};
use super::Table;

/// The head of a trigger's file.
pub(crate) static TRIGGER: Table = Table {
    required: &[],
    keys: &[
        ("name", Built(Text)),
        ("webhook", Built(Url)),
        ("tags", Inert(None)),
        ("type", Inert(Some("a file in `triggers/` is a trigger"))),
        ("channel", Unbuilt),
        ("model", Unbuilt),
        // It can say who the user is.
        ("parse", Refused),
        ("transformer", Unbuilt),
    ],
};

/// The head of a procedure's file.
pub(crate) static PROCEDURE: Table = Table {
    required: &["type"],
    keys: &[
        ("type", Built(Text)),
        ("name", Built(Text)),
        ("description", Built(Text)),
        ("mode", Built(Word { words: &["template", "guide"], unbuilt: &[] })),
        ("tags", Built(Commas)),
        ("model", Built(Model)),
        ("bypass_approval", Built(Bool)),
        ("synthesis", Built(Bool)),
        ("triggers", Inert(Some("requests are compared with `description` and `tags`"))),
        ("id", Inert(Some("the name of the file is the id"))),
        ("version", Inert(None)),
        ("author", Inert(None)),
        ("metadata", Inert(None)),
    ],
};

/// The head of a `SKILL.md`.
pub(crate) static SKILL: Table = Table {
    required: &[],
    keys: &[
        ("name", Built(Text)),
        ("description", Built(Text)),
        ("license", Built(Text)),
        ("compatibility", Built(Text)),
        ("allowed-tools", Built(Spaces)),
        ("metadata", Built(Anything)),
        ("model", Built(Model)),
        ("version", Inert(None)),
        ("author", Inert(None)),
    ],
};

pub(crate) static LINK: Table = Table {
    required: &["url"],
    keys: &[("url", Built(Url)), ("label", Built(Text)), ("hint", Built(Text))],
};

pub(crate) static USER_CREDENTIALS: Table = Table {
    required: &[],
    keys: &[
        // The other mode takes credentials in chat.
        ("mode", Built(Word { words: &["redirect"], unbuilt: &["dynamic"] })),
        ("redirect_message", Built(Text)),
        ("encryption", Inert(Some("credentials are sealed with a key of the data folder"))),
        ("require_https", Unbuilt),
        ("credential_ttl_minutes", Unbuilt),
        ("max_attempts", Unbuilt),
    ],
};
