//! A formation that serves, with something of everything in it, and a user in its folder.

use muxi_testkit::daemon::{ADMIN_KEY, Answer, CLIENT_KEY, Daemon, bin_dir, manifest};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::{Value, json};

use crate::harness::{Ran, User, with_names};

const SOP: &str = "---
type: sop
name: Refund
description: Pay a price back
tags: refund, money
---
# Refund

## Steps

1. Say whether the price is paid back. [agent:helper] [critical]
2. Write the letter. [agent:helper]
";

const SKILL: &str = "---
name: letters
description: How letters of the shop are written
license: MIT
allowed-tools: generate_file
---
Begin with the name.
";

pub(crate) struct Running {
    pub(crate) daemon: Daemon,
    pub(crate) llm: FakeLlm,
    pub(crate) user: User,
}

// === impl Running ===

impl Running {
    /// Deployed as users do it.
    pub(crate) async fn start() -> Self {
        let llm = FakeLlm::start().await;
        let config = json!({"formations": {"sandbox_read": [bin_dir()]}});
        let daemon = Daemon::builder().config(config).start().await;
        let user = User::of(&daemon).with("MUXI_USER_ID", "alice").with("TZ", "UTC");
        let more = format!(
            "scheduler: {{enabled: true}}
approvals: {{rules: [{{tool: fake/echo, action: allow}}]}}
mcp:
  watch: {{interval: 60}}
  servers:
    - {{id: fake, description: Says what it hears, type: command, command: '{}', args: [normal], tools: {{allow: [echo, delete]}}}}
usage:
  currency: EUR
  prices: {{fake/model-1: {{input: 10, output: 100}}}}
  budgets: {{formation: {{per: day, tokens: 1000000}}}}
",
            bin_dir().join("fake-mcp").display()
        );
        user.write("team/formation.afs", &format!("{}{more}", manifest("team", &llm.base_url())));
        user.write("team/sops/refund.md", SOP);
        user.write("team/skills/letters/SKILL.md", SKILL);
        user.write("team/skills/letters/references/form.md", "Dear …,");
        user.write(
            "team/triggers/alert.md",
            "The service ${{ data.service }} is ${{ data.state }}.",
        );
        let deployed = user.run_in("team", &["deploy"]);
        assert_eq!(deployed.code, 0, "{deployed:?}");
        Self { daemon, llm, user }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.user.run_in("team", arguments)
    }

    /// What a command prints is what it printed before.
    pub(crate) fn shows(&self, name: &str, arguments: &[&str]) {
        self.told(name, &self.run(arguments));
    }

    pub(crate) fn told(&self, name: &str, ran: &Ran) {
        with_names(&self.user, || insta::assert_snapshot!(name, ran.shown()));
    }

    /// The document that a command prints for scripts.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }

    /// Alice says something in the session `s`.
    pub(crate) async fn say(&self, request: &str, message: &str) {
        let body =
            json!({"message": message, "session_id": "s", "request_id": request, "stream": false});
        let answer = Answer::of(self.daemon.formation("team").await.chat(&body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Somebody who is nobody's, with keys that do not fit.
    pub(crate) fn stranger(&self) -> User {
        let user = User::of(&self.daemon).with("MUXI_ADMIN_KEY", "wrong");
        user.with("MUXI_CLIENT_KEY", "wrong")
    }

    /// Somebody who knows the keys, and has no folder of the formation.
    pub(crate) fn operator(&self) -> User {
        let user = User::of(&self.daemon).with("MUXI_ADMIN_KEY", ADMIN_KEY);
        user.with("MUXI_CLIENT_KEY", CLIENT_KEY)
    }
}
