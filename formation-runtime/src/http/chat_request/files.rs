//! The files of a message: what they are, or everything that is wrong with each of them. Pure.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use muxi_contract::envelope::ValidationError;
use serde_json::Value;

use super::super::fields::{Fields, NAME_CHARS_MAX};
use crate::agents::FileLimits;
use crate::conversation::files::{File, Kind, is_media_type, media_type_of};

/// What files a message may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRules<'a> {
    pub(crate) takes: Takes,
    pub(crate) count_max: usize,
    /// Of one, and of all together.
    pub(crate) bytes_max: usize,
    pub(crate) limits: FileLimits,
    /// Models that read text only, where they would get the files of these kinds.
    pub(crate) blind: Option<&'a str>,
    pub(crate) unlettered: Option<&'a str>,
}

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// What is read and seen.
    Files,
    /// What is heard; one at least.
    Recordings,
}

/// What is wrong with a content.
struct Misfit(String, &'static str);

/// Some write no padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn parse(
    given: Option<&Value>,
    rules: &FileRules<'_>,
    faults: &mut Vec<ValidationError>,
) -> Vec<File> {
    let needed = rules.takes == Takes::Recordings;
    let entries = match given {
        None | Some(Value::Null) if needed => {
            faults.push(fault("files", "is required: at least one recording", "missing"));
            return Vec::new();
        }
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            faults.push(fault("files", "must be a list", "wrong_type"));
            return Vec::new();
        }
    };
    let (count, count_max) = (entries.len(), rules.count_max);
    if needed && count == 0 {
        faults.push(fault("files", "must have at least one recording", "too_short"));
    }
    if count > count_max {
        let message = format!("has {count} files; {count_max} are taken with one message");
        faults.push(fault("files", &message, "too_long"));
        return Vec::new();
    }
    let mut files = Vec::with_capacity(count);
    for (index, entry) in entries.iter().enumerate() {
        let Value::Object(entry) = entry else {
            faults.push(fault(&format!("files.{index}"), "must be an object", "wrong_type"));
            continue;
        };
        let mut fields = Fields::at(format!("files.{index}."), entry);
        files.extend(file(&mut fields, rules));
        faults.append(&mut fields.faults);
    }
    let total: usize = files.iter().map(|file| file.bytes.len()).sum();
    if total > rules.bytes_max {
        let message = format!("have {total} bytes together; {} are taken", rules.bytes_max);
        faults.push(fault("files", &message, "too_large"));
    }
    files
}

fn file(fields: &mut Fields<'_>, rules: &FileRules<'_>) -> Option<File> {
    let name = fields.required_text("filename", NAME_CHARS_MAX);
    if name.is_some_and(|name| name.chars().any(char::is_control)) {
        fields.fault("filename", "must have no control characters", "invalid");
    }
    let shown = name.unwrap_or("the file");
    let type_given = fields.text("content_type", NAME_CHARS_MAX);
    let kind = kind(fields, rules, type_given, shown);
    let size = size(fields);
    fields.require("content");
    let content = match fields.value("content")? {
        Value::String(content) if content.is_empty() => {
            fields.fault("content", "must not be empty", "too_short");
            return None;
        }
        Value::String(content) => content,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) | Value::Null => {
            fields.fault("content", "must be a text: the file as base64", "wrong_type");
            return None;
        }
    };
    let (media_type, kind) = kind?;
    let bytes_max = bytes_max(kind, rules);
    match read(content, &media_type, kind, size, bytes_max) {
        Ok(bytes) => Some(File { name: name?.to_owned(), media_type, bytes }),
        Err(Misfit(message, kind)) => {
            let field = if kind == "size_mismatch" { "size" } else { "content" };
            fields.fault(field, &message, kind);
            None
        }
    }
}

fn kind(
    fields: &mut Fields<'_>,
    rules: &FileRules<'_>,
    given: Option<&str>,
    name: &str,
) -> Option<(String, Kind)> {
    let Some(media_type) = media_type_of(given, name) else {
        let message = format!("is required: the name `{name}` does not tell what the file is");
        fields.fault("content_type", &message, "missing");
        return None;
    };
    if !is_media_type(&media_type) {
        fields.fault(
            "content_type",
            "must be a media type such as text/markdown",
            "invalid_format",
        );
        return None;
    }
    let reads_only = |model: &str, what: &str, capability: &str| {
        format!(
            "`{name}` is {what} and `{model}` reads text only; name a model that takes it as \
             `{capability}` in `llm.models`"
        )
    };
    let refusal = match (rules.takes, Kind::of(&media_type)) {
        (Takes::Recordings, Some(Kind::Audio)) | (Takes::Files, Some(Kind::Text)) => None,
        (Takes::Files, Some(Kind::Image)) => {
            rules.blind.map(|model| reads_only(model, "an image", "vision"))
        }
        (Takes::Files, Some(Kind::Document)) => {
            rules.unlettered.map(|model| reads_only(model, "a document", "documents"))
        }
        (Takes::Files, Some(Kind::Audio)) => {
            Some(format!("`{media_type}` is heard, not read; send it to POST /v1/audiochat"))
        }
        (Takes::Files, None) => Some(format!(
            "`{media_type}` is not taken; text, PNG, JPEG, GIF and WebP images, and PDF files are"
        )),
        (Takes::Recordings, _) => Some(format!("`{media_type}` is no recording; `audio/*` is")),
    };
    match (refusal, Kind::of(&media_type)) {
        (None, Some(kind)) => Some((media_type, kind)),
        (refusal, _) => {
            fields.fault("content_type", &refusal.unwrap_or_default(), "unsupported");
            None
        }
    }
}

fn size(fields: &mut Fields<'_>) -> Option<u64> {
    let given = fields.value("size")?;
    let size = given.as_u64();
    if size.is_none() {
        fields.fault("size", "must be the number of the file's bytes", "wrong_type");
    }
    size
}

fn bytes_max(kind: Kind, rules: &FileRules<'_>) -> usize {
    let FileLimits { image_bytes, document_bytes, audio_bytes } = rules.limits;
    rules.bytes_max.min(match kind {
        Kind::Text => usize::MAX,
        Kind::Image => image_bytes,
        Kind::Document => document_bytes,
        Kind::Audio => audio_bytes,
    })
}

fn read(
    content: &str,
    media_type: &str,
    kind: Kind,
    size: Option<u64>,
    bytes_max: usize,
) -> Result<Bytes, Misfit> {
    let inner = content.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let bytes = match (kind, inner) {
        (Kind::Text, None) => text(content, size, bytes_max)?,
        (_, inner) => binary(inner.map_or(content, |(_, inner)| inner), bytes_max)?,
    };
    let is_size = |size: u64| size == bytes.len() as u64;
    if let Some(size) = size.filter(|size| !is_size(*size)) {
        let message = format!("is {size}, and the content has {} bytes", bytes.len());
        return Err(Misfit(message, "size_mismatch"));
    }
    if bytes.is_empty() {
        return Err(Misfit("must not be empty".to_owned(), "too_short"));
    }
    if !is_what_it_says(&bytes, media_type, kind) {
        let message = if kind == Kind::Text {
            "is no text in UTF-8".to_owned()
        } else {
            format!("is no `{media_type}`")
        };
        return Err(Misfit(message, "invalid_format"));
    }
    Ok(bytes)
}

/// A text is given as it is or as base64. Where both could be meant, the size says which; without one
/// it is base64 if that makes sense as text.
fn text(content: &str, size: Option<u64>, bytes_max: usize) -> Result<Bytes, Misfit> {
    let decoded = BASE64_STANDARD.decode(content.trim_end()).ok();
    let is_meant = |decoded: &Vec<u8>| match size {
        Some(size) => size == decoded.len() as u64 && size != content.len() as u64,
        None => std::str::from_utf8(decoded).is_ok_and(is_plain),
    };
    let bytes = decoded.filter(is_meant).unwrap_or_else(|| content.as_bytes().to_vec());
    if bytes.len() > bytes_max {
        return Err(too_large(bytes.len(), bytes_max));
    }
    Ok(bytes.into())
}

fn binary(content: &str, bytes_max: usize) -> Result<Bytes, Misfit> {
    let not_base64 = || Misfit("is not base64".to_owned(), "invalid_format");
    // Whoever wraps lines adds one in fifty or so.
    let bytes_about = content.len() / 4 * 3;
    if bytes_about / 2 > bytes_max {
        return Err(too_large(bytes_about, bytes_max));
    }
    let bytes = if content.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let dense: Vec<u8> = content.bytes().filter(|it| !it.is_ascii_whitespace()).collect();
        BASE64.decode(dense)
    } else {
        BASE64.decode(content)
    };
    let bytes = bytes.map_err(|_| not_base64())?;
    if bytes.len() > bytes_max { Err(too_large(bytes.len(), bytes_max)) } else { Ok(bytes.into()) }
}

/// Whether the first bytes are those of the type. Recordings have too many forms to tell.
fn is_what_it_says(bytes: &[u8], media_type: &str, kind: Kind) -> bool {
    match (kind, media_type) {
        (Kind::Text, _) => std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')),
        (Kind::Document, _) => {
            // Readers take a PDF file with something before it.
            let head = &bytes[..bytes.len().min(PDF_HEAD_BYTES)];
            head.windows(PDF_MARK.len()).any(|window| window == PDF_MARK)
        }
        (Kind::Image, "image/png") => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        (Kind::Image, "image/jpeg") => bytes.starts_with(b"\xff\xd8\xff"),
        (Kind::Image, "image/gif") => bytes.starts_with(b"GIF8"),
        (Kind::Image, _) => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        (Kind::Audio, _) => true,
    }
}

const PDF_MARK: &[u8] = b"%PDF-";
const PDF_HEAD_BYTES: usize = 1024;

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

fn too_large(bytes: usize, bytes_max: usize) -> Misfit {
    Misfit(format!("has {bytes} bytes; {bytes_max} are taken"), "too_large")
}

fn fault(field: &str, message: &str, kind: &str) -> ValidationError {
    let message = format!("{field} {message}");
    ValidationError { field: field.to_owned(), message, kind: kind.to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) const RULES: FileRules<'static> = FileRules {
        takes: Takes::Files,
        count_max: 3,
        bytes_max: 100,
        limits: FileLimits { image_bytes: 20, document_bytes: 50, audio_bytes: 50 },
        blind: None,
        unlettered: None,
    };

    fn read(files: &Value, rules: &FileRules<'_>) -> Result<Vec<File>, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let files = parse(Some(files), rules, &mut faults);
        if faults.is_empty() {
            return Ok(files);
        }
        Err(faults.into_iter().map(|it| (it.field, it.kind)).collect())
    }

    fn faults(files: &Value, rules: &FileRules<'_>) -> Vec<(String, String)> {
        read(files, rules).unwrap_err()
    }

    fn fault(field: &str, kind: &str) -> (String, String) {
        (field.to_owned(), kind.to_owned())
    }

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn texts_come_plain_or_as_base64() {
        for (content, size, expected) in [
            ("héllo", None, "héllo"),
            ("aGVsbG8=", None, "hello"),
            ("aGVsbG8=", Some(5), "hello"),
            // As many bytes as it has: it is meant as it is.
            ("aGVsbG8=", Some(8), "aGVsbG8="),
            // Base64 of nothing that could be read.
            ("test", None, "test"),
            ("data:text/plain;base64,aGVsbG8=", None, "hello"),
        ] {
            let file = json!([{"filename": "a.txt", "content": content, "size": size}]);
            let files = read(&file, &RULES).unwrap();
            assert_eq!(files[0].bytes, expected.as_bytes(), "{content} {size:?}");
            assert_eq!(files[0].media_type, "text/plain");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_by_file_and_field() {
        let png = BASE64_STANDARD.encode(PNG);
        let found = faults(
            &json!([
                {"content": "x", "content_type": "text/plain", "size": "1"},
                {"filename": "a\nb.png", "content": "!", "content_type": "image/png"},
                7,
            ]),
            &RULES,
        );
        let expected = [
            fault("files.0.filename", "missing"),
            fault("files.0.size", "wrong_type"),
            fault("files.1.filename", "invalid"),
            fault("files.1.content", "invalid_format"),
            fault("files.2", "wrong_type"),
        ];
        assert_eq!(found, expected);
        let found = faults(
            &json!([
                {"filename": "a.mp4", "content": "x", "content_type": "video/mp4"},
                {"filename": "a.jpg", "content": png},
                {"filename": "a.png", "content": png, "size": 5},
            ]),
            &RULES,
        );
        let expected = [
            fault("files.0.content_type", "unsupported"),
            fault("files.1.content", "invalid_format"),
            fault("files.2.size", "size_mismatch"),
        ];
        assert_eq!(found, expected);
        let long = BASE64_STANDARD.encode([PNG, &[0; 30]].concat());
        let found = faults(
            &json!([
                {"filename": "a.png", "content": long},
                {"filename": "a", "content": "x"},
                {"filename": "a.mp3", "content": "x"},
            ]),
            &RULES,
        );
        let expected = [
            fault("files.0.content", "too_large"),
            fault("files.1.content_type", "missing"),
            fault("files.2.content_type", "unsupported"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn too_many_and_too_much_are_told_of_all_together() {
        let file = json!({"filename": "a.txt", "content": "x".repeat(60)});
        assert_eq!(faults(&json!([file, file]), &RULES), [fault("files", "too_large")]);
        assert_eq!(faults(&json!([1, 2, 3, 4]), &RULES), [fault("files", "too_long")]);
        assert_eq!(faults(&json!({}), &RULES), [fault("files", "wrong_type")]);
    }

    #[test]
    fn a_model_that_only_reads_says_so_with_the_mend() {
        let rules = FileRules { blind: Some("local/small"), ..RULES };
        let png = json!([{"filename": "cat.png", "content": BASE64_STANDARD.encode(PNG)}]);
        let mut faults = Vec::new();
        parse(Some(&png), &rules, &mut faults);
        let told = &faults[0].message;
        assert!(told.contains("cat.png") && told.contains("`vision`"), "{told}");
    }

    #[test]
    fn recordings_are_required_where_they_are_all_that_is_taken() {
        let rules = FileRules { takes: Takes::Recordings, ..RULES };
        let mut faults = Vec::new();
        parse(None, &rules, &mut faults);
        assert_eq!((faults[0].field.as_str(), faults[0].kind.as_str()), ("files", "missing"));
        let voice = json!({"filename": "v", "content_type": "audio/ogg", "content": "AAAA"});
        assert_eq!(read(&json!([voice]), &rules).unwrap()[0].bytes.len(), 3);
        let text = json!([{"filename": "a.txt", "content": "x"}]);
        let expected = [fault("files.0.content_type", "unsupported")];
        assert_eq!(self::faults(&text, &rules), expected);
    }
}
