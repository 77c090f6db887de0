//! What the files say, before anybody changes them.

use super::{quoted, title};

pub(super) const LOCAL_MODEL: &str = "local/smollm2-135m-instruct";

pub(super) const IGNORED: &str = "\
# Never to be shared: whoever has the key reads secrets.enc.
.key
.env
# What this machine remembers.
.muxi
memory.db*
*.log
";

/// An agent that a template brings along.
pub(super) struct AgentText {
    pub(super) id: &'static str,
    pub(super) description: &'static str,
    pub(super) role: &'static str,
    pub(super) message: &'static str,
}

pub(super) const BASIC: [AgentText; 1] = [AgentText {
    id: "assistant",
    description: "Answers questions and helps with writing.",
    role: "generalist",
    message: "Answer in one or two short sentences. Say so when you do not know something.",
}];

pub(super) const TEAM: [AgentText; 3] = [
    AgentText {
        id: "researcher",
        description: "Collects what is known about a subject.",
        role: "researcher",
        message: "List facts, one a line, each with how sure you are of it.",
    },
    AgentText {
        id: "analyst",
        description: "Compares, weighs and calculates.",
        role: "specialist",
        message: "Compare in a table. Show your figures.",
    },
    AgentText {
        id: "writer",
        description: "Writes and edits texts for readers who have little time.",
        role: "specialist",
        message: "Write short sentences. The first one says what matters most.",
    },
];

/// What the manifest is made of.
pub(super) struct ManifestText<'a> {
    pub(super) id: &'a str,
    pub(super) description: &'a str,
    pub(super) model: &'a str,
    /// Of the provider, if it needs one.
    pub(super) secret: Option<&'a str>,
    pub(super) agents: &'a [AgentText],
}

// === impl ManifestText ===

impl ManifestText<'_> {
    pub(super) fn manifest(&self) -> String {
        let Self { id, description, model, secret, agents } = self;
        let provider = model.split('/').next().unwrap_or_default();
        let keys = secret.map_or_else(String::new, |secret| {
            format!("  api_keys:\n    {provider}: \"${{{{ secrets.{secret} }}}}\"\n")
        });
        let settings = if provider == "local" {
            "      settings:\n        # Small and on this machine: it is best with short answers.\n        temperature: 0.2\n        max_tokens: 256\n"
        } else {
            ""
        };
        let listed: String = agents.iter().map(|it| format!("  - {}\n", it.id)).collect();
        let (name, description) = (quoted(&title(id)), quoted(description));
        format!(
            "schema: \"1.0.0\"
id: {id}
name: {name}
version: \"1.0.0\"
description: {description}

server:
  api_keys:
    # The first is for operators, the second for your programs; both are in secrets.enc.
    admin_key: \"${{{{ secrets.FORMATION_ADMIN_API_KEY }}}}\"
    client_key: \"${{{{ secrets.FORMATION_CLIENT_API_KEY }}}}\"

llm:
{keys}  models:
    - text: {model}
{settings}
memory:
  persistent:
    connection_string: sqlite:///memory.db

# Each has its file in agents/.
agents:
{listed}"
        )
    }

    pub(super) fn soul(&self) -> String {
        format!("You are {}, a friendly assistant. You speak plainly and kindly.\n", title(self.id))
    }

    pub(super) fn readme(&self) -> String {
        let Self { id, description, secret, .. } = self;
        let secrets = secret.map_or_else(String::new, |name| {
            format!("muxi secrets set {name}   # the model's provider asks for it\n")
        });
        format!(
            "# {id}

{description}

```sh
{secrets}muxi validate
muxi deploy
muxi chat \"Hello\"
```

| file | what it is |
| --- | --- |
| `formation.afs` | the manifest: id, model, memory, the list of agents |
| `agents/` | one file for each agent |
| `SOUL.md` | how it speaks |
| `secrets.enc`, `.key` | its secrets and their key, which is never shared |
| `secrets` | the names of its secrets, without values |
"
        )
    }
}

// === impl AgentText ===

impl AgentText {
    pub(super) fn file(&self) -> String {
        agent(self.id, self.description, self.role, self.message)
    }
}

pub(super) fn agent(id: &str, description: &str, role: &str, message: &str) -> String {
    let (name, description, message) = (quoted(&title(id)), quoted(description), quoted(message));
    format!(
        "schema: \"1.0.0\"\nid: {id}\nname: {name}\n# Who answers is decided by it.\ndescription: {description}\nrole: {role}\nsystem_message: {message}\n"
    )
}

pub(super) fn sop(name: &str, description: &str) -> String {
    let (title, description) = (title(name), quoted(description));
    format!(
        "---
type: sop
name: {title}
# A request that fits this is answered by these steps; /{name} in a chat asks for them by name.
description: {description}
---
# {title}

## Steps

1. Say in a sentence what is asked for. [critical]
2. List what is known about it, and what is missing.
3. Write the answer.
"
    )
}

/// The data of a call is filled in where the placeholder stands.
pub(super) fn trigger(description: &str) -> String {
    format!("{}\n\nWhat happened: ${{{{ data.summary }}}}\n", description.trim())
}

pub(super) fn skill(name: &str, description: &str) -> String {
    let (title, description) = (title(name), quoted(description));
    format!(
        "---
name: {name}
# A model reads this first, and the rest only when it fits what is asked.
description: {description}
---
# {title}

Write down how it is done: what to begin with, what to look out for, when it is good enough.
"
    )
}
