//! Content that comes as text: checked where its format has rules, and pages made of Markdown.

use pulldown_cmark::{Event, Options, Parser};
use serde::Deserialize as _;
use serde::de::IgnoredAny;

use crate::error::RenderError;
use crate::format::{Family, Format};
use crate::limits::{LIMITS, most};

/// More elements than this are no document that an agent wrote.
pub(crate) const XML_NODES_MAX: u32 = 200_000;

/// Whether the text is well-formed in its format; formats without rules take everything.
pub(crate) fn check(format: &Format, text: &str) -> Result<(), RenderError> {
    let malformed = |(line, column, fault): (usize, usize, String)| RenderError::Malformed {
        format: format.name,
        line,
        column,
        fault,
    };
    match format.family {
        Family::Json => json(text).map_err(malformed),
        Family::JsonLines => json_lines(text).map_err(malformed),
        Family::Yaml => yaml(text).map_err(malformed),
        Family::Xml => xml(text).map(drop).map_err(malformed),
        Family::Delimited(delimiter) => {
            most("the number of rows", text.lines().count(), LIMITS.rows)?;
            delimited(delimiter, text).map_err(malformed)
        }
        Family::Text | Family::Html | Family::Svg | Family::Png | Family::Spreadsheet => Ok(()),
    }
}

/// Line, column (both from 1) and what is wrong there.
pub(crate) type Fault = (usize, usize, String);

pub(crate) fn xml(text: &str) -> Result<roxmltree::Document<'_>, Fault> {
    let options = roxmltree::ParsingOptions {
        // A document type can fetch and multiply; nobody needs one in a file like these.
        allow_dtd: false,
        nodes_limit: XML_NODES_MAX,
        ..Default::default()
    };
    roxmltree::Document::parse_with_options(text, options).map_err(|error| {
        let place = error.pos();
        (place.row as usize, place.col as usize, error.to_string())
    })
}

/// A page of its own, with a style that reads well on screen and paper.
pub(crate) fn page(title: &str, markdown: &str) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES;
    let mut body = String::with_capacity(markdown.len() * 2);
    // Markdown's own HTML is shown as what it is: text.
    let events = Parser::new_ext(markdown, options).map(|event| {
        if let Event::Html(text) | Event::InlineHtml(text) = event {
            return Event::Text(text);
        }
        event
    });
    pulldown_cmark::html::push_html(&mut body, events);
    let mut escaped = String::new();
    for character in title.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{escaped}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

const STYLE: &str = "body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; \
font: 1rem/1.6 system-ui, sans-serif; color: #222; background: #fff; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; }
pre, code { font-family: ui-monospace, monospace; background: #f5f5f5; }
pre { padding: 0.8rem; overflow-x: auto; }
blockquote { margin-left: 0; padding-left: 1rem; border-left: 3px solid #ccc; color: #555; }
img { max-width: 100%; }
";

fn json(text: &str) -> Result<(), Fault> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| {
        (error.line(), error.column(), without_place(&error.to_string(), " at line "))
    })
}

fn json_lines(text: &str) -> Result<(), Fault> {
    for (index, line) in text.lines().enumerate() {
        if let Err((_, column, fault)) = json(line) {
            return Err((index + 1, column, fault));
        }
    }
    Ok(())
}

fn yaml(text: &str) -> Result<(), Fault> {
    for document in serde_yaml::Deserializer::from_str(text) {
        // Ignored, an alias is not followed: a few lines cannot become gigabytes.
        IgnoredAny::deserialize(document).map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            (line, column, without_place(&error.to_string(), " at line "))
        })?;
    }
    Ok(())
}

fn delimited(delimiter: u8, text: &str) -> Result<(), Fault> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                let fault = if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } =
                    error.kind()
                {
                    format!("{len} field(s), but the first row has {expected_len}")
                } else {
                    error.to_string()
                };
                return Err((usize::try_from(line).unwrap_or(usize::MAX), 1, fault));
            }
        }
    }
}

/// The place is told apart from the fault.
fn without_place(message: &str, from: &str) -> String {
    message.rsplit_once(from).map_or(message, |(fault, _)| fault).to_owned()
}
