//! How the two APIs are spoken to, and what is made of what they say.

pub(crate) mod answer;
pub(crate) mod archive;
pub(crate) mod events;
pub(crate) mod formation;
pub(crate) mod manager;

use std::time::Duration;

use reqwest::Url;

use crate::exit::Exit;
use crate::fault::Fault;
use crate::files::bundle::error_chain;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Of a silence, wherever in an answer: deploys and chats tell that they live far more often.
const SILENCE_LIMIT: Duration = Duration::from_mins(2);

const REDIRECTS_MAX: usize = 5;

/// Told to servers.
pub(crate) const SDK: &str = concat!("cli/", env!("CARGO_PKG_VERSION"));

pub(crate) fn http() -> Result<reqwest::Client, Fault> {
    built(builder().read_timeout(SILENCE_LIMIT))
}

/// For answers that are silent until they are whole; only a connection that broke ends them.
pub(crate) fn patient_http() -> Result<reqwest::Client, Fault> {
    built(builder())
}

/// For files that lie elsewhere than where they are listed. A key that goes along stays with its host.
pub(crate) fn following_http() -> Result<reqwest::Client, Fault> {
    let policy = reqwest::redirect::Policy::limited(REDIRECTS_MAX);
    built(builder().read_timeout(SILENCE_LIMIT).redirect(policy))
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .user_agent(concat!("muxi/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Fault> {
    builder.build().map_err(|error| Fault::failed(error_chain(&error)))
}

/// An address that somebody wrote down.
pub(crate) fn url(text: &str) -> Result<Url, Fault> {
    let wrong = |why: &str| {
        Fault::usage(format!("{text} is no address: {why}")).mend("write it as http://HOST:PORT")
    };
    let url: Url = text.parse().map_err(|_| wrong("it cannot be read"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(wrong("it is neither http nor https")),
    }
}

/// Why nobody answered.
pub(crate) fn unreachable(url: &Url, error: &reqwest::Error) -> Fault {
    let address = url.origin().ascii_serialization();
    if error.is_connect() {
        let cause = std::iter::successors(Some(error as &dyn std::error::Error), |it| it.source());
        let cause = cause.last().map(ToString::to_string).unwrap_or_default();
        return Fault::new(
            Exit::Unreachable,
            "Unreachable",
            format!("nobody answers at {address}: {cause}"),
        );
    }
    let what = if error.is_timeout() { "fell silent" } else { "broke off" };
    Fault::new(
        Exit::Unreachable,
        "Unreachable",
        format!("{address} {what}: {}", error_chain(error)),
    )
}

/// A piece of a path, with what would end it or climb out of it escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            b'.' if text != "." && text != ".." => escaped.push('.'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// `?a=b&c=d` of those that have a value, or nothing.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let pairs =
        pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(&value?))));
    let pairs = pairs.collect::<Vec<_>>().join("&");
    if pairs.is_empty() { pairs } else { format!("?{pairs}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_and_a_query_has_what_is_known() {
        assert_eq!(segment("a/b?c=d e.f"), "a%2Fb%3Fc%3Dd%20e.f");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(query([("a", Some("x&y".to_owned())), ("b", None)]), "?a=x%26y");
        assert_eq!(query([("b", None)]), "");
    }
}
