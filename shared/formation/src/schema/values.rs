//! The checks of single values: what is wrong with one, and the mend.

use std::path::{Component, Path};

use muxi_contract::FormationId;

use super::Refusal;

/// Bytes of a number with an optional unit: `1048576`, `512MiB`, `2 GB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

pub(crate) fn schema_version(text: &str) -> Result<(), Refusal> {
    let numbers: Vec<Option<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(major), Some(_), Some(_)] => Err(Refusal {
            message: format!("schema {major} is not known"),
            mend: "this version reads schema 1: write `schema: \"1.0.0\"`",
        }),
        _ => Err(Refusal {
            message: format!("`{text}` is not a schema version"),
            mend: "write `schema: \"1.0.0\"`",
        }),
    }
}

pub(crate) fn formation_id(text: &str) -> Result<(), Refusal> {
    text.parse::<FormationId>().map(|_| ()).map_err(|error| Refusal {
        message: format!("the formation's id {error}"),
        mend: "choose another id, such as `my-team`",
    })
}

/// 1 to 64 letters, digits, `-` and `_`.
pub(crate) fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(inner)
}

/// An id of what is not an agent.
pub(crate) fn word(text: &str) -> Result<(), Refusal> {
    if is_word(text) {
        return Ok(());
    }
    let message = format!("`{text}` cannot be an id");
    Err(Refusal { message, mend: "use 1 to 64 letters, digits, `-` and `_`" })
}

/// The name of an HTTP header.
pub(crate) fn header(text: &str) -> Result<(), Refusal> {
    if is_header(text) {
        return Ok(());
    }
    let message = format!("`{text}` is not the name of a header");
    Err(Refusal { message, mend: "write it such as `X-API-Key`" })
}

pub(crate) fn is_header(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(inner)
}

/// A path below the bundle's root.
pub(crate) fn path_inside(text: &str) -> Result<(), Refusal> {
    let inside = |it: Component<'_>| matches!(it, Component::Normal(_) | Component::CurDir);
    if !text.is_empty() && Path::new(text).components().all(inside) {
        return Ok(());
    }
    let message = format!("`{text}` is not below the bundle's folder");
    Err(Refusal { message, mend: "write it without a leading `/` and without `..`" })
}

/// The other ways to choose an agent are documented, too.
pub(crate) fn routing_strategy(text: &str) -> Result<(), Refusal> {
    const UNBUILT: [&str; 5] =
        ["load_balanced", "priority_based", "custom", "round_robin", "specialized"];
    let mend = "write `capability_based`: the agent that fits a request best answers it";
    one_of(text, "routing strategy", &["capability_based"], &UNBUILT, mend)
}

/// Seconds of a text such as `90s`, `15m`, `2h` or `500ms`, the last rounded up.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim_start() {
        "ms" => Some(number.div_ceil(1_000)),
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3_600),
        "d" => number.checked_mul(86_400),
        _ => None,
    }
}

pub(crate) fn agent_id(text: &str) -> Result<(), Refusal> {
    if is_word(text) {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` cannot be an agent's id"),
        mend: "use 1 to 64 letters, digits, `-` and `_`",
    })
}

pub(crate) fn currency(text: &str) -> Result<(), Refusal> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    let message = format!("`{text}` is not a currency");
    Err(Refusal { message, mend: "write its three letters, such as `USD`" })
}

pub(crate) fn period(text: &str) -> Result<(), Refusal> {
    if ["hour", "day", "month"].contains(&text) {
        return Ok(());
    }
    let message = format!("`{text}` is not a period of a budget");
    Err(Refusal { message, mend: "write `hour`, `day` or `month`" })
}

pub(crate) fn version(text: &str) -> Result<(), Refusal> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    let is_version = text.len() <= 64
        && (1..=3).contains(&numbers.len())
        && numbers.iter().all(is_number)
        && text.bytes().all(rest);
    if is_version {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` is not a version"),
        mend: "write numbers such as `1.0.0`",
    })
}

/// Whether the zone is known is for the machine that runs the formation.
pub(crate) fn timezone(text: &str) -> Result<(), Refusal> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(inner) {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` is not the name of a time zone"),
        mend: "write it such as `Europe/Berlin` or `UTC`",
    })
}

pub(crate) fn time_of_day(text: &str) -> Result<(), Refusal> {
    let number = |part: &str, max: u8| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|it| it <= max)
    };
    if text.split_once(':').is_some_and(|(hour, minute)| number(hour, 23) && number(minute, 59)) {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` is not a time of the day"),
        mend: "write hours and minutes such as `\"09:00\"`",
    })
}

pub(crate) fn missed_runs(text: &str) -> Result<(), Refusal> {
    if matches!(text, "once" | "skip") {
        return Ok(());
    }
    Err(Refusal {
        message: format!("`{text}` does not say what becomes of missed runs"),
        mend: "write `once` or `skip`",
    })
}

/// A word of a closed list. `planned` are those that are documented, too.
pub(crate) fn one_of(
    text: &str,
    what: &str,
    built: &[&str],
    planned: &[&str],
    mend: &'static str,
) -> Result<(), Refusal> {
    if built.contains(&text) {
        return Ok(());
    }
    let message = if planned.contains(&text) {
        format!("the {what} `{text}` is documented but not built in this version")
    } else {
        format!("`{text}` is no {what}")
    };
    Err(Refusal { message, mend })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1048576", Some(1 << 20)),
            ("512MiB", Some(512 << 20)),
            ("2 GB", Some(2_000_000_000)),
            ("1g", Some(1 << 30)),
            ("0", Some(0)),
            ("", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("20 apples", None),
            ("99999999999999999999", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn versions_are_numbers_with_an_optional_rest() {
        for good in ["1", "1.2", "1.2.3", "1.0.0-rc.1", "1.0.0+build-5", "0.20260514.1"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "latest", "v1", "1.2.3.4", "1..2", "1.0 0", "1.0.0-é", "../1"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
