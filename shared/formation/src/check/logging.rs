//! The checks of `logging` that see more than one key at once.

use serde_yaml::{Mapping, Value};

use super::{Checker, join};
use crate::manifest::logging::check_file;
use crate::schema::STREAM;
use crate::yaml::{Content, Node, Text};

/// What each kind of `auth` needs.
const AUTH_NEEDS: [(&str, &[&str]); 3] =
    [("bearer", &["token"]), ("basic", &["username", "password"]), ("api_key", &["key"])];

// === impl Checker ===

impl Checker<'_> {
    /// The older form of the section stands alone, and each file has one writer.
    pub(crate) fn logging(&mut self, root: &Node) {
        let Some(logging) = root.get("logging") else { return };
        let system = logging.get("system").and_then(|it| it.get("destination"));
        let streams = logging.get("conversation").unwrap_or(logging).get("streams");
        if let (Some(system), Some(Content::List(streams))) =
            (system, streams.map(|it| &it.content))
        {
            let mut files = streams.iter().filter(|it| text_of(it, "transport") == Some("file"));
            let written = system.as_text().map(Text::value);
            let is_same = |it: &&Node| written.is_some() && text_of(it, "destination") == written;
            if let Some(stream) = files.find(is_same) {
                let message =
                    "`logging.system.destination` is the file of a stream, too".to_owned();
                self.fault(stream.place, message, "give each a file of its own");
            }
        }
        if logging.get("conversation").is_none() {
            return;
        }
        for key in ["enabled", "streams"] {
            if let Some(older) = logging.get(key) {
                let message =
                    format!("`logging.{key}` is an older name of `logging.conversation.{key}`");
                self.fault(older.place, message, "keep one of them");
            }
        }
    }

    /// `stdout`, or a file.
    pub(super) fn log_target(&mut self, node: &Node, path: &str) -> Option<Value> {
        let text = self.text(node, path)?;
        if text.value() == "stdout" {
            return None;
        }
        self.log_file(node, text, path)
    }

    pub(super) fn log_streams(&mut self, node: &Node, path: &str) -> Option<Value> {
        let Content::List(items) = &node.content else {
            self.expected(node, path, "a list of maps");
            return None;
        };
        let mut files: Vec<String> = Vec::new();
        let mut streams = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Some(stream) = self.log_stream(item, &path) else { continue };
            if let Some(file) = stream.get("path").and_then(Value::as_str) {
                if files.iter().any(|it| it == file) {
                    let message = format!("`{path}.destination` is written by another stream");
                    self.fault(item.place, message, "give each stream a file of its own");
                }
                files.push(file.to_owned());
            }
            streams.push(Value::Mapping(stream));
        }
        Some(Value::Sequence(streams))
    }

    fn log_stream(&mut self, item: &Node, path: &str) -> Option<Mapping> {
        let mut stream = self.table(item, path, &STREAM);
        let transport = stream.get("transport")?.as_str()?.to_owned();
        stream.remove("destination");
        stream.remove("protocol");
        for (key, only) in [
            ("max_size", "file"),
            ("max_files", "file"),
            ("auth", "stream"),
            ("protocol", "stream"),
        ] {
            if let Some(node) = item.get(key).filter(|_| transport != only) {
                let message =
                    format!("`{path}.{key}` has no effect on the transport `{transport}`");
                self.fault(node.place, message, "remove it");
            }
        }
        let at = join(path, "destination");
        let destination = item.get("destination");
        match (transport.as_str(), destination) {
            ("stdout", None) => {}
            ("stdout", Some(node)) => {
                if self.text(node, &at)?.value() != "stdout" {
                    let message = format!("`{at}` has no effect on the transport `stdout`");
                    self.fault(node.place, message, "remove it");
                }
            }
            (_, None) => {
                let message = format!("`{at}` is missing");
                self.fault(item.place, message, "add it");
                return None;
            }
            ("file", Some(node)) => {
                let text = self.text(node, &at)?;
                let file = self.log_file(node, text, &at)?;
                stream.insert("path".into(), file);
            }
            (_, Some(node)) => {
                let url = self.log_url(node, &at)?;
                stream.insert("url".into(), url);
            }
        }
        if let Some(auth) = item.get("auth") {
            self.log_auth(auth, stream.get("auth"), &join(path, "auth"));
        }
        Some(stream)
    }

    fn log_file(&mut self, node: &Node, text: &Text, path: &str) -> Option<Value> {
        if let Err(why) = check_file(text.value())
            && !text.is_kept()
        {
            self.fault(
                node.place,
                format!("`{path}` {why}"),
                "write it such as `logs/events.jsonl`",
            );
            return None;
        }
        Some(Value::from(text.value()))
    }

    fn log_url(&mut self, node: &Node, path: &str) -> Option<Value> {
        let text = self.text(node, path)?;
        if text.is_kept() {
            return Some(Value::from(text.value()));
        }
        let (scheme, rest) = text.value().split_once("://").unwrap_or(("", ""));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fault = match scheme {
            "http" | "https" if authority.is_empty() => Some("names no host"),
            "http" | "https" if authority.contains('@') => {
                Some("must not hold a user or a password: they belong in `auth`")
            }
            "http" | "https" => None,
            "tcp" | "tcps" | "ipc" | "ipcs" | "zmq" | "kafka" | "udp" => {
                Some("is an address of a protocol that is documented but not built in this version")
            }
            _ => Some("is not an http or https address"),
        };
        if let Some(fault) = fault {
            let mend = "write it such as `https://collector.example.com/v1/logs`";
            self.fault(node.place, format!("`{path}` {fault}"), mend);
            return None;
        }
        Some(Value::from(text.value()))
    }

    fn log_auth(&mut self, node: &Node, fitting: Option<&Value>, path: &str) {
        let Some(kind) = fitting.and_then(|it| it.get("type")).and_then(Value::as_str) else {
            return;
        };
        let needs = AUTH_NEEDS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |it| it.1);
        for key in needs {
            if node.get(key).is_none() {
                let message = format!("`{path}.{key}` is missing, `{kind}` needs it");
                self.fault(node.place, message, "add it, such as `\"${{ secrets.LOGS }}\"`");
            }
        }
        for key in ["token", "username", "password", "header", "key"] {
            let fits = needs.contains(&key) || (kind == "api_key" && key == "header");
            if let Some(other) = node.get(key).filter(|_| !fits) {
                let message = format!("`{path}.{key}` has no effect with `{kind}`");
                self.fault(other.place, message, "remove it");
            }
        }
    }
}

// === private helpers ===

fn text_of<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    Some(node.get(key)?.as_text()?.value())
}
