//! What a tool answered, made fit to be kept: every size is bounded, and cuts are told.

use base64::Engine as _;
use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Map, Value, json};

use super::config::Limits;
use super::error::quoted;
use crate::{Content, Outcome};

const NAME_CHARS_MAX: usize = 100;
const LINK_CHARS_MAX: usize = 2_000;
const LABEL_CHARS_MAX: usize = 100;
/// Of one `ui://` resource, and of all in one answer.
const WIDGET_BYTES_MAX: usize = 64 * 1024;
const WIDGETS_BYTES_MAX: usize = 128 * 1024;
const ANY_MEDIA_TYPE: &str = "application/octet-stream";

/// Maps one answer. `server` and `tool` are the names by which they know themselves.
pub(super) fn outcome(
    server: &str,
    tool: &str,
    result: CallToolResult,
    limits: &Limits,
) -> Outcome {
    let mut mapping = Mapping {
        server,
        tool,
        limits,
        content: Vec::new(),
        texts: Texts { left: limits.result_bytes, cut: 0 },
        files: 0,
        widget_bytes_left: WIDGETS_BYTES_MAX,
    };
    let link = result.meta.as_ref().and_then(|meta| meta.get("_link")).and_then(action_link);
    mapping.content.extend(link);
    for block in result.content {
        mapping.add(block);
    }
    let structured = result.structured_content.and_then(|value| mapping.structured(value));
    if mapping.texts.cut > 0 {
        let note = format!(
            "[cut: {} more bytes were not taken, the limit is {} bytes a result]",
            mapping.texts.cut, limits.result_bytes
        );
        mapping.content.push(Content::Text(note));
    }
    Outcome {
        is_error: result.is_error.unwrap_or_default(),
        content: mapping.content,
        structured,
        is_trusted: false,
    }
}

struct Mapping<'a> {
    server: &'a str,
    tool: &'a str,
    limits: &'a Limits,
    content: Vec<Content>,
    texts: Texts,
    files: usize,
    widget_bytes_left: usize,
}

/// How much text may still be taken, and how much was not.
struct Texts {
    left: usize,
    cut: usize,
}

impl Mapping<'_> {
    fn add(&mut self, block: ContentBlock) {
        match block {
            ContentBlock::Text(block) => {
                if let Some(link) = link_of_text(&block.text) {
                    self.content.push(link);
                }
                self.text(block.text);
            }
            ContentBlock::Image(block) => self.file(None, Some(&block.mime_type), &block.data),
            ContentBlock::Audio(block) => self.file(None, Some(&block.mime_type), &block.data),
            ContentBlock::Resource(block) => self.resource(block.resource),
            ContentBlock::ResourceLink(link) => {
                let uri = quoted(&link.uri, LINK_CHARS_MAX);
                let name = quoted(link.title.as_ref().unwrap_or(&link.name), NAME_CHARS_MAX);
                let description = link.description.as_deref().unwrap_or_default();
                let description = quoted(description, LINK_CHARS_MAX);
                self.text(format!("{name} <{uri}> {description}").trim_end().to_owned());
            }
            _ => self.text("[a part of a kind that is not known here was left out]".to_owned()),
        }
    }

    fn text(&mut self, mut text: String) {
        if text.len() > self.texts.left {
            let kept = text.floor_char_boundary(self.texts.left);
            self.texts.cut += text.len() - kept;
            text.truncate(kept);
        }
        self.texts.left -= text.len();
        if !text.is_empty() {
            self.content.push(Content::Text(text));
        }
    }

    fn resource(&mut self, resource: ResourceContents) {
        match resource {
            ResourceContents::TextResourceContents { ref uri, .. }
            | ResourceContents::BlobResourceContents { ref uri, .. }
                if uri.starts_with("ui://") =>
            {
                self.widget(&resource);
            }
            ResourceContents::TextResourceContents { text, .. } => self.text(text),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                self.file(Some(&uri), mime_type.as_deref(), &blob);
            }
            _ => self.text("[a resource of a kind that is not known here was left out]".to_owned()),
        }
    }

    /// Handed on as it is, with where it came from; too large ones are dropped whole.
    fn widget(&mut self, resource: &ResourceContents) {
        let Ok(resource) = serde_json::to_value(resource) else { return };
        let widget = json!({
            "type": "mcp_resource",
            "server": self.server,
            "tool": self.tool,
            "resource": resource,
        });
        let bytes = widget.to_string().len();
        if bytes > WIDGET_BYTES_MAX.min(self.widget_bytes_left) {
            self.text(format!("[a widget of {bytes} bytes was left out: it is too large]"));
            return;
        }
        self.widget_bytes_left -= bytes;
        self.content.push(Content::Widget(widget));
    }

    fn file(&mut self, uri: Option<&str>, media_type: Option<&str>, data: &str) {
        let media_type = media_type.filter(|it| is_media_type(it)).unwrap_or(ANY_MEDIA_TYPE);
        let limit = self.limits.file_bytes;
        // Four characters carry three bytes; what is too long need not be decoded.
        if data.len() / 4 * 3 > limit.saturating_add(2) {
            self.text(format!(
                "[a file of type {media_type} was refused: it has more than {limit} bytes]"
            ));
            return;
        }
        if self.files == self.limits.files_per_result {
            self.text(format!(
                "[a file of type {media_type} was refused: a result may have {} files]",
                self.files
            ));
            return;
        }
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(data.trim_ascii()) else {
            self.text(format!("[a file of type {media_type} was refused: it is no valid base64]"));
            return;
        };
        if bytes.len() > limit {
            self.text(format!(
                "[a file of type {media_type} was refused: {} bytes are more than {limit}]",
                bytes.len()
            ));
            return;
        }
        self.files += 1;
        let name = uri.and_then(name_of_uri).unwrap_or_else(|| {
            format!("{}-{}.{}", fit_for_name(self.tool), self.files, extension(media_type))
        });
        let media_type = media_type.to_owned();
        self.content.push(Content::File { name, media_type, bytes: Bytes::from(bytes) });
    }

    fn structured(&mut self, value: Value) -> Option<Value> {
        let text = value.to_string();
        let has_text = self.content.iter().any(|it| matches!(it, Content::Text(_)));
        let has_link = self.content.iter().any(|it| matches!(it, Content::Widget(_)));
        if !has_link {
            self.content.extend(value.get("_link").and_then(action_link));
        }
        if text.len() > self.limits.result_bytes {
            self.text(format!(
                "[structured content of {} bytes was left out: the limit is {}]",
                text.len(),
                self.limits.result_bytes
            ));
            return None;
        }
        // Models read texts only; most servers send the same as text.
        if !has_text {
            self.text(text);
        }
        Some(value)
    }
}

/// `_link` of a text that is one JSON object.
fn link_of_text(text: &str) -> Option<Content> {
    let is_candidate = text.trim_ascii_start().starts_with('{') && text.contains("\"_link\"");
    let object: Map<String, Value> = is_candidate.then(|| serde_json::from_str(text).ok())??;
    action_link(object.get("_link")?)
}

/// A button that opens an address: `"https://…"`, or an object with `url` and perhaps `label`.
fn action_link(value: &Value) -> Option<Content> {
    let field = |names: &[&str]| names.iter().find_map(|name| value.get(name)?.as_str());
    let url = value.as_str().or_else(|| field(&["url", "href"]))?;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let is_clean = !url.chars().any(|it| it.is_control() || it.is_whitespace());
    if !is_web || !is_clean || url.len() > LINK_CHARS_MAX {
        return None;
    }
    let label = quoted(field(&["label", "title", "text"]).unwrap_or(url), LABEL_CHARS_MAX);
    Some(Content::Widget(json!({"type": "action_link", "url": url, "label": label})))
}

fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        (1..=100).contains(&part.len())
            && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&it))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

fn name_of_uri(uri: &str) -> Option<String> {
    let path = uri.split(['?', '#']).next()?;
    let last = path.rsplit('/').next()?;
    let name = fit_for_name(last);
    (!name.trim_matches('.').is_empty()).then_some(name)
}

/// A single name of a file: nothing in it means a folder.
fn fit_for_name(text: &str) -> String {
    let is_fit = |it: char| it.is_alphanumeric() || matches!(it, '.' | '-' | '_');
    text.chars().take(NAME_CHARS_MAX).map(|it| if is_fit(it) { it } else { '_' }).collect()
}

fn extension(media_type: &str) -> &str {
    match media_type {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "ogg",
        "application/pdf" => "pdf",
        "application/json" => "json",
        "text/plain" => "txt",
        "text/csv" => "csv",
        "text/html" => "html",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests;
