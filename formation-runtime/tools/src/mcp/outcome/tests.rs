use serde_json::json;

use super::*;

fn limits() -> Limits {
    Limits { result_bytes: 100, file_bytes: 12, files_per_result: 2, ..Limits::default() }
}

fn mapped(result: Value) -> Outcome {
    outcome("s", "draw it", serde_json::from_value(result).unwrap(), &limits())
}

fn texts(outcome: &Outcome) -> Vec<&str> {
    outcome.content.iter().filter_map(text_of).collect()
}

fn widgets(outcome: &Outcome) -> Vec<&Value> {
    outcome.content.iter().filter_map(widget_of).collect()
}

fn text_of(content: &Content) -> Option<&str> {
    match content {
        Content::Text(text) => Some(text),
        Content::File { .. } | Content::Widget(_) => None,
    }
}

fn widget_of(content: &Content) -> Option<&Value> {
    match content {
        Content::Widget(widget) => Some(widget),
        Content::File { .. } | Content::Text(_) => None,
    }
}

#[test]
fn errors_and_texts_stay_what_they_are_and_are_not_trusted() {
    let failed = mapped(json!({"isError": true, "content": [{"type": "text", "text": "no"}]}));
    assert!(failed.is_error && !failed.is_trusted);
    assert_eq!(texts(&failed), ["no"]);
}

#[test]
fn long_texts_are_cut_at_a_character_and_told() {
    let long = "ä".repeat(60);
    let cut = mapped(json!({"content": [
        {"type": "text", "text": long}, {"type": "text", "text": "more"}]}));
    assert_eq!(
        texts(&cut),
        [
            "ä".repeat(50).as_str(),
            "[cut: 24 more bytes were not taken, the limit is 100 bytes a result]"
        ]
    );
}

#[test]
fn files_have_names_types_and_bounds() {
    let made = mapped(json!({"content": [
        {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"},
        {"type": "resource", "resource": {
            "uri": "file:///a/../b%2Fc d.pdf?x", "mimeType": "no type", "blob": "aGVsbG8="}},
        {"type": "audio", "data": "aGVsbG8=", "mimeType": "audio/wav"},
    ]}));
    let file = |content: &Content| match content {
        Content::File { name, media_type, bytes } => {
            Some((name.clone(), media_type.clone(), bytes.len()))
        }
        Content::Text(_) | Content::Widget(_) => None,
    };
    let files: Vec<_> = made.content.iter().filter_map(file).collect();
    assert_eq!(
        files,
        [
            ("draw_it-1.png".to_owned(), "image/png".to_owned(), 5),
            ("b_2Fc_d.pdf".to_owned(), ANY_MEDIA_TYPE.to_owned(), 5),
        ]
    );
    assert_eq!(texts(&made), ["[a file of type audio/wav was refused: a result may have 2 files]"]);
}

#[test]
fn files_that_are_too_large_or_broken_are_refused() {
    for (data, why) in [
        ("A".repeat(400), "more than 12"),
        ("A".repeat(20), "more than 12"),
        ("?".into(), "base64"),
    ] {
        let refused = mapped(json!({"content": [
            {"type": "image", "data": data, "mimeType": "image/png"}]}));
        assert_eq!(refused.content.len(), 1);
        assert!(texts(&refused)[0].contains(why), "{refused:?}");
    }
}

#[test]
fn user_interfaces_are_handed_on_and_too_large_ones_are_not() {
    let resource = json!({"uri": "ui://chart", "mimeType": "text/html", "text": "<b>"});
    let handed = mapped(json!({"content": [{"type": "resource", "resource": resource}]}));
    let expected =
        json!({"type": "mcp_resource", "server": "s", "tool": "draw it", "resource": resource});
    assert_eq!(widgets(&handed), [&expected]);
    let large = json!({"uri": "ui://chart", "text": "x".repeat(WIDGET_BYTES_MAX)});
    let dropped = mapped(json!({"content": [{"type": "resource", "resource": large}]}));
    assert!(widgets(&dropped).is_empty() && texts(&dropped)[0].contains("too large"));
}

#[test]
fn links_become_buttons_when_they_lead_to_the_web() {
    let expected = json!({"type": "action_link", "url": "https://a.b/c", "label": "Open"});
    let link = json!({"url": "https://a.b/c", "label": "Open"});
    let in_text = json!({"_link": link}).to_string();
    for result in [
        json!({"content": [{"type": "text", "text": in_text}]}),
        json!({"content": [], "structuredContent": {"_link": link}}),
        json!({"content": [], "_meta": {"_link": link}}),
    ] {
        assert_eq!(widgets(&mapped(result)), [&expected]);
    }
    for bad in ["javascript:alert(1)", "ftp://a.b", "https://a.b/ c", ""] {
        let result = json!({"content": [], "structuredContent": {"_link": bad}});
        assert!(widgets(&mapped(result)).is_empty(), "{bad}");
    }
}

#[test]
fn structured_content_is_kept_and_read_aloud_when_alone() {
    let alone = mapped(json!({"content": [], "structuredContent": {"n": 1}}));
    assert_eq!(alone.structured, Some(json!({"n": 1})));
    assert_eq!(texts(&alone), [r#"{"n":1}"#]);
    let large = mapped(json!({"content": [], "structuredContent": {"n": "x".repeat(200)}}));
    assert_eq!(large.structured, None);
    assert!(texts(&large)[0].contains("left out"));
}

#[test]
fn resources_in_text_and_links_to_resources_are_read() {
    let read = mapped(json!({"content": [
        {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
        {"type": "resource_link", "uri": "file:///b", "name": "b", "description": "two\nlines"},
    ]}));
    assert_eq!(texts(&read), ["inside", "b <file:///b> two lines"]);
}
