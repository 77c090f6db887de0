//! Coding jobs with a script in the place of a coding agent: what it gets, what it leaves, and what the
//! session hears of it, also over a crash.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muxi_testkit::fake_llm::FakeLlm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Bundle, Runtime, manifest};
use crate::later::ask;

const SECRET: &str = "tok-3f9c-very-secret";

/// What the script does goes by what its prompt begins with.
const CODER: &str = r#"#!/bin/sh
session=none
while [ $# -gt 0 ]; do
  case "$1" in --new|--resume) session=$2; way=$1; shift;; esac
  shift
done
prompt=$(cat)
echo "{\"session\": \"$session\", \"type\": \"start\"}"
case "$prompt" in
  report*) echo "{\"result\": \"$way in $(pwd), was $(cat notes 2>/dev/null)\", \"session\": \"x\"}"; echo "$prompt" > notes;;
  env*) env | sort; echo "{\"result\": \"env: $(env | cut -d= -f1 | sort | tr '\n' ' ')\"}";;
  hang*) sh -c 'echo $$ > ~/child; exec sleep 600' & echo $$ > ~/leader; wait;;
  leave*) timeout 600 sh -c 'echo $$ > ~/child; exec sleep 600' & echo $$ > ~/leader; wait;;
  look*) data=${HOME%/coding/places/*}
         for file in $data/memory.db $data/keys.json ../../../.key ../../../formation.afs; do
           cat $file > seen 2>&1 && echo "READ $file" >&2 || cat seen >&2
         done
         for place in ../../escaped $data/escaped ../../../escaped /tmp/escaped-$$ ~/../escaped; do
           echo x 2>/dev/null > $place && echo "WROTE $place" >&2
         done
         echo a > a && echo b > ~/b && echo c > $TMPDIR/c && echo '{"result": "stayed inside"}';;
  crash*) echo "no such file in $session" >&2; exit 3;;
  huge*) i=0; while [ $i -lt 20000 ]; do echo "line $i of a long story about nothing at all"; i=$((i+1)); done
         echo '{"result": "told it all"}';;
esac
"#;

fn coding(more: &str) -> String {
    format!(
        "coding:
  command: ./coder.sh
  args: {{prompt: stdin, session_new: [--new, '{{id}}'], session_resume: [--resume, '{{id}}']}}
  output: stream-json
  parse: {{result: result, session_id: session}}
  workdirs: [work]
  env: {{CODER_TOKEN: {SECRET}}}
  {more}
approvals: {{rules: [{{tool: delegate_coding, action: allow}}]}}
"
    )
}

struct Coder {
    llm: FakeLlm,
    bundle: Bundle,
}

impl Coder {
    async fn new(more: &str) -> Self {
        let bundle = Bundle::new(&manifest(&coding(more)));
        let script = bundle.path().join("coder.sh");
        std::fs::write(&script, CODER).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(bundle.path().join("work")).unwrap();
        Self { llm: FakeLlm::start().await, bundle }
    }

    fn start(&self) -> Runtime {
        let mut command = self.bundle.command(&self.llm);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("OURS_ALONE", "hidden");
        Runtime::start(command)
    }

    /// Has the model delegate with these arguments; the answer is what the tool told it.
    async fn delegate(&self, runtime: &Runtime, arguments: &Value) -> String {
        let calls = json!([{"name": "delegate_coding", "arguments": arguments}]);
        self.llm.script(json!([
            {"match": {"contains": "[background job"}, "reply": {"text": "I was told."}},
            {"match": {"has_tool_result": true}, "reply": {"text": "It is under way."}},
            {"match": {"contains": "Delegate"}, "reply": {"tool_calls": calls}},
        ]));
        runtime.say("Delegate it.").await;
        let journal = self.llm.journal();
        let results = journal.iter().filter_map(|entry| entry.body["messages"].as_array());
        let mut results = results.flatten().rev().filter(|it| it["role"] == "tool");
        results.next().expect("a result of the tool")["content"].as_str().unwrap().to_owned()
    }

    /// The same for one that begins a job; its id.
    async fn begin(&self, runtime: &Runtime, arguments: &Value) -> String {
        let told = self.delegate(runtime, arguments).await;
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        assert_eq!(told["status"], "started");
        assert!(told.get("session").is_none(), "{told}");
        told["job_id"].as_str().unwrap().to_owned()
    }

    /// What the model read when the session was told of the job.
    async fn told(&self, runtime: &Runtime, id: &str) -> String {
        let answered = |transcript: &[(String, String)]| {
            let mark = format!("[background job {id}]");
            let at = transcript.iter().position(|(text, _)| text.starts_with(&mark))?;
            transcript.get(at + 1).filter(|(text, _)| text == "I was told.")?;
            Some(transcript[at].0.clone())
        };
        loop {
            if let Some(message) = answered(&runtime.transcript().await) {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where the job has its home.
    fn home(&self, id: &str) -> PathBuf {
        self.bundle.data_dir().join("coding/places").join(id).join("home")
    }

    fn work(&self, user: &str) -> PathBuf {
        self.bundle.path().join("work").join(user)
    }
}

async fn job(runtime: &Runtime, id: &str) -> Value {
    let (status, body) = ask(runtime, Method::GET, &format!("/v1/jobs/{id}"), "alice").await;
    assert_eq!(status, 200, "{body}");
    body["data"].clone()
}

async fn log(runtime: &Runtime, id: &str) -> Vec<String> {
    let path = format!("/v1/jobs/{id}/logs?limit=1000");
    let (status, body) = ask(runtime, Method::GET, &path, "alice").await;
    assert_eq!(status, 200, "{body}");
    let lines = body["data"]["lines"].as_array().unwrap();
    lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

async fn pid(file: &Path) -> i32 {
    loop {
        if let Ok(text) = std::fs::read_to_string(file)
            && text.ends_with('\n')
        {
            return text.trim().parse().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A zombie is as good as gone.
async fn until_gone(pid: i32) {
    let state = || {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        line.rsplit_once(')')?.1.trim_start().chars().next()
    };
    while state().is_some_and(|state| state != 'Z') {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_job_works_in_a_folder_of_its_own_and_its_session_hears_the_result() {
    let coder = Coder::new("cleanup: delete").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "report, please"})).await;
    let message = coder.told(&runtime, &id).await;
    let inside = coder
        .work("alice")
        .canonicalize()
        .unwrap_or_else(|_| coder.bundle.path().canonicalize().unwrap().join("work/alice"));
    assert!(message.contains("is done: report, please"), "{message}");
    assert!(message.contains("<untrusted-data"), "{message}");
    assert!(message.contains(&format!("--new in {}/req_", inside.display())), "{message}");
    let job = job(&runtime, &id).await;
    assert_eq!((&job["status"], &job["kind"]), (&json!("completed"), &json!("code")));
    assert!(job["result"].as_str().unwrap().starts_with("--new in "), "{job}");
    assert!(!coder.work("alice").exists(), "its folder goes with it");
    // A conversation that others had a word in is answered with care.
    let (_, requests) = ask(&runtime, Method::GET, "/v1/requests", "alice").await;
    let of_job = requests["data"]["requests"].as_array().unwrap().iter();
    let of_job: Vec<_> = of_job.filter(|it| it["request_id"] == format!("req_{id}")).collect();
    assert_eq!(of_job.len(), 1, "{requests}");
    assert_eq!(
        (&of_job[0]["kind"], &of_job[0]["status"]),
        (&json!("delegation"), &json!("completed"))
    );
}

#[tokio::test]
async fn a_job_goes_on_where_an_earlier_one_ended_and_nobody_learns_the_name_of_its_session() {
    let coder = Coder::new("cleanup: keep").await;
    let runtime = coder.start();
    let first = coder.begin(&runtime, &json!({"prompt": "report one"})).await;
    coder.told(&runtime, &first).await;
    let arguments = json!({"prompt": "report two", "continue_job_id": first});
    let second = coder.begin(&runtime, &arguments).await;
    let message = coder.told(&runtime, &second).await;
    assert!(message.contains("--resume in ") && message.contains("was report one"), "{message}");
    let journal =
        std::fs::read_to_string(coder.bundle.data_dir().join(format!("coding/{first}.json")));
    let journal: Value = serde_json::from_str(&journal.unwrap()).unwrap();
    let session = journal["session"].as_str().unwrap();
    assert_eq!(session.len(), 36);
    let seen = format!(
        "{} {:?} {:?}",
        job(&runtime, &second).await,
        log(&runtime, &first).await,
        coder.llm.journal().iter().map(|it| it.body.to_string()).collect::<Vec<_>>()
    );
    assert!(!seen.contains(session));
    assert!(seen.contains("[session]"), "the log has the line with its place");
    // Of somebody else's job there is nothing to go on with.
    let told = coder.delegate(&runtime, &json!({"prompt": "x", "continue_job_id": "code_x"})).await;
    assert_eq!(told, "There is no coding job `code_x` of this user.");
}

#[tokio::test]
async fn neither_our_environment_nor_a_secret_is_seen() {
    let coder = Coder::new("cleanup: delete").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "env"})).await;
    let message = coder.told(&runtime, &id).await;
    let names = message.split("env: ").nth(1).unwrap().lines().next().unwrap();
    let known =
        ["CODER_TOKEN", "HOME", "LANG", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "TZ", "_"];
    assert!(names.split_whitespace().all(|name| known.contains(&name)), "{names}");
    assert!(names.contains("CODER_TOKEN"), "{names}");
    let lines = log(&runtime, &id).await.join("\n");
    assert!(lines.contains("CODER_TOKEN=[SECRET_1]"), "{lines}");
    assert!(!lines.contains(SECRET) && !lines.contains("OURS_ALONE"), "{lines}");
}

#[tokio::test]
async fn a_job_writes_in_its_own_folders_and_reads_no_secret_of_the_formation() {
    let coder = Coder::new("cleanup: keep").await;
    let runtime = coder.start();
    std::fs::write(coder.bundle.data_dir().join("keys.json"), "{}").unwrap();
    std::fs::write(coder.bundle.path().join(".key"), "sealed").unwrap();
    let id = coder.begin(&runtime, &json!({"prompt": "look around"})).await;
    let message = coder.told(&runtime, &id).await;
    assert!(message.contains("stayed inside"), "{message}");
    let lines = log(&runtime, &id).await;
    assert!(
        !lines.iter().any(|it| it.starts_with("READ ") || it.starts_with("WROTE ")),
        "{lines:?}"
    );
    for file in ["memory.db", "keys.json", ".key", "formation.afs"] {
        let refused = |it: &&String| it.contains(file) && it.ends_with("Permission denied");
        assert!(lines.iter().any(|it| refused(&it)), "{file}: {lines:?}");
    }
    assert!(coder.home(&id).join("b").exists(), "it has a home of its own");
    let mode = coder.home(&id).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!coder.home(&id).join("../tmp").exists(), "what is temporary goes with the job");
}

#[tokio::test]
async fn what_was_cancelled_while_nobody_served_does_not_work_on() {
    let coder = Coder::new("timeout: 10m").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "leave"})).await;
    let leader = pid(&coder.home(&id).join("leader")).await;
    let child = pid(&coder.home(&id).join("child")).await;
    runtime.kill9();
    let store = coder.bundle.store();
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let alice = store.for_user(&"alice".parse().unwrap());
    assert!(alice.cancel_task(&id, now_ms).await.unwrap());
    drop((alice, store));
    let runtime = coder.start();
    until_gone(leader).await;
    until_gone(child).await;
    assert_eq!(job(&runtime, &id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_job_that_hangs_ends_with_all_that_it_started_and_can_be_continued() {
    let coder = Coder::new("timeout: 1s").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "leave"})).await;
    let message = coder.told(&runtime, &id).await;
    assert!(message.contains("did not end in time"), "{message}");
    assert!(message.contains("It can be continued"), "{message}");
    until_gone(pid(&coder.home(&id).join("leader")).await).await;
    until_gone(pid(&coder.home(&id).join("child")).await).await;
    assert_eq!(job(&runtime, &id).await["status"], "timed_out");
    let next = coder.begin(&runtime, &json!({"prompt": "report", "continue_job_id": id})).await;
    assert!(coder.told(&runtime, &next).await.contains("--resume in "));
}

#[tokio::test]
async fn a_job_that_crashes_tells_its_last_complaints() {
    let coder = Coder::new("cleanup: delete").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "crash"})).await;
    let message = coder.told(&runtime, &id).await;
    assert!(message.contains("has failed"), "{message}");
    assert!(message.contains("ended with exit status: 3"), "{message}");
    assert!(message.contains("no such file in [session]"), "{message}");
    assert_eq!(job(&runtime, &id).await["status"], "failed");
}

#[tokio::test]
async fn of_a_long_story_the_result_and_the_newest_lines_are_kept() {
    let coder = Coder::new("cleanup: delete").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "huge"})).await;
    assert!(coder.told(&runtime, &id).await.contains("told it all"));
    let lines = log(&runtime, &id).await;
    assert!(lines.iter().any(|line| line.ends_with("lines are left out here]")), "{}", lines.len());
    assert!(lines.iter().any(|line| line.contains("line 19999")));
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_at_once_and_its_session_hears_nothing() {
    let coder = Coder::new("max_concurrent: 1").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "hang"})).await;
    let leader = pid(&coder.home(&id).join("leader")).await;
    // There is room for one at a time.
    let told = coder.delegate(&runtime, &json!({"prompt": "report"})).await;
    assert!(told.starts_with("1 coding jobs are at work in this formation"), "{told}");
    let (status, _) = ask(&runtime, Method::DELETE, &format!("/v1/jobs/{id}"), "alice").await;
    assert_eq!(status, 200);
    until_gone(leader).await;
    assert_eq!(job(&runtime, &id).await["status"], "cancelled");
    // The next job is told of, and the cancelled one is not.
    let next = coder.begin(&runtime, &json!({"prompt": "report"})).await;
    coder.told(&runtime, &next).await;
    let transcript = runtime.transcript().await;
    assert!(!transcript.iter().any(|(text, _)| text.contains(&format!("job {id}]"))));
}

#[tokio::test]
async fn a_job_that_is_cut_off_with_its_process_has_failed_and_is_not_begun_again() {
    let coder = Coder::new("timeout: 10m").await;
    let runtime = coder.start();
    let id = coder.begin(&runtime, &json!({"prompt": "hang"})).await;
    let leader = pid(&coder.home(&id).join("leader")).await;
    runtime.kill9();
    std::fs::remove_file(coder.home(&id).join("leader")).unwrap();
    let runtime = coder.start();
    until_gone(leader).await;
    let message = coder.told(&runtime, &id).await;
    assert!(
        message.contains("The formation was stopped while the coding agent worked"),
        "{message}"
    );
    assert_eq!(job(&runtime, &id).await["status"], "failed");
    assert!(!coder.home(&id).join("leader").exists(), "it was not begun again");
    // The session survived, and so may the work.
    let next = coder.begin(&runtime, &json!({"prompt": "report", "continue_job_id": id})).await;
    assert!(coder.told(&runtime, &next).await.contains("--resume in "));
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words_that_help() {
    let coder = Coder::new("cleanup: delete").await;
    let runtime = coder.start();
    for (arguments, expected) in [
        (json!({"prompt": "x", "workdir": "/etc"}), "`/etc` is no work folder of this formation"),
        (json!({"prompt": "x", "workdir": "work/../.."}), "is no work folder of this formation"),
        (json!({"prompt": "x", "model": "big"}), "takes no `model`; leave it out."),
        (json!({"prompt": " "}), "`prompt` must be a text of 1 to"),
        (json!({"prompt": "x", "shell": true}), "unknown field `shell`"),
    ] {
        let told = coder.delegate(&runtime, &arguments).await;
        assert!(told.contains(expected), "{arguments}: {told}");
    }
    let (_, jobs) = ask(&runtime, Method::GET, "/v1/jobs", "alice").await;
    assert_eq!(jobs["data"]["count"], 0);
}
