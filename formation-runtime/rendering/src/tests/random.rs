//! No order, however odd, brings the program down, and whatever is made keeps the bounds.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{LIMITS, Order, render};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        "[=+@-]?[0-9:T -]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|formula|text", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_chart() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "bar",
        "horizontal_bar",
        "line",
        "area",
        "pie",
        "donut",
        "scatter",
        "radar",
        "funnel",
    ]);
    let number =
        prop_oneof![any::<f64>(), -1e30..1e30, -10.0..10.0, Just(0.0), Just(1e-40), Just(1e30)];
    (1_usize..6, kind).prop_flat_map(move |(count, kind)| {
        let labels = prop::collection::vec(any::<String>(), count);
        let values = prop::collection::vec(prop::option::weighted(0.9, number.clone()), count);
        let points = prop::collection::vec([number.clone(), number.clone()], 1..6);
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        let sides = (90_usize..1_000, 90_usize..1_000);
        let values = prop::collection::vec(values, 1..4);
        (labels, values, points, flags, sides, any::<String>()).prop_map(
            move |(labels, values, points, (stacked, show, dark), (width, height), text)| {
                let scatter = kind == "scatter";
                let series: Vec<_> = values
                    .iter()
                    .map(|values| {
                        if scatter {
                            json!({"name": text, "points": points})
                        } else {
                            json!({"name": text, "values": values})
                        }
                    })
                    .collect();
                json!({
                    "kind": kind, "title": text, "subtitle": text, "series": series,
                    "labels": if scatter { Vec::new() } else { labels },
                    "stacked": stacked && !["pie", "donut", "scatter", "radar", "funnel"].contains(&kind),
                    "show_values": show, "theme": if dark { "dark" } else { "light" },
                    "width": width, "height": height,
                })
            },
        )
    })
}

fn any_order() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        any::<String>(),
        "[a-z./\\\\]{0,10}\\.(txt|csv|tsv|json|jsonl|yaml|xml|svg|xlsx|html|md|py|pdf)",
    ];
    let text = prop_oneof![
        any::<String>(),
        "[\\[\\]{}<>a:&*!,\"'\n #|-]{0,40}",
        "<svg xmlns='http://www.w3.org/2000/svg'>[<>/a-z =']{0,20}</svg>",
    ];
    let rows = prop::collection::vec(any_value(), 0..6).prop_map(Value::from).boxed();
    let source = prop_oneof![
        text.prop_map(|text| json!({"content": text})),
        text_page().prop_map(|text| json!({"content": text, "from_markdown": true})),
        any_value().prop_map(|data| json!({"data": data})),
        rows.clone().prop_map(|rows| json!({"rows": rows})),
        (rows, any::<String>()).prop_map(|(rows, name)| {
            json!({"sheets": [{"name": name, "rows": rows, "column_widths": [5]}]})
        }),
    ];
    (name, source).prop_map(|(name, source)| {
        let mut order = source.as_object().cloned().unwrap_or_default();
        order.insert("file_name".into(), name.into());
        order
    })
}

fn text_page() -> impl Strategy<Value = String> {
    "[#*_`|~<>\\[\\]()! \na-z0-9-]{0,80}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_order_panics(arguments in any_order()) {
        if let Ok(made) = Order::parse(arguments).and_then(|order| render(&order)) {
            prop_assert!(made.bytes.len() <= LIMITS.file_bytes);
            prop_assert!(made.name.len() <= LIMITS.file_name_bytes);
            prop_assert!(!made.name.contains(['/', '\\', '\0']) && !made.name.starts_with('.'));
        }
    }

    #[test]
    fn no_chart_panics_and_every_drawing_is_safe(chart in any_chart()) {
        let with = |name: &str, source: Value| {
            let mut order = source.as_object().cloned().unwrap_or_default();
            order.insert("file_name".into(), name.into());
            Order::parse(order).and_then(|order| render(&order))
        };
        if let Ok(drawn) = with("c.svg", json!({"chart": chart})) {
            let text = String::from_utf8(drawn.bytes.to_vec()).unwrap();
            prop_assert_eq!(with("c.svg", json!({"content": text})).err(), None);
        }
    }
}
