//! Charts: what is in the drawing, and what is on the picture.

use serde_json::{Value, json};

use super::{made, refused, text};

const KINDS: [&str; 9] =
    ["bar", "horizontal_bar", "line", "area", "pie", "donut", "scatter", "radar", "funnel"];

fn chart(kind: &str) -> Value {
    let labels = json!(["Q1 <&>", "Q2", "Q3"]);
    match kind {
        "scatter" => json!({"kind": kind, "title": "T", "series": [
            {"name": "a", "points": [[1, 2], [3.5, -4], [1e6, 0]]},
            {"name": "b", "points": [[2, 2]]}
        ]}),
        "pie" | "donut" | "funnel" => {
            json!({"kind": kind, "title": "T", "labels": labels, "series": [{"values": [3, 0, 5]}]})
        }
        _ => json!({"kind": kind, "title": "T", "subtitle": "by <region>", "labels": labels,
            "show_values": true, "series": [
                {"name": "a", "values": [1, 2, 3]}, {"name": "b", "values": [0, 2.5, 1]}
        ]}),
    }
}

struct Picture {
    width: u32,
    height: u32,
    colours: usize,
}

fn picture(bytes: &[u8]) -> Picture {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let colours: std::collections::HashSet<_> = pixels.chunks(4).collect();
    Picture { width: info.width, height: info.height, colours: colours.len() }
}

#[test]
fn every_kind_is_drawn_as_a_safe_drawing_and_as_a_picture() {
    for kind in KINDS {
        let chart = chart(kind);
        let drawing = text(json!({"file_name": "c.svg", "chart": chart}));
        // A drawing of ours passes the check of those that agents write.
        made(json!({"file_name": "c.svg", "content": drawing}));
        assert!(drawing.contains("T\n</text>"), "{kind}: the title is missing");
        if kind != "scatter" {
            assert!(drawing.contains("Q1 &lt;&amp;&gt;"), "{kind}: {drawing}");
        }
        let file = made(json!({"file_name": "c.png", "chart": chart}));
        assert_eq!((file.name.as_str(), file.media_type), ("c.png", "image/png"));
        let picture = picture(&file.bytes);
        assert_eq!((picture.width, picture.height), (800, 500), "{kind}");
        assert!(picture.colours > 10, "{kind} is blank");
    }
}

#[test]
fn size_theme_stacks_and_gaps_are_as_ordered() {
    let mut chart = chart("area");
    chart["width"] = json!(400);
    chart["height"] = json!(300);
    let plain = made(json!({"file_name": "c.png", "chart": chart}));
    chart["theme"] = json!("dark");
    let dark = made(json!({"file_name": "c.png", "chart": chart}));
    assert_ne!(plain.bytes, dark.bytes);
    let found = picture(&dark.bytes);
    assert_eq!((found.width, found.height), (400, 300));
    chart["stacked"] = json!(true);
    assert_ne!(made(json!({"file_name": "c.png", "chart": chart})).bytes, dark.bytes);
    chart["y_title"] = json!("kWh");
    chart["series"][0]["values"][1] = json!(null);
    assert!(text(json!({"file_name": "c.svg", "chart": chart})).contains("kWh"));
    // Nothing in it depends on the moment or on chance.
    let again = || made(json!({"file_name": "c.png", "chart": chart})).bytes;
    assert_eq!(again(), again());
}

#[test]
fn the_largest_chart_is_drawn() {
    let points: Vec<_> = (0..10_000).map(|i| json!([i, (i * 7_919) % 10_007])).collect();
    let chart =
        json!({"kind": "scatter", "series": [{"points": points}], "width": 2000, "height": 2000});
    let file = made(json!({"file_name": "c.png", "chart": chart}));
    let picture = picture(&file.bytes);
    assert_eq!((picture.width, picture.height), (2000, 2000));
}

#[test]
fn what_cannot_be_drawn_is_told_with_its_place() {
    let with = |kind: &str, key: &str, value: Value| {
        let mut chart = chart(kind);
        chart[key] = value;
        refused(json!({"file_name": "c.svg", "chart": chart}))
    };
    insta::assert_snapshot!(
        [
            with("bar", "labels", json!(["one"])),
            with("bar", "series", json!([])),
            with("bar", "series", json!([{"points": [[1, 2]]}])),
            with("bar", "series", json!([{"values": [null, null, null]}])),
            with("bar", "series", json!([{"values": [1, 2, 1e300]}])),
            with("bar", "series", json!([{"values": ["1", 2, 3]}])),
            with("bar", "kind", json!("bubble")),
            with("bar", "width", json!(50_000)),
            with("bar", "colour", json!("red")),
            with("pie", "series", json!([{"values": [1, -2, 3]}])),
            with("pie", "series", json!([{"values": [1, null, 3]}])),
            with("pie", "stacked", json!(true)),
            with("radar", "y_title", json!("kWh")),
            with("scatter", "labels", json!(["a"])),
            with("bar", "title", json!("x".repeat(201))),
        ]
        .join("\n")
    );
}
