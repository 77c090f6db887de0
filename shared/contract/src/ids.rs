//! Identifiers. Raw strings stop here: the constructor is the only check.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ids that would collide with the manager's own paths (server-side rule of the protocol).
pub const RESERVED_FORMATION_IDS: [&str; 7] =
    ["health", "ping", "rpc", "server", "admin", "metrics", "api"];

/// What a draft's name ends with. No client can send such a name: `@` is in no id.
const DRAFT_SUFFIX: &str = "@draft";
const FORMATION_ID_CHARS: std::ops::RangeInclusive<usize> = 3..=50;
const OPAQUE_ID_BYTES_MAX: usize = 256;
const NANOID_CHARS: usize = 21;
const ANONYMOUS: &str = "0";
const MUXI_USER_PREFIX: &str = "usr_";
const NANOID_ALPHABET: &[u8; 63] =
    b"_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The address of a formation: 3–50 of `[a-z0-9-]`, first and last alphanumeric, not reserved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    value_type = String,
    min_length = 3,
    max_length = 50,
    pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$",
    example = "hello"
)]
pub struct FormationId(String);

/// Why a text cannot be a formation's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFormationId {
    /// Fewer than 3 or more than 50 characters.
    #[error("'{0}' must have 3 to 50 characters")]
    Length(String),
    /// A character outside `[a-z0-9-]`, or a hyphen at an end.
    #[error(
        "'{0}' may only have lower-case letters, digits and hyphens, and must start and end with a \
         letter or digit"
    )]
    Characters(String),
    /// One of [`RESERVED_FORMATION_IDS`].
    #[error("'{0}' is reserved")]
    Reserved(String),
}

/// The end user on whose behalf a request runs; `0` is the anonymous one.
///
/// E-mail-shaped values are lower-cased whole, so that one person has one history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256, example = "alice@example.com")]
pub struct UserId(String);

/// A conversation of one user. Any text of 1–256 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256, example = "sess_V1StGXR8Z5jdHi6BmyTab")]
pub struct SessionId(String);

/// One HTTP request or turn. Any text of 1–256 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256, pattern = "^[!-~]+$", example = "req_V1StGXR8Z5jdHi6BmyTab")]
pub struct RequestId(String);

/// A person to whom identifiers are linked: `usr_` and 21 characters. Made by the formation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^usr_[_0-9a-zA-Z]{21}$", example = "usr_V1StGXR8Z5jdHi6BmyTab")]
pub struct MuxiUserId(String);

/// Why a text cannot be the id of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a muxi_user_id is `{MUXI_USER_PREFIX}` and {NANOID_CHARS} letters, digits and underscores"
)]
pub struct InvalidMuxiUserId;

/// Why a text cannot be a user, session or request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must have {rule}")]
pub struct InvalidOpaqueId {
    kind: &'static str,
    rule: &'static str,
}

/// 21 characters of `[_0-9a-zA-Z]` from the system's random source (about 125 bits).
pub fn nanoid() -> String {
    let mut id = String::with_capacity(NANOID_CHARS);
    let mut pool = [0u8; 32];
    while id.len() < NANOID_CHARS {
        getrandom::fill(&mut pool).expect("the system's random source answers");
        // The top 2 bits are cut and the 64th value thrown away, so that every character is as likely.
        let chars = pool.iter().filter_map(|byte| NANOID_ALPHABET.get(usize::from(byte & 63)));
        id.extend(chars.take(NANOID_CHARS - id.len()).map(|byte| char::from(*byte)));
    }
    id
}

// === impl FormationId ===

impl FormationId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name under which the manager runs the formation's draft beside it. It is the manager's
    /// own: texts are never parsed into it, but for what it stored itself.
    #[must_use]
    pub fn draft(&self) -> Self {
        Self(format!("{}{DRAFT_SUFFIX}", self.formation().0))
    }

    pub fn is_draft(&self) -> bool {
        self.0.ends_with(DRAFT_SUFFIX)
    }

    /// The formation that this is the draft of, or the formation itself.
    #[must_use]
    pub fn formation(&self) -> Self {
        Self(self.0.strip_suffix(DRAFT_SUFFIX).unwrap_or(&self.0).to_owned())
    }

    /// Reads a name that the manager stored, a draft's included.
    pub fn from_stored(text: &str) -> Result<Self, InvalidFormationId> {
        match text.strip_suffix(DRAFT_SUFFIX) {
            Some(formation) => Ok(formation.parse::<Self>()?.draft()),
            None => text.parse(),
        }
    }
}

impl FromStr for FormationId {
    type Err = InvalidFormationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !FORMATION_ID_CHARS.contains(&text.chars().count()) {
            return Err(InvalidFormationId::Length(text.to_owned()));
        }
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.bytes().all(inner) || text.starts_with('-') || text.ends_with('-') {
            return Err(InvalidFormationId::Characters(text.to_owned()));
        }
        if RESERVED_FORMATION_IDS.contains(&text) {
            return Err(InvalidFormationId::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

// === impl UserId ===

impl UserId {
    /// The user of a chat that names none.
    pub fn anonymous() -> Self {
        Self(ANONYMOUS.to_owned())
    }

    pub fn is_anonymous(&self) -> bool {
        self.0 == ANONYMOUS
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidOpaqueId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = opaque("user id", text.trim())?;
        Ok(Self(if is_email_shaped(text) { text.to_lowercase() } else { text.to_owned() }))
    }
}

fn is_email_shaped(text: &str) -> bool {
    let mut parts = text.split('@');
    let (Some(name), Some(domain), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    !name.is_empty() && domain.contains('.') && !text.contains(char::is_whitespace)
}

// === impl MuxiUserId ===

impl MuxiUserId {
    pub fn generate() -> Self {
        Self(format!("{MUXI_USER_PREFIX}{}", nanoid()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MuxiUserId {
    type Err = InvalidMuxiUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let random = text.strip_prefix(MUXI_USER_PREFIX).ok_or(InvalidMuxiUserId)?;
        let fits = random.len() == NANOID_CHARS
            && random.bytes().all(|byte| NANOID_ALPHABET.contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidMuxiUserId) }
    }
}

// === impl SessionId ===

impl SessionId {
    pub fn generate() -> Self {
        Self(format!("sess_{}", nanoid()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidOpaqueId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(opaque("session_id", text)?.to_owned()))
    }
}

// === impl RequestId ===

impl RequestId {
    pub fn generate() -> Self {
        Self(format!("req_{}", nanoid()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidOpaqueId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // It is echoed in a header, so it must be able to stand in one.
        let fits = (1..=OPAQUE_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        let rule = "1 to 256 visible ASCII characters";
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOpaqueId { kind: "request_id", rule })
        }
    }
}

// === shared ===

fn opaque<'a>(kind: &'static str, text: &'a str) -> Result<&'a str, InvalidOpaqueId> {
    let fits = !text.is_empty() && text.len() <= OPAQUE_ID_BYTES_MAX;
    let rule = "1 to 256 bytes and no control characters";
    if fits && !text.contains(char::is_control) {
        Ok(text)
    } else {
        Err(InvalidOpaqueId { kind, rule })
    }
}

macro_rules! text_conversions {
    ($($id:ident: $error:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $id {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    )*};
}

text_conversions!(
    FormationId: InvalidFormationId,
    UserId: InvalidOpaqueId,
    MuxiUserId: InvalidMuxiUserId,
    SessionId: InvalidOpaqueId,
    RequestId: InvalidOpaqueId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formation_ids_follow_the_servers_rule() {
        for good in ["abc", "a1-b2", "hello-muxi", &"a".repeat(50)] {
            assert!(good.parse::<FormationId>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "Abc", "-ab", "ab-", "a_b", "a/b", "..a", "api", &"a".repeat(51)] {
            assert!(bad.parse::<FormationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_draft_has_a_name_that_nobody_can_send() {
        let id: FormationId = "hello".parse().unwrap();
        let draft = id.draft();
        assert_eq!(
            (draft.as_str(), draft.is_draft(), draft.formation()),
            ("hello@draft", true, id)
        );
        assert!(draft.as_str().parse::<FormationId>().is_err());
        assert_eq!(FormationId::from_stored("hello@draft").unwrap(), draft);
        assert_eq!(draft.draft(), draft);
        assert!(FormationId::from_stored("../x@draft").is_err());
    }

    #[test]
    fn only_email_shaped_users_are_lower_cased() {
        let user = |text: &str| text.parse::<UserId>().unwrap().to_string();
        assert_eq!(user("Alice@Example.com"), "alice@example.com");
        assert_eq!(user("U-Alice"), "U-Alice");
        assert_eq!(user("a@b@C.d"), "a@b@C.d");
    }

    #[test]
    fn a_request_id_can_stand_in_a_header() {
        assert!("req 1".parse::<RequestId>().is_err());
        assert!("réq".parse::<RequestId>().is_err());
        assert!(RequestId::generate().as_str().parse::<RequestId>().is_ok());
    }

    #[test]
    fn nanoids_have_the_documented_form() {
        let id = nanoid();
        assert_eq!(id.len(), NANOID_CHARS);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert_ne!(id, nanoid());
    }
}
