//! The formats that can be made, as a table, and those that are refused by name.

use crate::error::RenderError;
use crate::order::Order;

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    /// The first is the one that new names get.
    pub(crate) extensions: &'static [&'static str],
    pub(crate) media_type: &'static str,
    pub(crate) family: Family,
}

/// What a file is made of, and how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Kept as it is given: notes, source code, configuration.
    Text,
    Html,
    /// By this byte.
    Delimited(u8),
    Json,
    JsonLines,
    Yaml,
    Xml,
    Svg,
    Png,
    Spreadsheet,
}

use Family::{Delimited, Html, Json, JsonLines, Png, Spreadsheet, Svg, Text, Xml, Yaml};

const PLAIN: &str = "text/plain";

const fn format(
    name: &'static str,
    extensions: &'static [&'static str],
    media_type: &'static str,
    family: Family,
) -> Format {
    Format { name, extensions, media_type, family }
}

static FORMATS: [Format; 51] = [
    format("txt", &["txt", "text"], PLAIN, Text),
    format("md", &["md", "markdown"], "text/markdown", Text),
    format("html", &["html", "htm"], "text/html", Html),
    format("csv", &["csv"], "text/csv", Delimited(b',')),
    format("tsv", &["tsv", "tab"], "text/tab-separated-values", Delimited(b'\t')),
    format("json", &["json"], "application/json", Json),
    format("jsonl", &["jsonl", "ndjson"], "application/x-ndjson", JsonLines),
    format("yaml", &["yaml", "yml"], "application/yaml", Yaml),
    format("xml", &["xml"], "application/xml", Xml),
    format("svg", &["svg"], "image/svg+xml", Svg),
    format("png", &["png"], "image/png", Png),
    format(
        "xlsx",
        &["xlsx"],
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Spreadsheet,
    ),
    format("css", &["css"], "text/css", Text),
    format("scss", &["scss"], PLAIN, Text),
    format("js", &["js", "mjs", "cjs"], "text/javascript", Text),
    format("jsx", &["jsx"], PLAIN, Text),
    format("ts", &["ts"], PLAIN, Text),
    format("tsx", &["tsx"], PLAIN, Text),
    format("vue", &["vue"], PLAIN, Text),
    format("py", &["py"], "text/x-python", Text),
    format("rs", &["rs"], PLAIN, Text),
    format("go", &["go"], PLAIN, Text),
    format("java", &["java"], PLAIN, Text),
    format("kt", &["kt", "kts"], PLAIN, Text),
    format("swift", &["swift"], PLAIN, Text),
    format("scala", &["scala"], PLAIN, Text),
    format("c", &["c", "h"], PLAIN, Text),
    format("cpp", &["cpp", "cc", "cxx", "hpp"], PLAIN, Text),
    format("cs", &["cs"], PLAIN, Text),
    format("rb", &["rb"], PLAIN, Text),
    format("php", &["php"], PLAIN, Text),
    format("pl", &["pl"], PLAIN, Text),
    format("lua", &["lua"], PLAIN, Text),
    format("r", &["r"], PLAIN, Text),
    format("sql", &["sql"], "application/sql", Text),
    format("sh", &["sh", "bash", "zsh"], "application/x-sh", Text),
    format("ps1", &["ps1"], PLAIN, Text),
    format("bat", &["bat", "cmd"], PLAIN, Text),
    format("dockerfile", &["dockerfile"], PLAIN, Text),
    format("makefile", &["makefile", "mk"], PLAIN, Text),
    format("tf", &["tf", "hcl"], PLAIN, Text),
    format("proto", &["proto"], PLAIN, Text),
    format("graphql", &["graphql", "gql"], PLAIN, Text),
    format("toml", &["toml"], "application/toml", Text),
    format("ini", &["ini"], PLAIN, Text),
    format("conf", &["conf", "cfg"], PLAIN, Text),
    format("env", &["env"], PLAIN, Text),
    format("properties", &["properties"], PLAIN, Text),
    format("log", &["log"], PLAIN, Text),
    format("tex", &["tex"], "application/x-tex", Text),
    format("diff", &["diff", "patch"], "text/x-diff", Text),
];

/// What agents like to promise, with what they can make in its place.
const NOT_MADE: [(&[&str], &str, &str); 6] = [
    (&["pdf"], "PDF", "make html or md, which every browser prints to PDF"),
    (
        &["docx", "doc", "odt", "rtf"],
        "word processor",
        "make md or html, which word processors open",
    ),
    (
        &["pptx", "ppt", "odp", "key"],
        "presentation",
        "make html or md with a heading for each slide",
    ),
    (&["xls", "xlsm", "ods"], "older spreadsheet", "make xlsx"),
    (&["jpg", "jpeg", "gif", "webp", "bmp", "tiff"], "photo", "make a chart as png, or svg"),
    (
        &["zip", "tar", "gz", "7z", "mp3", "mp4", "wav", "exe"],
        "archive, audio, video and program",
        "make each text file on its own",
    ),
];

/// Of files that are made elsewhere, by scripts for one.
const OTHERS: [(&str, &str); 12] = [
    ("pdf", "application/pdf"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
];

/// The names of all formats, for those who chose another one.
pub(crate) fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

/// What a file of this name holds, as far as its extension says.
pub fn media_type(file_name: &str) -> &'static str {
    let word = file_name.rsplit_once('.').map_or(file_name, |(_, extension)| extension);
    if let Some(format) = known(word) {
        return format.media_type;
    }
    let word = word.to_ascii_lowercase();
    let found = OTHERS.iter().find(|(extension, _)| *extension == word);
    found.map_or("application/octet-stream", |(_, media_type)| media_type)
}

pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().map(|format| format.name)
}

/// The format that a name or an extension stands for.
pub(crate) fn known(word: &str) -> Option<&'static Format> {
    let word = word.to_ascii_lowercase();
    let stands_for =
        |format: &&Format| format.name == word || format.extensions.contains(&word.as_str());
    FORMATS.iter().find(stands_for)
}

// === impl Format ===

impl Format {
    /// What the order says, or else what the file's name ends with.
    pub(crate) fn of(order: &Order) -> Result<&'static Self, RenderError> {
        if let Some(format) = order.format.as_deref() {
            let word = format.trim().trim_start_matches('.');
            return known(word).ok_or_else(|| refusal(word));
        }
        let name = order.file_name.as_deref().unwrap_or_default().trim();
        let Some((_, word)) = name.rsplit_once('.') else {
            return known(name).ok_or(RenderError::NoFormat); // Such as `Dockerfile`.
        };
        known(word).ok_or_else(|| refusal(word))
    }

    pub(crate) fn missing(&self) -> RenderError {
        RenderError::Missing { format: self.name, takes: self.family.takes() }
    }

    pub(crate) fn misplaced(&self, field: &'static str) -> RenderError {
        RenderError::Misplaced { field, format: self.name, takes: self.family.takes() }
    }
}

// === impl Family ===

impl Family {
    fn takes(self) -> &'static str {
        match self {
            Text | Html | Xml => "`content`",
            Delimited(_) => "`content`, or `columns` and `rows`",
            Json | JsonLines | Yaml => "`content`, `data`, or `columns` and `rows`",
            Svg => "`content` or `chart`",
            Png => "`chart`",
            Spreadsheet => "`columns` and `rows`, or `sheets`",
        }
    }

    pub(crate) fn takes_content(self) -> bool {
        !matches!(self, Png | Spreadsheet)
    }
}

fn refusal(word: &str) -> RenderError {
    let lower = word.to_ascii_lowercase();
    match NOT_MADE.iter().find(|(extensions, ..)| extensions.contains(&lower.as_str())) {
        Some((_, format, mend)) => RenderError::NotMade { format, mend },
        None => RenderError::UnknownFormat { format: word.chars().take(40).collect() },
    }
}
