//! An MCP server that misbehaves on request, over standard input and output. Written without the SDK, so
//! that it can break every rule. Its first argument says how it starts and lists; its tools say how calls
//! go wrong. When `FAKE_MCP_LOG` names a file, each method that it was sent is appended there.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};

/// A hostile MCP server. For tests only.
#[derive(Debug, Parser)]
struct Arguments {
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Normal,
    CrashOnStart,
    HangInitialize,
    WrongInitializeId,
    RefuseInitialize,
    /// Its list has three pages.
    Paging,
    RepeatingCursor,
    /// Writes lines that are no messages before it behaves.
    Chatty,
    /// Reads no more once it listed its tools.
    Deaf,
    /// Has a child of its own and stays when its input ends.
    Stays,
}

struct Server {
    mode: Mode,
    log: Option<std::fs::File>,
    has_grown: bool,
}

#[expect(clippy::print_stderr, reason = "what a server says there is under test")]
fn main() -> anyhow::Result<()> {
    let Arguments { mode } = Arguments::parse();
    if mode == Mode::CrashOnStart {
        eprintln!("fatal: the configuration is missing");
        std::process::exit(3);
    }
    let mut family = None;
    if mode == Mode::Stays {
        family = Some(std::process::Command::new("sleep").arg("600").spawn()?);
    }
    if mode == Mode::Chatty {
        say("Server listening on stdio");
        say("{\"almost\": ");
    }
    let log = std::env::var_os("FAKE_MCP_LOG")
        .map(|path| std::fs::OpenOptions::new().create(true).append(true).open(path));
    let mut server = Server { mode, log: log.transpose()?, has_grown: false };
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        server.hear(&message);
    }
    if let Some(mut child) = family {
        child.wait()?;
    }
    Ok(())
}

impl Server {
    fn hear(&mut self, message: &Value) {
        let method = message["method"].as_str().unwrap_or("answer");
        if let Some(log) = &mut self.log {
            writeln!(log, "{method}").expect("the log can be written");
        }
        let id = &message["id"];
        match method {
            "initialize" => self.initialize(id, &message["params"]),
            "tools/list" => self.list(id, message["params"]["cursor"].as_str()),
            "tools/call" => self.call(id, &message["params"]),
            "ping" => answer(id, &json!({})),
            _ => {}
        }
    }

    #[expect(clippy::print_stderr, reason = "what a server says there is under test")]
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others behave here")]
    fn initialize(&self, id: &Value, params: &Value) {
        let result = json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "fake-mcp", "version": "1"},
        });
        match self.mode {
            Mode::HangInitialize => eprintln!("waiting for the database"),
            Mode::WrongInitializeId => answer(&json!(4711), &result),
            Mode::RefuseInitialize => refuse(id, -32000, "no licence"),
            _ => answer(id, &result),
        }
    }

    fn list(&self, id: &Value, cursor: Option<&str>) {
        let tools = self.tools();
        let result = match (self.mode, cursor) {
            (Mode::Paging, None) => json!({"tools": tools[..2], "nextCursor": "2"}),
            (Mode::Paging, Some("2")) => json!({"tools": tools[2..4], "nextCursor": "4"}),
            (Mode::Paging, _) => json!({"tools": tools[4..]}),
            (Mode::RepeatingCursor, _) => json!({"tools": tools[..2], "nextCursor": "again"}),
            _ => json!({"tools": tools}),
        };
        answer(id, &result);
        if self.mode == Mode::Deaf {
            std::thread::sleep(Duration::from_mins(10));
        }
    }

    fn tools(&self) -> Vec<Value> {
        let plain = [
            "echo",
            "env",
            "big",
            "slow",
            "crash",
            "fail",
            "wrong_id",
            "garbage",
            "endless",
            "flood",
            "hang",
            "grow",
            "refuse",
            "forget",
            "half_character",
            "cut_off",
            "hologram",
        ];
        let schema = json!({
            "type": "object",
            "properties": {"text": {"type": "string"}, "bytes": {"type": "integer"}},
        });
        let tool = |name: &str, annotations: Value| {
            json!({"name": name, "description": format!("Does {name}."), "inputSchema": schema,
                "annotations": annotations})
        };
        let mut tools: Vec<Value> = plain.iter().map(|name| tool(name, json!({}))).collect();
        tools.push(tool("crash_reading", json!({"readOnlyHint": true})));
        tools.push(tool("delete", json!({"destructiveHint": true})));
        if self.has_grown {
            tools.push(tool("grown", json!({})));
        }
        tools
    }

    #[expect(clippy::print_stderr, reason = "what a server says there is under test")]
    fn call(&mut self, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        match params["name"].as_str().unwrap_or_default() {
            "echo" => text(id, &arguments.to_string()),
            "delete" => text(id, "deleted"),
            "env" => {
                let env: Map<String, Value> =
                    std::env::vars().map(|(name, value)| (name, Value::from(value))).collect();
                text(id, &Value::Object(env).to_string());
            }
            "big" => {
                let bytes = arguments["bytes"].as_u64().unwrap_or_default();
                text(id, &"x".repeat(usize::try_from(bytes).unwrap_or_default()));
            }
            "slow" => {
                std::thread::sleep(Duration::from_secs(2));
                text(id, "late");
            }
            "crash" | "crash_reading" => {
                eprintln!("panicked at the disco");
                std::process::exit(101);
            }
            "fail" => answer(
                id,
                &json!({"isError": true, "content": [{"type": "text", "text": "it failed"}]}),
            ),
            "wrong_id" => text(&json!(4711), "for somebody else"),
            "garbage" => say("{\"jsonrpc\": \"2.0\", \"id\": oops"),
            "endless" => loop {
                write(&[b'x'; 8_192]);
            },
            "flood" => loop {
                say(&json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": "again"}})
                .to_string());
            },
            "half_character" => say(&format!(
                r#"{{"jsonrpc": "2.0", "id": {id},
                    "result": {{"content": [{{"type": "text", "text": "half \ud800 a character"}}]}}}}"#
            )
            .replace('\n', " ")),
            "cut_off" => say(&format!(r#"{{"jsonrpc": "2.0", "id": {id}, "result": {{"content": "#)),
            "hologram" => answer(
                id,
                &json!({"content": [{"type": "text", "text": "known"}, {"type": "hologram"}]}),
            ),
            "grow" => {
                self.has_grown = true;
                say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
                    .to_string());
                text(id, "grown");
            }
            "refuse" => refuse(id, -32602, "text must not be a number"),
            "forget" => refuse(id, -32602, "Unknown tool: forget"),
            // `hang`: other requests are still answered.
            _ => {}
        }
    }
}

fn text(id: &Value, text: &str) {
    answer(id, &json!({"content": [{"type": "text", "text": text}]}));
}

fn answer(id: &Value, result: &Value) {
    say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
}

fn refuse(id: &Value, code: i32, message: &str) {
    say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        .to_string());
}

fn say(line: &str) {
    write(line.as_bytes());
    write(b"\n");
}

/// Ends quietly, which is what a server does, when nobody reads any more.
#[expect(clippy::exit, reason = "there is nobody to return to")]
fn write(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(0);
    }
}
