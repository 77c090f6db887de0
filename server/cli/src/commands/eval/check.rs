//! Whether an answer is what was expected. Pure.

use serde_json::Value;

use super::cases::Expect;
use crate::terminal::format::one_line;

/// What came of a case's conversation.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// The last answer.
    pub(super) text: String,
    pub(super) agent: String,
    /// Of all answers.
    pub(super) tools: Vec<String>,
    pub(super) asks: bool,
    pub(super) seconds: f64,
}

// === impl Expect ===

impl Expect {
    /// What does not hold, each as a sentence. The judge is asked elsewhere.
    pub(super) fn failures(&self, heard: &Heard) -> Vec<String> {
        let mut failures = Vec::new();
        let mut must = |holds: bool, failure: String| {
            if !holds {
                failures.push(failure);
            }
        };
        let text = heard.text.to_lowercase();
        for wanted in &self.contains {
            must(
                text.contains(&wanted.to_lowercase()),
                format!("the answer does not contain “{}”", one_line(wanted)),
            );
        }
        for unwanted in &self.not_contains {
            must(
                !text.contains(&unwanted.to_lowercase()),
                format!("the answer contains “{}”", one_line(unwanted)),
            );
        }
        for pattern in &self.regex {
            must(pattern.is_match(&heard.text), format!("the answer does not match /{pattern}/"));
        }
        if let Some(schema) = &self.json_schema
            && let Err(why) = fits(schema, &heard.text)
        {
            must(false, why);
        }
        let called = |tool: &str| heard.tools.iter().any(|it| is_tool(it, tool));
        for tool in &self.tool_called {
            must(called(tool), format!("{tool} was not called; {}", those(&heard.tools)));
        }
        for tool in &self.tool_not_called {
            must(!called(tool), format!("{tool} was called"));
        }
        if let Some(agent) = &self.agent {
            must(
                *agent == heard.agent,
                format!("{} answered, not {agent}", or_nobody(&heard.agent)),
            );
        }
        if let Some(asks) = self.asks {
            let failure =
                if asks { "it did not ask for an approval" } else { "it asked for an approval" };
            must(asks == heard.asks, failure.to_owned());
        }
        if let Some(max) = self.max_seconds {
            must(heard.seconds <= max, format!("it took {:.1} s, more than {max}", heard.seconds));
        }
        failures
    }
}

/// A tool by its whole name, or by its own name without that of its server.
fn is_tool(called: &str, named: &str) -> bool {
    called == named || called.split_once("__").is_some_and(|(_, own)| own == named)
}

fn those(tools: &[String]) -> String {
    if tools.is_empty() {
        "no tool was".to_owned()
    } else {
        format!("these were: {}", tools.join(", "))
    }
}

fn or_nobody(agent: &str) -> &str {
    if agent.is_empty() { "nobody" } else { agent }
}

/// Also an answer that stands in a fenced block.
fn fits(schema: &Value, text: &str) -> Result<(), String> {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|it| it.strip_suffix("```"));
    let text = inner.map_or(text, |it| it.strip_prefix("json").unwrap_or(it));
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("the answer is no JSON ({error})"))?;
    let validator = jsonschema::validator_for(schema).map_err(|it| it.to_string())?;
    validator.validate(&value).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
        format!("the answer does not fit the schema{place}: {error}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_expectation_holds_or_says_why_not() {
        let heard = Heard {
            text: "```json\n{\"euros\": 40}\n```".to_owned(),
            agent: "bookkeeper".to_owned(),
            tools: vec!["files__read_text_file".to_owned()],
            asks: false,
            seconds: 2.0,
        };
        let schema = |kind: &str| Some(json!({"properties": {"euros": {"type": kind}}}));
        let text = |text: &str| vec![text.to_owned()];
        let fine = Expect {
            contains: text("EUROS"),
            not_contains: text("dollars"),
            regex: vec![regex::Regex::new(r"\d+").unwrap()],
            json_schema: schema("integer"),
            tool_called: text("read_text_file"),
            tool_not_called: text("write_file"),
            agent: Some("bookkeeper".to_owned()),
            asks: Some(false),
            max_seconds: Some(2.0),
            judge: None,
        };
        assert_eq!(fine.failures(&heard), [""; 0]);
        let wrong = Expect {
            contains: text("dollars"),
            not_contains: text("euros"),
            regex: vec![regex::Regex::new("^x").unwrap()],
            json_schema: schema("string"),
            tool_called: text("write_file"),
            tool_not_called: text("files__read_text_file"),
            agent: Some("frontdesk".to_owned()),
            asks: Some(true),
            max_seconds: Some(1.0),
            judge: None,
        };
        assert_eq!(
            wrong.failures(&heard),
            [
                "the answer does not contain “dollars”",
                "the answer contains “euros”",
                "the answer does not match /^x/",
                "the answer does not fit the schema at /euros: 40 is not of type \"string\"",
                "write_file was not called; these were: files__read_text_file",
                "files__read_text_file was called",
                "bookkeeper answered, not frontdesk",
                "it did not ask for an approval",
                "it took 2.0 s, more than 1",
            ]
        );
    }
}
