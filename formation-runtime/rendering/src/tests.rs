//! Files as their readers find them.

mod charts;
mod random;
mod spreadsheets;

use serde_json::{Value, json};

use super::*;

fn parsed(arguments: Value) -> Result<Order, RenderError> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Order::parse(arguments)
}

fn made(arguments: Value) -> Rendered {
    let made = parsed(arguments).and_then(|order| render(&order));
    made.unwrap_or_else(|error| panic!("{error}"))
}

fn text(arguments: Value) -> String {
    String::from_utf8(made(arguments).bytes.to_vec()).unwrap()
}

fn refused(arguments: Value) -> String {
    match parsed(arguments).and_then(|order| render(&order)) {
        Ok(made) => panic!("made {}", made.name),
        Err(error) => error.to_string(),
    }
}

#[test]
fn text_is_kept_as_it_is_given() {
    for (name, media_type) in [
        ("notes.txt", "text/plain"),
        ("report.md", "text/markdown"),
        ("tool.py", "text/x-python"),
        ("main.rs", "text/plain"),
        ("query.sql", "application/sql"),
        ("app.toml", "application/toml"),
        ("Dockerfile", "text/plain"),
        ("page.html", "text/html"),
    ] {
        let content = "line one\r\n\t=2+2 <b>é</b>";
        let file = made(json!({"file_name": name, "content": content}));
        assert_eq!((file.name.as_str(), file.media_type), (name, media_type));
        assert_eq!(file.bytes, content.as_bytes());
    }
}

#[test]
fn rows_become_each_of_the_tables() {
    let rows = json!([["Ada", 36, true], ["a, \"b\"\nc", 1.5, null]]);
    let with =
        |name: &str| text(json!({"file_name": name, "columns": ["name", "n", "ok"], "rows": rows}));
    assert_eq!(with("t.csv"), "name,n,ok\nAda,36,true\n\"a, \"\"b\"\"\nc\",1.5,\n");
    assert_eq!(with("t.tsv"), "name\tn\tok\nAda\t36\ttrue\n\"a, \"\"b\"\"\nc\"\t1.5\t\n");
    assert_eq!(
        with("t.jsonl").lines().next(),
        Some(json!({"name": "Ada", "n": 36, "ok": true}).to_string().as_str())
    );
    let back: Value = serde_json::from_str(&with("t.json")).unwrap();
    assert_eq!(back[1], json!({"name": "a, \"b\"\nc", "n": 1.5, "ok": null}));
    let back: Value = serde_yaml::from_str(&with("t.yaml")).unwrap();
    assert_eq!(back[0]["name"], "Ada");
    // Maps, of which one lacks a column.
    let records = json!([{"a": 1}, {"b": "x", "a": 2}]);
    assert_eq!(text(json!({"file_name": "t.csv", "rows": records})), "a,b\n1,\n2,x\n");
    let lists = text(json!({"file_name": "t.json", "rows": [[1], [2, 3]]}));
    assert_eq!(serde_json::from_str::<Value>(&lists).unwrap(), json!([[1, null], [2, 3]]));
}

#[test]
fn data_becomes_text_that_reads_back() {
    let data = json!({"b": [1, 2.5, null], "a": "no: \"text\"\n", "yes": "yes"});
    let with = |name: &str| text(json!({"file_name": name, "data": data}));
    assert_eq!(serde_json::from_str::<Value>(&with("d.json")).unwrap(), data);
    assert_eq!(serde_yaml::from_str::<Value>(&with("d.yml")).unwrap(), data);
    assert_eq!(text(json!({"file_name": "d.jsonl", "data": [1, {"a": 2}]})), "1\n{\"a\":2}\n");
    assert!(refused(json!({"file_name": "d.jsonl", "data": {}})).contains("a list"));
}

#[test]
fn what_is_not_well_formed_is_told_with_its_place() {
    let fault = |name: &str, content: &str| refused(json!({"file_name": name, "content": content}));
    insta::assert_snapshot!(
        [
            fault("a.json", "{\n  \"a\": 1,\n}"),
            fault("a.jsonl", "{}\n{\"a\"}\n"),
            fault("a.yaml", "a: 1\nb: [1, 2\nc: 3\n"),
            fault("a.xml", "<a>\n  <b></a>"),
            fault("a.xml", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"),
            fault("a.csv", "a,b\n1,2\n3\n"),
            fault("a.svg", "<svg xmlns='http://www.w3.org/2000/svg'><g></svg>"),
        ]
        .join("\n")
    );
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x]\nb: &b [{0}]\nc: [{1}]",
        ["*a"; 500].join(","),
        ["*b"; 500].join(",")
    );
    assert_eq!(text(json!({"file_name": "a.yaml", "content": bomb})), bomb);
}

#[test]
fn what_an_order_lacks_or_mixes_is_told() {
    insta::assert_snapshot!(
        [
            json!({"file_name": "a.pdf", "content": "x"}),
            json!({"file_name": "a.docx", "content": "x"}),
            json!({"file_name": "a.pptx", "content": "x"}),
            json!({"file_name": "song.mp3", "content": "x"}),
            json!({"file_name": "notes", "content": "x"}),
            json!({"content": "x"}),
            json!({"file_name": "a.md"}),
            json!({"file_name": "a.xlsx", "content": "a,b"}),
            json!({"file_name": "a.png", "rows": [[1]]}),
            json!({"file_name": "a.csv", "content": "a", "rows": []}),
            json!({"file_name": "a.md", "content": "a", "from_markdown": true}),
            json!({"file_name": "a.csv", "content": "a", "columns": ["a"]}),
            json!({"file_name": "a.csv", "columns": ["a"], "rows": [[1, 2]]}),
            json!({"file_name": "a.csv", "columns": ["a"], "rows": [{"b": 1}]}),
            json!({"file_name": "a.csv", "columns": ["a", "a"], "rows": []}),
            json!({"file_name": "a.csv", "rows": [[1], 2]}),
            json!({"file_name": "a.csv", "rows": [[[1]]]}),
            json!({"file_name": "a.csv", "rows": "a,b"}),
            json!({"file_name": "a.csv", "content": "a", "sheet": 1}),
            json!({"file_name": "a.xlsx", "sheets": [{"name": "a"}]}),
        ]
        .map(refused)
        .join("\n")
    );
    assert!(refused(json!({"file_name": "a.xyz", "content": "x"})).contains("txt, md, html, csv"));
}

#[test]
fn names_are_no_paths_and_end_as_their_format_does() {
    let name = |wanted: &str, format: &str| {
        let arguments = json!({"file_name": wanted, "format": format, "content": "1"});
        made(arguments).name
    };
    for (wanted, format, given) in [
        ("../../etc/passwd", "txt", "passwd.txt"),
        ("C:\\temp\\a.md", "md", "a.md"),
        ("a.txt", "md", "a.md"),
        ("version 1.2", "txt", "version 1.2.txt"),
        ("a\u{0}b\n.TXT", "txt", "ab.TXT"),
        ("photo\u{202e}gpj.txt", "txt", "photogpj.txt"),
        ("", "csv", "file.csv"),
        ("...", ".csv", "file.csv"),
        ("con", "txt", "con_.txt"),
        ("LPT1.txt", "txt", "LPT1_.txt"),
        ("makefile", "makefile", "makefile"),
        ("données", "JSON", "données.json"),
    ] {
        assert_eq!(name(wanted, format), given, "{wanted:?}");
    }
    let long = name(&"ä".repeat(500), "txt");
    assert!(long.len() <= LIMITS.file_name_bytes && long.ends_with("ä.txt"), "{long}");
}

#[test]
fn markdown_becomes_a_page_of_its_own() {
    let page = text(json!({
        "file_name": "the <plan>.html",
        "from_markdown": true,
        "content": "# Plan\n\n| a | b |\n|---|---|\n| 1 | ~~2~~ |\n\n- [x] done\n\n<script>alert(1)</script>\n"
    }));
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("<title>the &lt;plan&gt;</title>"), "{page}");
    assert!(page.contains("<h1>Plan</h1>") && page.contains("<td><del>2</del></td>"), "{page}");
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
}

#[test]
fn drawings_that_run_or_load_something_are_refused() {
    let svg = |inner: &str| {
        let open =
            "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>";
        json!({"file_name": "d.svg", "content": format!("{open}{inner}</svg>")})
    };
    for good in [
        "<rect width='1' height='1' fill='url(#g)'/>",
        "<use href='#a'/><image href='data:image/png;base64,AAAA'/>",
        "<style>.a { fill: url( \"#g\" ); }</style>",
        "<!-- a comment -->",
    ] {
        made(svg(good));
    }
    for bad in [
        "<script>alert(1)</script>",
        "<SCRIPT/>",
        "<rect onload='x()'/>",
        "<image href='http://x/y.png'/>",
        "<image xlink:href='file:///etc/passwd'/>",
        "<use href='other.svg#a'/>",
        "<image href='data:image/svg+xml;base64,AAAA'/>",
        "<a href='javascript:alert(1)'/>",
        "<foreignObject/>",
        "<style>@import 'http://x';</style>",
        "<style>a { fill: u\\72l(http://x); }</style>",
        "<rect style='fill: url(http://x/#a)'/>",
        "<set attributeName='href' to='javascript:alert(1)'/>",
        "<?xml-stylesheet href='http://x'?>",
    ] {
        let fault = refused(svg(bad));
        assert!(fault.contains("(line 1, column"), "{bad}: {fault}");
    }
    assert!(refused(json!({"file_name": "d.svg", "content": "<html/>"})).contains("begin with"));
}

#[test]
fn nothing_grows_beyond_its_bound() {
    let rows = |count: usize| vec![json!([1]); count];
    for arguments in [
        json!({"file_name": "a.txt", "content": "x".repeat(LIMITS.content_bytes + 1)}),
        json!({"file_name": "a.csv", "rows": rows(LIMITS.rows + 1)}),
        json!({"file_name": "a.csv", "rows": [vec![1; LIMITS.columns + 1]]}),
        json!({"file_name": "a.csv", "content": "1\n".repeat(LIMITS.rows + 1)}),
        json!({"file_name": "a.csv", "rows": vec![vec![1; LIMITS.columns]; LIMITS.cells / LIMITS.columns + 1]}),
    ] {
        assert!(refused(arguments).contains("at most"));
    }
    let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
    made(json!({"file_name": "a.xml", "content": deep}));
    let deep = "[".repeat(100_000);
    assert!(refused(json!({"file_name": "a.json", "content": deep})).contains("line 1"));
}

#[test]
fn the_schema_is_one_and_names_what_an_order_takes() {
    let schema = schema();
    let properties = schema["properties"].as_object().unwrap();
    let mut arguments = serde_json::Map::new();
    for name in properties.keys() {
        arguments.insert(name.clone(), Value::Object(serde_json::Map::new()));
        let fault = Order::parse(arguments.clone()).err().map(|error| error.to_string());
        assert!(!fault.unwrap_or_default().contains("unknown field"), "{name}");
        arguments.clear();
    }
    every_list_says_what_it_holds(&schema);
    let formats = schema["properties"]["format"]["enum"].as_array().unwrap();
    for format in formats {
        assert!(crate::format::known(format.as_str().unwrap()).is_some());
    }
}

fn every_list_says_what_it_holds(schema: &Value) {
    if schema["type"].to_string().contains("\"array\"") {
        assert!(schema["items"].is_object(), "{schema}");
    }
    let within = schema.as_object().into_iter().flat_map(serde_json::Map::values);
    within.filter(|value| value.is_object()).for_each(every_list_says_what_it_holds);
}
