//! Triggers: texts in which other systems' data is filled in. What is filled in is plain text, and
//! stays text: it is not looked through for placeholders again.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::Value;

const OPEN: &str = "${{";
const CLOSE: &str = "}}";
const ROOT: &str = "data.";

/// One file of `triggers/`.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// The file's name without its extension.
    pub name: String,
    /// The address that is told of the end; it may hold a secret.
    pub webhook: Option<SecretString>,
    pub template: Template,
}

/// A text with `${{ data.a.b }}` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("the data has no {}", quoted(.0))]
    Missing(Vec<String>),
    #[error("the text would have more than {0} bytes")]
    TooLong(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    /// The steps of a path below `data`.
    Data(Vec<String>),
}

/// What is wrong with a template, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateFault {
    pub(crate) at_byte: usize,
    pub(crate) message: String,
    pub(crate) mend: &'static str,
}

// === impl Template ===

impl Template {
    /// All faults of the text at once.
    pub(crate) fn parse(source: &str) -> Result<Self, Vec<TemplateFault>> {
        let (mut pieces, mut faults) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(start) = source[at..].find(OPEN).map(|it| at + it) {
            pieces.push(Piece::Plain(source[at..start].to_owned()));
            let inner = start + OPEN.len();
            let Some(end) = source[inner..].find(CLOSE).map(|it| inner + it) else {
                faults.push(TemplateFault {
                    at_byte: start,
                    message: format!("a placeholder starts with `{OPEN}` and does not end"),
                    mend: "close it with `}}`",
                });
                return Err(faults);
            };
            match path(source[inner..end].trim()) {
                Some(path) => pieces.push(Piece::Data(path)),
                None => faults.push(TemplateFault {
                    at_byte: start,
                    message: format!(
                        "`{}` is not a placeholder of a trigger's text",
                        &source[start..end + CLOSE.len()]
                    ),
                    mend: "write `${{ data.NAME }}`, with more names or numbers after dots",
                }),
            }
            at = end + CLOSE.len();
        }
        pieces.push(Piece::Plain(source[at..].to_owned()));
        if faults.is_empty() { Ok(Self { source: source.to_owned(), pieces }) } else { Err(faults) }
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The dotted paths below `data`, sorted, each once.
    pub fn fields(&self) -> Vec<String> {
        let fields: BTreeSet<String> = self.paths().map(|path| path.join(".")).collect();
        fields.into_iter().collect()
    }

    /// With each value as `shown` has it, which gets its path, too.
    pub fn fill(
        &self,
        data: &Value,
        bytes_max: usize,
        shown: &dyn Fn(&str, &Value) -> String,
    ) -> Result<String, FillError> {
        let missing: BTreeSet<String> = self
            .paths()
            .filter(|path| found(data, path).is_none())
            .map(|path| format!("{ROOT}{}", path.join(".")))
            .collect();
        if !missing.is_empty() {
            return Err(FillError::Missing(missing.into_iter().collect()));
        }
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Plain(plain) => text.push_str(plain),
                Piece::Data(path) => {
                    if let Some(value) = found(data, path) {
                        text.push_str(&shown(&format!("{ROOT}{}", path.join(".")), value));
                    }
                }
            }
            // Piece by piece, since a small template can name much data many times.
            if text.len() > bytes_max {
                return Err(FillError::TooLong(bytes_max));
            }
        }
        Ok(text)
    }

    fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Plain(_) => None,
            Piece::Data(path) => Some(path),
        })
    }
}

/// A text as it is, everything else as JSON.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

// === private helpers ===

fn path(inner: &str) -> Option<Vec<String>> {
    let steps = inner.strip_prefix(ROOT)?.split('.');
    let is_name = |step: &str| {
        !step.is_empty() && !step.contains(|c: char| c.is_whitespace() || "{}$[]'\"|".contains(c))
    };
    steps.map(|step| is_name(step).then(|| step.to_owned())).collect()
}

fn found<'a>(data: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(data, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn quoted(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_filled_in_as_text() {
        let data = json!({
            "issue": {"title": "It ${{ data.issue.n }} breaks", "n": 7, "labels": ["bug", {"a": null}]},
            "urgent": true,
        });
        for (source, expected) in [
            ("no placeholder: {{ a }} $", "no placeholder: {{ a }} $"),
            // What comes with the data is no placeholder.
            ("${{ data.issue.title }}!", "It ${{ data.issue.n }} breaks!"),
            ("${{data.issue.n}}, ${{  data.urgent  }}", "7, true"),
            ("${{ data.issue.labels.0 }}/${{ data.issue.labels.1.a }}", "bug/null"),
            ("${{ data.issue.labels }}", r#"["bug",{"a":null}]"#),
        ] {
            let template = Template::parse(source).unwrap();
            assert_eq!(
                template.fill(&data, 1000, &|_, value| plain(value)).as_deref(),
                Ok(expected),
                "{source}"
            );
        }
    }

    #[test]
    fn all_that_is_missing_is_named() {
        let template =
            Template::parse("${{ data.b }}${{ data.a.0.c }}${{ data.b }}${{ data.ok }}").unwrap();
        assert_eq!(template.fields(), ["a.0.c", "b", "ok"]);
        let error =
            template.fill(&json!({"a": [1], "ok": 1}), 100, &|_, value| plain(value)).unwrap_err();
        assert_eq!(error, FillError::Missing(vec!["data.a.0.c".to_owned(), "data.b".to_owned()]));
        assert_eq!(error.to_string(), "the data has no `data.a.0.c`, `data.b`");
    }

    #[test]
    fn a_small_template_makes_no_huge_text() {
        let template = Template::parse(&"${{ data.x }}".repeat(1000)).unwrap();
        let data = json!({"x": "long ".repeat(1000)});
        assert_eq!(
            template.fill(&data, 10_000, &|_, value| plain(value)),
            Err(FillError::TooLong(10_000))
        );
    }

    #[test]
    fn other_placeholders_are_faults() {
        for bad in [
            "${{ secrets.KEY }}",
            "${{ data }}",
            "${{ data. }}",
            "${{ data.a..b }}",
            "${{ data.a b }}",
            "${{ }}",
            "${{ data.a",
        ] {
            assert_eq!(Template::parse(&format!("x {bad}")).unwrap_err()[0].at_byte, 2, "{bad}");
        }
    }
}
