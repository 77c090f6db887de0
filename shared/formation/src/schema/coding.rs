//! The tables of `coding` and of its adapters; both are closed.

use super::Shape::{
    Anything, Arguments, Duration, Literal, Map, NoList, Text, Texts, Variables, Whole, Word,
};
use super::State::Built;
use super::values::word;
use super::{Shape, State, Table};

pub(crate) static CODING: Table = Table {
    required: &["workdirs"],
    keys: &[
        ("client", Built(Literal(word))),
        // The other way: an adapter written here.
        COMMAND,
        ARGS,
        OUTPUT,
        PARSE,
        ("model", Built(Text)),
        ("workdirs", Built(Texts)),
        ("cleanup", Built(Word { words: &["delete", "keep"], unbuilt: &[] })),
        ("timeout", Built(Duration)),
        ("max_concurrent", Built(Whole { min: 1, max: 100 })),
        // Who may delegate: without groups nobody could be told from anybody else.
        ("groups", Built(NoList)),
        ("extra_args", Built(Arguments)),
        ("env", Built(Variables)),
    ],
};

/// A file of `coding/`.
pub(crate) static ADAPTER: Table = Table {
    required: &["command", "args"],
    keys: &[
        ("name", Built(Text)),
        COMMAND,
        ARGS,
        OUTPUT,
        PARSE,
        ("forbidden_extra_args", Built(Texts)),
    ],
};

static ARGUMENTS: Table = Table {
    required: &["prompt"],
    keys: &[
        ("base", Built(Arguments)),
        ("prompt", Built(Anything)),
        ("session", Built(Arguments)),
        ("session_new", Built(Arguments)),
        ("session_resume", Built(Arguments)),
        ("model", Built(Arguments)),
    ],
};

static SELECTORS: Table =
    Table { required: &[], keys: &[("result", Built(Text)), ("session_id", Built(Text))] };

const COMMAND: (&str, State) = ("command", Built(Text));
const ARGS: (&str, State) = ("args", Built(Map(&ARGUMENTS)));
const OUTPUT: (&str, State) = ("output", Built(OUTPUTS));
const PARSE: (&str, State) = ("parse", Built(Map(&SELECTORS)));
const OUTPUTS: Shape = Word { words: &["stream-json", "json", "text"], unbuilt: &[] };
