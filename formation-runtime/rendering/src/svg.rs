//! Drawings that agents wrote: kept as they are, if all that they show is in them.

use roxmltree::{Document, Node, NodeType};

use crate::error::RenderError;
use crate::text;

const SVG: &str = "http://www.w3.org/2000/svg";

/// Elements that run, load or hold pages. `a` leads elsewhere, which a drawing has no need of.
const REFUSED: [&str; 12] = [
    "script",
    "foreignobject",
    "a",
    "iframe",
    "object",
    "embed",
    "audio",
    "video",
    "canvas",
    "handler",
    "listener",
    "link",
];
/// Pictures that lie within the drawing.
const INLINE: [&str; 4] =
    ["data:image/png;", "data:image/jpeg;", "data:image/gif;", "data:image/webp;"];

pub(crate) fn check(drawing: &str) -> Result<(), RenderError> {
    let document = text::xml(drawing).map_err(|(line, column, fault)| RenderError::Malformed {
        format: "svg",
        line,
        column,
        fault,
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "svg" || root.tag_name().namespace() != Some(SVG) {
        let fault = format!("does not begin with <svg xmlns=\"{SVG}\">");
        return Err(at(&document, root, fault));
    }
    for node in document.descendants() {
        if let Some(fault) = fault_of(node) {
            return Err(at(&document, node, fault));
        }
    }
    Ok(())
}

fn fault_of(node: Node<'_, '_>) -> Option<String> {
    match node.node_type() {
        NodeType::PI => Some("has a processing instruction".to_owned()),
        NodeType::Element => {
            let name = node.tag_name().name();
            if REFUSED.contains(&name.to_ascii_lowercase().as_str()) {
                return Some(format!("has an element <{name}>"));
            }
            if name.eq_ignore_ascii_case("style") {
                let text: String = node
                    .descendants()
                    .filter(Node::is_text)
                    .filter_map(|text| text.text())
                    .collect();
                if reaches_out(&text) {
                    return Some("has a style that loads something".to_owned());
                }
            }
            node.attributes()
                .find_map(|attribute| attribute_fault(attribute.name(), attribute.value()))
        }
        NodeType::Root | NodeType::Comment | NodeType::Text => None,
    }
}

fn attribute_fault(name: &str, value: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let target: String = value.trim().to_ascii_lowercase();
    let is_inside = target.starts_with('#') || INLINE.iter().any(|kind| target.starts_with(kind));
    match lower.as_str() {
        // Notes for programs and screen readers, which nothing follows.
        _ if lower.starts_with("data-") || lower.starts_with("aria-") => None,
        _ if lower.starts_with("on") => Some(format!("has a script in `{name}`")),
        "href" | "src" if !is_inside => Some(format!("refers to something outside in `{name}`")),
        "href" | "src" => None,
        "base" => Some("has a base for references".to_owned()),
        // An animation could write what may not stand there.
        "attributename" if target.contains("href") || target.starts_with("on") => {
            Some("animates a reference".to_owned())
        }
        _ if reaches_out(value) => Some(format!("refers to something outside in `{name}`")),
        _ => None,
    }
}

/// Whether a style or a value names something to load. Escapes would hide that, and have no other
/// use.
fn reaches_out(style: &str) -> bool {
    let style = style.to_ascii_lowercase();
    let loads = ["\\", "@import", "image-set", "src(", "javascript:", "expression("];
    if loads.iter().any(|word| style.contains(word)) {
        return true;
    }
    style.split("url(").skip(1).any(|rest| {
        !rest.trim_start().trim_start_matches(['"', '\'']).trim_start().starts_with('#')
    })
}

fn at(document: &Document<'_>, node: Node<'_, '_>, fault: String) -> RenderError {
    let place = document.text_pos_at(node.range().start);
    RenderError::Unsafe { line: place.row as usize, column: place.col as usize, fault }
}
