//! How a model without a form of its own for tools is told of them: that of the Hermes models, which
//! several families learn and small ones can copy.

use serde_json::{Value, json};

use super::{Message, Role, Tool, ToolCall};

pub(crate) const CALL_BEGIN: &str = "<tool_call>";
pub(crate) const CALL_END: &str = "</tool_call>";

/// What only the form itself may write.
pub(super) const TAGS: [&str; 6] =
    [CALL_BEGIN, CALL_END, "<tools>", "</tools>", "<tool_response>", "</tool_response>"];

/// The same talk in roles that every template knows: the tools in the system's message, calls in the
/// assistant's, and results in the user's. The words of others have been disarmed before.
pub(super) fn spelled_out(messages: Vec<Message>, tools: &[Tool]) -> Vec<Message> {
    let mut written: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut section = (!tools.is_empty()).then(|| section(tools));
    let mut after_result = false;
    if let Some(section) = section.take_if(|_| messages[0].role != Role::System) {
        written.push(Message::new(Role::System, section));
    }
    for Message { role, mut content, tool_calls } in messages {
        for call in &tool_calls {
            if !content.is_empty() {
                content.push('\n');
            }
            content.push_str(&spelled_call(call));
        }
        if let Some(section) = section.take() {
            content = format!("{content}\n\n{section}");
        }
        let is_result = role == Role::Tool;
        if is_result {
            content = format!("<tool_response>\n{content}\n</tool_response>");
        }
        match written.last_mut() {
            // Templates want the user and the assistant to take turns.
            Some(last) if is_result && after_result => {
                last.content.push('\n');
                last.content.push_str(&content);
            }
            _ => written.push(Message::new(if is_result { Role::User } else { role }, content)),
        }
        after_result = is_result;
    }
    written
}

/// As the wire has it, which is what templates expect.
pub(super) fn tool_json(tool: &Tool) -> Value {
    json!({ "type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.parameters,
    } })
}

// === private helpers ===

fn section(tools: &[Tool]) -> String {
    let tools: Vec<_> = tools.iter().map(|tool| tool_json(tool).to_string()).collect();
    format!(
        "You can call these tools:\n<tools>\n{}\n</tools>\nTo call one, write\n{CALL_BEGIN}\n\
         {{\"name\": \"the tool\", \"arguments\": {{}}}}\n{CALL_END}\nand nothing after it; the result \
         comes in <tool_response>. Otherwise answer in plain words.",
        tools.join("\n")
    )
}

fn spelled_call(call: &ToolCall) -> String {
    // In the order in which models write it.
    let (name, arguments) = (Value::from(call.name.as_str()), &call.arguments);
    format!("{CALL_BEGIN}\n{{\"name\": {name}, \"arguments\": {arguments}}}\n{CALL_END}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talk_with_tools_fits_into_the_roles_that_every_template_knows() {
        let tool = Tool {
            name: "clock".to_owned(),
            description: "tells the time".to_owned(),
            parameters: json!({"type": "object"}),
        };
        let call = ToolCall { name: "clock".to_owned(), arguments: json!({"zone": "UTC"}) };
        let talk = vec![
            Message::new(Role::System, "Be brief."),
            Message::new(Role::User, "When?"),
            Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "Let me look.") },
            Message::new(Role::Tool, "noon"),
            Message::new(Role::Tool, "sharp"),
        ];
        let written = spelled_out(talk.clone(), std::slice::from_ref(&tool));
        let roles: Vec<_> = written.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        assert!(written[0].content.starts_with("Be brief.\n\nYou can call"), "{written:?}");
        assert!(written[0].content.contains(r#""name":"clock""#), "{written:?}");
        assert_eq!(
            written[2].content,
            "Let me look.\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"zone\":\"UTC\"}}\n</tool_call>"
        );
        assert_eq!(
            written[3].content,
            "<tool_response>\nnoon\n</tool_response>\n<tool_response>\nsharp\n</tool_response>"
        );
        // Without a system's message there is one now; without tools there is nothing to tell.
        assert_eq!(spelled_out(talk[1..2].to_vec(), &[tool])[0].role, Role::System);
        assert_eq!(spelled_out(talk[..2].to_vec(), &[]), talk[..2]);
    }
}
