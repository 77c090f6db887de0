//! The tables of `approvals`, which the original does not have.

use super::Shape::{Each, EachOf, Text, Texts, Whole, Word};
use super::State::Built;
use super::Table;

pub(crate) static APPROVALS: Table = Table {
    required: &[],
    keys: &[
        ("rules", Built(EachOf(&RULE))),
        ("tainted", Built(Word { words: &["ask", "allow"], unbuilt: &[] })),
        ("destructive", Built(Word { words: &["ask", "allow", "deny"], unbuilt: &[] })),
        ("trusted_servers", Built(Texts)),
        ("expires_minutes", Built(Whole { min: 1, max: 525_600 })),
    ],
};

static RULE: Table = Table {
    required: &["tool", "action"],
    keys: &[
        ("tool", Built(Text)),
        ("when", Built(Each(&Text))),
        ("action", Built(Word { words: &["allow", "ask", "deny"], unbuilt: &[] })),
    ],
};
