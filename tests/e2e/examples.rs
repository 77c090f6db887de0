//! The examples of the repository: each is deployed as it lies there, and messages go the way that it is
//! about. What the model says is scripted; everything else is real.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use muxi_formation::{PackOptions, pack};
use muxi_testkit::daemon::{Answer, Builder, Daemon, PATIENCE, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const MODEL_KEY: &str = "sk-example";

/// An example that serves, with the keys that were made for it.
struct Example {
    daemon: Daemon,
    url: String,
    keys: Value,
}

// === impl Example ===

impl Example {
    async fn deploy(name: &str, llm: &FakeLlm) -> Self {
        Self::deploy_with(name, llm, Daemon::builder()).await
    }

    /// Bundles know neither the key nor where the model is: that comes from the manager's environment.
    async fn deploy_with(name: &str, llm: &FakeLlm, builder: Builder) -> Self {
        let passed = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_BASE_URL", "CLERK_FOLDER"];
        let daemon = builder
            .environment("OPENAI_API_KEY", MODEL_KEY)
            .environment("OPENAI_BASE_URL", &llm.base_url())
            .environment("OLLAMA_BASE_URL", &llm.base_url())
            .config(json!({"formations": {"pass_environment": passed}}))
            .start()
            .await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formations").join(name);
        let mut archive = Vec::new();
        let id = name.parse().expect("an id");
        pack(&folder, &id, PackOptions::default(), &mut archive).expect("the example packs");
        let answer = daemon.deploy(archive).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let url = format!("http://127.0.0.1:{}", answer.data()["port"]);
        let keys = daemon.data_dir().join(format!("formations/{name}/data/keys.json"));
        let keys = serde_json::from_slice(&fs::read(keys).expect("keys")).expect("JSON");
        Self { daemon, url, keys }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.daemon.http().request(method, format!("{}{path}", self.url));
        let key = self.keys["client_key"].as_str().expect("a key");
        request.header("X-Muxi-Client-Key", key).header("X-Muxi-User-ID", "alice")
    }

    async fn get(&self, path: &str) -> Value {
        Answer::of(self.request(Method::GET, path)).await.data().clone()
    }

    async fn operate(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.daemon.http().request(method, format!("{}{path}", self.url));
        let request =
            request.header("X-Muxi-Admin-Key", self.keys["admin_key"].as_str().expect("a key"));
        let request = if body.is_null() { request } else { request.json(body) };
        Answer::of(request).await.data().clone()
    }

    /// What the formation answers in the session `s`.
    async fn say(&self, message: &str) -> Said {
        self.send(&json!({"message": message})).await
    }

    async fn send(&self, body: &Value) -> Said {
        let mut body = body.clone();
        body["session_id"] = json!("s");
        body["stream"] = json!(false);
        let answer = Answer::of(self.request(Method::POST, "/v1/chat").json(&body)).await;
        Said(answer.data().clone())
    }
}

/// An answer to a message.
#[derive(Debug)]
struct Said(Value);

impl Said {
    fn text(&self) -> &str {
        self.0["message"]["content"].as_str().expect("a text")
    }

    fn metadata(&self) -> &Value {
        &self.0["message"]["metadata"]
    }

    fn waits_for_approval(&self) -> bool {
        self.metadata()["approval_required"] == true
    }

    /// Files that came with it, by their names.
    fn files(&self) -> BTreeMap<&str, &Value> {
        let files = self.0["message"]["artifacts"].as_array().map(Vec::as_slice);
        files.unwrap_or_default().iter().filter_map(|it| Some((it["name"].as_str()?, it))).collect()
    }

    fn file_names(&self) -> Vec<&str> {
        self.files().into_keys().collect()
    }

    fn calls(&self) -> Vec<&str> {
        let calls = self.metadata()["model_calls"].as_array().expect("a list");
        calls.iter().filter_map(Value::as_str).collect()
    }
}

/// Replies only to who brings the key that the operator gave.
fn script(llm: &FakeLlm, rules: &Value) {
    llm.script(json!({"api_key": MODEL_KEY, "rules": rules}));
}

/// What the call that chooses who answers says to messages with these words.
fn routes(contains: &str, chosen: &Value) -> Value {
    json!({
        "match": {"contains": contains, "system_contains": "\"kind\""},
        "reply": {"text": chosen.to_string()},
    })
}

fn asks_for(contains: &str, tool: &str, arguments: &Value) -> Value {
    json!({
        "match": {"contains": contains, "offers_tool": tool, "has_tool_result": false},
        "reply": {"tool_calls": [{"name": tool, "arguments": arguments}]},
    })
}

fn says(contains: &str, text: &str) -> Value {
    json!({"match": {"contains": contains}, "reply": {"text": text}})
}

#[tokio::test]
async fn the_support_desk_refunds_by_the_book_and_asks_before_it_promises() {
    let llm = FakeLlm::start().await;
    let letter = json!({"file_name": "refund.txt", "content": "You get 40 euros back."});
    script(
        &llm,
        &json!([
            asks_for("Make the letter", "generate_file", &letter),
            says("Make the letter", "The letter promises 40 euros."),
            says("Say whether", "Yes: within 30 days the whole price is paid back."),
        ]),
    );
    let desk = Example::deploy("support-desk", &llm).await;
    let asked = desk.say("Please refund my order 1007, I want my money back").await;
    assert!(asked.waits_for_approval(), "{asked:?}");
    assert_eq!(asked.file_names(), [""; 0], "{asked:?}");
    let open = desk.get("/v1/approvals").await;
    assert_eq!(open["count"], 1, "{open}");
    assert!(open["approvals"][0]["detail"].to_string().contains("refund.txt"), "{open}");
    // The step quotes the shop's paper.
    let judged = llm.journal()[0].body["messages"].to_string();
    assert!(judged.contains("a broken product is replaced"), "{judged}");

    let done = desk.say("yes").await;
    assert_eq!(done.text(), "The letter promises 40 euros.", "{done:?}");
    assert_eq!(done.file_names(), ["refund.txt"], "{done:?}");
    let open = desk.get("/v1/approvals").await;
    assert_eq!(open["count"], 0, "{open}");
}

#[tokio::test]
async fn the_research_team_routes_what_is_small_and_shares_what_is_large() {
    let llm = FakeLlm::start().await;
    let plan = json!({"kind": "workflow", "complexity": 8, "tasks": [
        {"id": "heat", "instruction": "Collect costs of heat pumps", "agent": "researcher", "depends_on": []},
        {"id": "wood", "instruction": "Collect costs of pellet stoves", "agent": "researcher", "depends_on": []},
        {"id": "weigh", "instruction": "Weigh both over fifteen years", "agent": "analyst",
         "depends_on": ["heat", "wood"]},
    ]});
    script(
        &llm,
        &json!([
            routes(
                "What is a heat pump",
                &json!({"kind": "agent", "agent": "researcher", "complexity": 2})
            ),
            routes("Find out what", &plan),
            says("split into tasks", "Buy the heat pump."),
            says("Weigh both", "The heat pump is cheaper from year nine on."),
            says("Collect costs", "From 9,000 euros on."),
            says("What is a heat pump", "It moves heat."),
        ]),
    );
    let team = Example::deploy("research-team", &llm).await;
    let small = team.say("What is a heat pump?").await;
    assert_eq!((small.text(), small.calls()), ("It moves heat.", vec!["routing", "answer"]));
    assert_eq!(small.metadata()["agent_id"], "researcher");

    let message =
        "Find out what heat pumps and pellet stoves cost to buy and to run, and compare them";
    let large = team.say(message).await;
    assert_eq!(large.text(), "Buy the heat pump.", "{large:?}");
    assert_eq!(large.calls(), ["routing", "task", "task", "task", "synthesis"]);
    // The analyst and the last word have the stronger model.
    let models = llm.journal().into_iter().map(|it| it.body["model"].clone());
    let strong = models.filter(|it| *it == "gpt-4o").count();
    assert_eq!(strong, 2);
}

/// The published server, which `tests/mcp/install.sh` installs.
fn installed_servers() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let default = || target.unwrap_or_else(|| root.join("target")).join("mcp-servers");
    let folder = std::env::var_os("MUXI_MCP_SERVERS").map_or_else(default, PathBuf::from);
    let program = folder.join("node/node_modules/.bin/mcp-server-filesystem");
    assert!(program.exists(), "{} is missing; run: tests/mcp/install.sh", program.display());
    folder.join("node").canonicalize().expect("it is there")
}

#[tokio::test]
async fn the_file_clerk_reads_freely_drafts_freely_and_asks_before_it_writes_elsewhere() {
    let (llm, servers) = (FakeLlm::start().await, installed_servers());
    let papers = tempfile::tempdir().expect("a folder");
    let folder = papers.path().canonicalize().expect("our own folder");
    // The formation may be of a user of its own.
    for place in [folder.clone(), folder.join("drafts")] {
        fs::create_dir_all(&place).expect("our own folder");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("our own folder");
    }
    fs::write(folder.join("minutes.txt"), "The budget is 500 euros.").expect("our own folder");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let write = |name: &str| json!({"path": path(name), "content": "500 euros it is."});
    script(
        &llm,
        &json!([
            asks_for("What is in", "files__read_text_file", &json!({"path": path("minutes.txt")})),
            {"match": {"contains": "What is in", "any_contains": "The budget is 500 euros."},
             "reply": {"text": "A budget of 500 euros, says minutes.txt."}},
            asks_for("Draft", "files__write_file", &write("drafts/answer.txt")),
            says("Draft", "It is in drafts/answer.txt."),
            asks_for("Write that", "files__write_file", &write("answer.txt")),
            says("Write that", "Written."),
        ]),
    );
    let programs = std::env::var("PATH").expect("a search path");
    let builder = Daemon::builder()
        .environment("CLERK_FOLDER", &path(""))
        .environment("PATH", &format!("{}/node_modules/.bin:{programs}", servers.display()))
        .config(json!({"formations": {"sandbox_read": [servers], "sandbox_write": [folder]}}));
    let clerk = Example::deploy_with("file-clerk", &llm, builder).await;

    let read = clerk.say("What is in minutes.txt?").await;
    assert_eq!(read.text(), "A budget of 500 euros, says minutes.txt.", "{read:?}");
    // What is not listed does not exist.
    let offered = llm.journal()[0].body["tools"].to_string();
    assert!(offered.contains("files__search_files") && !offered.contains("move_file"), "{offered}");

    let drafted = clerk.say("Draft an answer in drafts/answer.txt").await;
    assert_eq!(drafted.text(), "It is in drafts/answer.txt.", "{drafted:?}");
    assert_eq!(fs::read_to_string(path("drafts/answer.txt")).expect("a draft"), "500 euros it is.");

    let asked = clerk.say("Write that into answer.txt").await;
    assert!(asked.waits_for_approval(), "{asked:?}");
    assert!(!folder.join("answer.txt").exists());
    let written = clerk.say("yes").await;
    assert_eq!(written.text(), "Written.", "{written:?}");
    assert_eq!(fs::read_to_string(path("answer.txt")).expect("an answer"), "500 euros it is.");
}

#[tokio::test]
async fn the_report_writer_makes_files_and_keeps_their_versions() {
    let llm = FakeLlm::start().await;
    let table = |south: u32| {
        json!({"file_name": "sales.xlsx", "columns": ["Region", "Sales"],
            "rows": [["North", 120], ["South", south], ["Sum", {"formula": "=SUM(B2:B3)"}]]})
    };
    let chart = json!({"file_name": "sales.svg", "chart": {"kind": "bar", "title": "Sales",
        "labels": ["North", "South"], "series": [{"name": "Sales", "values": [120, 80]}]}});
    let (makes, both) = ("generate_file", "Make a spreadsheet");
    script(
        &llm,
        &json!([
            {"match": {"contains": both, "offers_tool": makes, "has_tool_result": false},
             "reply": {"tool_calls": [{"name": makes, "arguments": table(80)},
                                      {"name": makes, "arguments": chart}]}},
            says(both, "A table with its sum, and a chart."),
            asks_for("South was 90", makes, &table(90)),
            says("South was 90", "Corrected."),
        ]),
    );
    let writer = Example::deploy("report-writer", &llm).await;
    let made = writer.say("Make a spreadsheet sales.xlsx and a chart sales.svg").await;
    assert_eq!(made.file_names(), ["sales.svg", "sales.xlsx"], "{made:?}");
    let offered = llm.journal()[0].body["tools"].to_string();
    assert!(!offered.contains("recall_history"), "{offered}");
    let id = made.files()["sales.svg"]["id"].as_str().expect("an id");
    let path = format!("/v1/artifacts/{id}/content");
    let content = Answer::of(writer.request(Method::GET, &path)).await;
    assert_eq!(content.headers["content-type"], "image/svg+xml", "{content:?}");
    assert!(content.text.contains("<svg") && content.text.contains("North"), "{content:?}");

    let again = writer.say("South was 90").await;
    assert_eq!(again.file_names(), ["sales.xlsx"], "{again:?}");
    assert_eq!(again.files()["sales.xlsx"]["version"], 2, "{again:?}");
}

#[tokio::test]
async fn on_call_takes_an_alert_in_and_hands_the_shift_over_in_time() {
    let llm = FakeLlm::start().await;
    script(
        &llm,
        &json!([
            says("split into tasks", "The shop is down: look at the database first."),
            asks_for("Look up with", "recall_history", &json!({"query": "alert"})),
            says("Look up with", "Open: the shop."),
            says("Say how bad", "Very bad: nobody can buy."),
            says("List the first", "The database, the network, the disk."),
            says("Write the entry", "At 3:12 the shop failed."),
        ]),
    );
    let formation = Example::deploy("on-call", &llm).await;
    let data = json!({"service": "shop", "summary": "503 for 5 min", "severity": "high"});
    let fired = formation.request(Method::POST, "/v1/triggers/alert");
    let fired = Answer::of(fired.json(&json!({"data": data, "use_async": false}))).await;
    let told = &fired.data()["content"];
    assert_eq!(told, "The shop is down: look at the database first.", "{fired:?}");
    let asked: String = llm.journal().iter().map(|it| it.body["messages"].to_string()).collect();
    assert!(asked.contains("503 for 5 min") && asked.contains("Write the entry"), "{asked}");
    assert_eq!(llm.journal().len(), 4, "three steps and one answer of them");

    // The example's own job is for every morning; nobody waits for that here.
    let job = json!({"type": "recurring", "schedule": "* * * * * *", "message": "/handover",
        "user_id": "alice"});
    let job = formation.operate(Method::POST, "/v1/scheduler/jobs", &job).await;
    let path = format!("/v1/scheduler/jobs/{}", job["id"].as_str().expect("an id"));
    let job = wait_until(PATIENCE, "the shift is handed over", async || {
        let job = formation.operate(Method::GET, &path, &Value::Null).await;
        (job["last_run_status"] == "completed").then_some(job)
    })
    .await;
    assert_eq!(job["timezone"], "Europe/Berlin", "{job}");
    formation.operate(Method::DELETE, &path, &Value::Null).await;
}

#[tokio::test]
async fn the_concierge_asks_back_and_goes_on_with_what_was_picked() {
    let llm = FakeLlm::start().await;
    let unclear = json!({"kind": "clarify", "complexity": 2, "clarification": {
        "question": "Food or music?", "options": ["Food", "Music"]}});
    // A model of this machine takes no key.
    llm.script(json!([
        routes("answered: Food", &json!({"kind": "agent", "agent": "tables", "complexity": 2})),
        routes("Something nice", &unclear),
        {"match": {"system_contains": "Suggest three places"}, "reply": {"text": "Chez Ada."}},
    ]));
    let concierge = Example::deploy("clarifying-concierge", &llm).await;
    let asked = concierge.say("Something nice for tonight?").await;
    assert_eq!((asked.text(), asked.calls()), ("Food or music?", vec!["routing"]), "{asked:?}");
    let widget = &asked.0["message"]["ui"][0];
    assert_eq!(widget["options"][0]["value"], "Food", "{asked:?}");
    let picked = json!({"message": "Food", "ui_response": {"id": widget["id"], "value": "Food"}});
    let answer = concierge.send(&picked).await;
    assert_eq!(answer.text(), "Chez Ada.", "{answer:?}");
    assert_eq!(answer.metadata()["agent_id"], "tables");
    assert_eq!(llm.journal()[0].body["model"], "qwen2.5:7b");
}
