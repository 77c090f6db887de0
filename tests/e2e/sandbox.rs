//! What an instance can and cannot do, tried from within, and what the manager says of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use muxi_testkit::daemon::{
    Answer, Builder, Daemon, PATIENCE, bin_dir, bundle_with, is_alive, manifest, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

/// What no instance may do.
const REFUSED: [&str; 16] = [
    "read the manager's database",
    "read the manager's configuration",
    "read a webhook's secret",
    "list the formations",
    "list another's data",
    "read another's manifest",
    "list the logs",
    "list the sockets",
    "list /root",
    "read /etc/shadow",
    "write to /tmp",
    "write to /usr",
    "write to the generation",
    "change the manifest",
    "read the manager's environment",
    "run a written file",
];
const NO_CAPABILITIES: &str = "0000000000000000";
/// What every instance may do.
const ALLOWED: [&str; 11] = [
    "read the manifest",
    "list the generation",
    "write to the data folder",
    "move within the data folder",
    "write to the temporary folder",
    "read /etc/passwd",
    "write to /dev/null",
    "run a program",
    "signal a child",
    "reach the model host",
    "read an extra path",
];

/// An installation whose runtime is the probe.
struct Probed {
    daemon: Daemon,
    llm: FakeLlm,
}

// === impl Probed ===

impl Probed {
    async fn start(builder: Builder, formations: Value) -> Self {
        let program = bin_dir().join("sandbox-probe");
        assert!(program.is_file(), "run: cargo build -p muxi-testkit");
        let mut daemon = builder
            .config(json!({"runtime": {"program": program}}))
            .config(json!({"formations": formations}))
            .install();
        let extra = daemon.scratch().join("extra");
        fs::create_dir(&extra).expect("the test's own");
        fs::write(extra.join("file"), "x").expect("the test's own");
        let secret = extra.join("webhook.secret");
        fs::write(&secret, "whsec_1").expect("the test's own");
        change(&daemon, |config| {
            config["formations"]["sandbox_read"] = json!([bin_dir(), extra]);
            config["webhooks"] =
                json!([{"id": "ops", "url": "http://127.0.0.1:9/", "secret_file": secret}]);
        });
        daemon.start_again().await;
        Self { daemon, llm: FakeLlm::start().await }
    }

    async fn deploy(&self, id: &str) {
        self.daemon.deploy_formation(id, &self.llm.base_url()).await;
    }

    fn reload(&self) {
        let output = self.daemon.command().arg("reload").output().expect("the program starts");
        assert!(output.status.success(), "{output:?}");
    }

    async fn deploy_with(&self, id: &str, limits: &str) {
        let text = format!("{}limits: {limits}\n", manifest(id, &self.llm.base_url()));
        let answer = self.daemon.deploy(bundle_with(id, &text)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    fn data(&self, id: &str) -> PathBuf {
        self.daemon.data_dir().join("formations").join(id).join("data")
    }

    fn results(&self, id: &str) -> Value {
        serde_json::from_slice(&fs::read(self.data(id).join("probe.json")).expect("the test's own"))
            .expect("the test's own")
    }

    /// Gives the next instance something to do.
    fn give(&self, id: &str, task: &str) {
        fs::write(self.data(id).join("task"), task).expect("the test's own");
    }

    /// Restarts with a task, and answers what came of it.
    async fn perform(&self, id: &str, task: &str) -> Value {
        self.give(id, task);
        let answer = self.daemon.post(&format!("/rpc/formations/{id}/restart")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.results(id)["task"].clone()
    }
}

/// Edits the configuration for the next start.
fn change(daemon: &Daemon, edit: impl FnOnce(&mut Value)) {
    let mut config =
        serde_json::from_slice(&fs::read(daemon.config_file()).expect("the test's own"))
            .expect("the test's own");
    edit(&mut config);
    fs::write(daemon.config_file(), config.to_string()).expect("the test's own");
}

/// Whether this kernel has the fence, asked without the product's help.
fn kernel_has_landlock() -> bool {
    // The first number in a row of versions that has it in full.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the test's own");
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|it| it.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    version >= (6, 12) && symbols.contains("landlock_restrict_self")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Refused is what the report says is refused; an older kernel fences no signals.
fn assert_confined(results: &Value, sandbox: &Value) {
    let state = sandbox["landlock"]["state"].as_str().unwrap_or_default();
    assert!(matches!(state, "enforced" | "partial"), "{sandbox:#}");
    let own_user = sandbox["user"]["isolated"] == true;
    if state == "enforced" || own_user {
        assert_eq!(results["signal the manager"], "EPERM", "{results:#}");
    }
    if sandbox["seccomp"]["enforced"] == true {
        assert_ne!(results["make a user namespace"], "ok", "{results:#}");
    }
    for name in REFUSED {
        let said = results[name].as_str().expect("the test's own");
        assert!(matches!(said, "EACCES" | "EPERM"), "{name}: {said}\n{results:#}");
    }
    for name in ALLOWED {
        assert_eq!(results[name], "ok", "{name}\n{results:#}");
    }
}

#[tokio::test]
async fn what_this_kernel_has_is_enforced_and_reported() {
    assert!(kernel_has_landlock(), "this test needs a kernel of 6.12 or newer with landlock");
    let probed = Probed::start(Daemon::builder().closed(), json!({"sandbox": "required"})).await;
    probed.deploy("hello").await;
    let sandbox = probed.daemon.view("hello").await["sandbox"].clone();
    assert_eq!(sandbox["landlock"]["state"], "enforced", "{sandbox:#}");
    assert!(sandbox["landlock"]["abi"].as_u64().unwrap() >= 6, "{sandbox:#}");
    assert_eq!(sandbox["seccomp"], json!({"enforced": true}));
    assert_eq!(sandbox["no_new_privs"], true);
    assert_eq!(sandbox["no_capabilities"], true);
    assert_eq!(sandbox["user"]["isolated"], false);
    // The obstacle to a user of its own is named.
    let reason = sandbox["user"]["reason"].as_str().unwrap();
    let named = if is_root() { probed.daemon.scratch().to_str().unwrap() } else { "root" };
    assert!(reason.contains(named), "{reason}");
    // The list says less, and costs less.
    let list = probed.daemon.get("/rpc/formations").await;
    assert_eq!(list.data()["formations"][0]["sandbox"], Value::Null);
}

#[tokio::test]
async fn a_manager_that_cannot_give_what_is_required_does_not_start() {
    if !is_root() {
        return;
    }
    let config = json!({"formations": {"user_isolation": "required"}});
    let daemon = Daemon::builder().closed().config(config).install();
    let output = daemon.command().arg("start").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("user_isolation is `required`, but other users cannot pass"), "{said}");
}

#[tokio::test]
async fn behind_the_fence_alone_everything_foreign_is_refused() {
    let probed = Probed::start(Daemon::builder().closed(), json!({})).await;
    probed.deploy("other").await;
    probed.deploy("hello").await;
    let results = probed.results("hello");
    assert_confined(&results, &probed.daemon.view("hello").await["sandbox"]);
    assert_eq!(results["NoNewPrivs"], "1");
    assert_eq!(results["Seccomp"], "2");
    for set in ["CapBnd", "CapEff"].into_iter().filter(|_| is_root()) {
        assert_eq!(results[set], NO_CAPABILITIES);
    }
    let temp = results["TMPDIR"].as_str().unwrap().to_owned();
    assert!(Path::new(&temp).join("own").is_file(), "{temp}");

    // What an instance left in its temporary folder goes with it, and what is told of it, too.
    probed.daemon.post("/rpc/formations/hello/stop").await;
    probed.daemon.wait_status("hello", "stopped").await;
    let folder = Path::new(&temp).to_owned();
    wait_until(PATIENCE, "the temporary folder is gone", async || (!folder.exists()).then_some(()))
        .await;
    let view = probed.daemon.view("hello").await;
    assert_eq!(view["sandbox"], Value::Null);
    assert_eq!(view["limits"]["open_files"]["reason"], "no instance runs");
}

#[tokio::test]
async fn a_webhooks_secret_is_hidden_from_the_next_instance_after_a_reload() {
    let probed = Probed::start(Daemon::builder().closed(), json!({})).await;
    let mut webhooks = Value::Null;
    change(&probed.daemon, |config| {
        webhooks = config["webhooks"].clone();
        config["webhooks"] = json!([]);
    });
    probed.reload();
    probed.deploy("hello").await;
    assert_eq!(probed.results("hello")["read a webhook's secret"], "ok", "it is no secret yet");
    change(&probed.daemon, |config| config["webhooks"] = webhooks);
    probed.reload();
    assert_eq!(probed.daemon.post("/rpc/formations/hello/restart").await.status, 200);
    let results = probed.results("hello");
    assert_eq!(results["read a webhook's secret"], "EACCES", "{results:#}");
    assert_eq!(results["read an extra path"], "ok", "its neighbour is still granted");
}

#[tokio::test]
async fn each_formation_has_a_user_of_its_own_when_the_manager_is_root() {
    if !is_root() {
        return;
    }
    let mut probed = Probed::start(Daemon::builder(), json!({"user_isolation": "required"})).await;
    probed.deploy("other").await;
    probed.deploy("hello").await;
    let results = probed.results("hello");
    assert_confined(&results, &probed.daemon.view("hello").await["sandbox"]);
    let user = |view: &Value| view["sandbox"]["user"].clone();
    let view = probed.daemon.view("hello").await;
    let uid = user(&view)["uid"].as_u64().unwrap();
    assert_eq!(user(&view), json!({"isolated": true, "uid": uid}));
    assert_ne!(user(&probed.daemon.view("other").await)["uid"], uid);
    assert!(uid > 200_000);
    assert_eq!(results["Uid"], format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(results["Gid"], format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(results["Groups"], "200000");
    // By one means or the other, which does not matter to a formation with a user of its own.
    assert!(view["limits"]["processes"]["enforced_by"].is_string(), "{view:#}");
    let owner = |path: PathBuf| u64::from(fs::metadata(path).unwrap().uid());
    assert_eq!(owner(probed.data("hello").join("memory.db")), uid);
    assert_eq!(owner(probed.daemon.data_dir().join("formations/hello/generations/1")), 0);

    // What was reported holds for a manager that comes back, and the instance is the same.
    let pid = probed.daemon.instance_pid("hello").await;
    probed.daemon.kill9();
    probed.daemon.start_again().await;
    let adopted = probed.daemon.wait_status("hello", "running").await;
    assert_eq!((adopted["pid"].as_u64(), user(&adopted)), (Some(u64::from(pid)), user(&view)));
    assert_eq!(adopted["sandbox"], view["sandbox"]);
    assert_eq!(adopted["limits"], view["limits"]);

    // The id stays with the name: nobody else gets it, and a formation of that name gets it back.
    assert_eq!(probed.daemon.delete("/rpc/formations/hello").await.status, 200);
    probed.deploy("third").await;
    assert_ne!(user(&probed.daemon.view("third").await)["uid"], uid);
    probed.deploy("hello").await;
    assert_eq!(user(&probed.daemon.view("hello").await)["uid"], uid);
}

#[tokio::test]
async fn data_follows_the_formation_into_its_user_and_back() {
    if !is_root() {
        return;
    }
    let mut probed = Probed::start(Daemon::builder(), json!({"user_isolation": "off"})).await;
    probed.deploy("hello").await;
    assert_eq!(probed.results("hello")["Uid"], "0 0 0 0");
    let reason = &probed.daemon.view("hello").await["sandbox"]["user"]["reason"];
    assert_eq!(reason, "formations.user_isolation is off");
    let formation = probed.daemon.formation("hello").await;
    assert_eq!(formation.say("one").await.status, 200);
    for (mode, own) in [("auto", true), ("off", false)] {
        change(&probed.daemon, |config| config["formations"]["user_isolation"] = json!(mode));
        probed.daemon.restart().await;
        let view = probed.daemon.wait_status("hello", "running").await;
        assert_eq!(view["sandbox"]["user"]["isolated"], own);
        assert_eq!(formation.say(mode).await.status, 200);
    }
    assert_eq!(formation.transcript().await.len(), 6);
}

#[tokio::test]
async fn a_sandbox_that_is_off_is_told_so() {
    let formations = json!({"sandbox": "off", "user_isolation": "off"});
    let probed = Probed::start(Daemon::builder(), formations).await;
    probed.deploy("hello").await;
    let sandbox = probed.daemon.view("hello").await["sandbox"].clone();
    let off = "formations.sandbox is off";
    assert_eq!(sandbox["landlock"], json!({"state": "off", "reason": off}));
    assert_eq!(sandbox["seccomp"], json!({"enforced": false, "reason": off}));
    assert_eq!(sandbox["no_new_privs"], true);
    let results = probed.results("hello");
    assert_eq!(results["read the manager's database"], "ok");
    assert_eq!((&results["NoNewPrivs"], &results["Seccomp"]), (&json!("1"), &json!("0")));
}

#[tokio::test]
async fn limits_are_held_and_told() {
    let limits = json!({"open_files": 128, "processes": 200, "memory_bytes": 256 << 20});
    let over = json!({"quick": {"limits": {"open_files": 512}}});
    let formations = json!({"limits": limits, "overrides": over});
    let probed = Probed::start(Daemon::builder(), formations).await;
    // The manifest lowers one limit and asks in vain for more of another.
    probed.deploy_with("hello", "{open_files: 4096, memory: 128MiB, disk: 1GiB}").await;
    probed.deploy("quick").await;
    let view = probed.daemon.view("hello").await["limits"].clone();
    let value = |name: &str| view[name]["value"].as_u64();
    assert_eq!(value("open_files"), Some(128));
    let reason = view["open_files"]["reason"].as_str().unwrap();
    assert!(reason.contains("the manifest asks for 4096 in vain"), "{reason}");
    assert_eq!(value("memory_bytes"), Some(128 << 20));
    assert_eq!(value("disk_bytes"), Some(1 << 30));
    assert_eq!(view["disk_bytes"]["enforced_by"], "watch");
    assert_eq!(view["bundle_bytes"]["enforced_by"], "upload");
    let quick = probed.daemon.view("quick").await["limits"].clone();
    assert_eq!(quick["open_files"]["value"], 512);

    let files = probed.perform("hello", "files").await;
    assert_eq!(files["refused"], "EMFILE", "{files}");
    assert!(files["reached"].as_u64().unwrap() < 128, "{files}");
    let more = probed.perform("quick", "files").await;
    assert!((128..512).contains(&more["reached"].as_u64().unwrap()), "{more}");

    if view["memory_bytes"]["enforced_by"] == "rlimit" {
        let memory = probed.perform("hello", "memory").await;
        assert_eq!(memory["refused"], "out of memory", "{memory}");
        assert!((32..128).contains(&memory["reached"].as_u64().unwrap()), "{memory}");
    }
    if !view["processes"]["enforced_by"].is_null() {
        let processes = probed.perform("hello", "processes").await;
        assert_eq!(processes["refused"], "EAGAIN", "{processes}");
        assert!(processes["reached"].as_u64().unwrap() < 200, "{processes}");
    }
    // What nothing holds here says so.
    for (name, limit) in view.as_object().unwrap() {
        let told = !limit["enforced_by"].is_null() || !limit["reason"].is_null();
        assert!(told || limit["value"].is_null(), "{name}: {limit}");
    }
}

#[tokio::test]
async fn an_instance_beyond_its_memory_limit_ends_with_its_reason() {
    let limits = json!({"memory_bytes": 128 << 20});
    let formations = json!({"limits": limits, "max_restarts": 1, "restart_delay": 0});
    let probed = Probed::start(Daemon::builder(), formations).await;
    probed.deploy("hello").await;
    let held = probed.daemon.view("hello").await["limits"]["memory_bytes"].clone();
    if held["enforced_by"] != "cgroup" {
        // Each process is refused more memory instead; see above.
        assert_eq!(held["enforced_by"], "rlimit", "{held}");
        return;
    }
    probed.give("hello", "memory");
    signal(probed.daemon.instance_pid("hello").await, Signal::KILL);
    let view = probed.daemon.wait_status("hello", "crash_loop").await;
    assert_eq!(view["reason"], "it was killed for exceeding its memory limit of 128 MiB");
}

#[tokio::test]
async fn a_formation_can_have_a_lower_limit_for_uploads() {
    let over = json!({"hello": {"limits": {"bundle_bytes": 1_024}}});
    let daemon = Daemon::builder().config(json!({"formations": {"overrides": over}})).start().await;
    let llm = FakeLlm::start().await;
    // Text that no archiver makes small.
    let digits: String = (0..4_096u64).map(|it| (it * it * 2_654_435_761).to_string()).collect();
    for (id, status) in [("hello", 413), ("other", 201)] {
        let text = format!("{}author: '{digits}'\n", manifest(id, &llm.base_url()));
        let answer = daemon.deploy(bundle_with(id, &text)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let view = daemon.view("other").await;
    assert_eq!(view["limits"]["bundle_bytes"]["enforced_by"], "upload");
}

#[tokio::test]
async fn a_file_beyond_the_disk_limit_ends_the_instance_with_its_reason() {
    let formations =
        json!({"limits": {"disk_bytes": 8 << 20}, "max_restarts": 1, "restart_delay": 0});
    let probed = Probed::start(Daemon::builder(), formations).await;
    probed.deploy("hello").await;
    probed.give("hello", "file");
    signal(probed.daemon.instance_pid("hello").await, Signal::KILL);
    let view = probed.daemon.wait_status("hello", "crash_loop").await;
    assert_eq!(view["reason"], "it was killed for writing a file beyond its disk limit of 8 MiB");
    let size = fs::metadata(probed.data("hello").join("large")).unwrap().len();
    assert_eq!(size, 8 << 20);
}

#[tokio::test]
async fn a_draft_that_fills_its_disk_is_stopped_and_its_next_run_makes_way() {
    let config = json!({"limits": {"disk_check_s": 1}});
    let formations = json!({"limits": {"disk_bytes": 8 << 20}});
    let probed = Probed::start(Daemon::builder().config(config), formations).await;
    let daemon = &probed.daemon;
    let init = daemon.request("POST", "/rpc/formations/hello/draft/files");
    assert_eq!(Answer::of(init.json(&json!({"action": "init", "mode": "new"}))).await.status, 200);
    let write = daemon.request("POST", "/rpc/formations/hello/draft/files");
    let text = manifest("hello", &probed.llm.base_url());
    let write = write.json(&json!({"action": "write", "path": "formation.afs", "content": text}));
    assert_eq!(Answer::of(write).await.status, 200);
    let run = async || {
        let run = daemon.request("POST", "/rpc/dev/run").json(&json!({"formation_id": "hello"}));
        let answer = Answer::of(run).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    run().await;
    probed.give("hello@draft", "disk");
    let pid = daemon.count("SELECT pid FROM instances WHERE formation = 'hello@draft'");
    signal(u32::try_from(pid).unwrap(), Signal::KILL);
    let held = "SELECT count(*) FROM holds WHERE formation = 'hello@draft'";
    wait_until(PATIENCE, "the draft is stopped", async || {
        let instances = "SELECT count(*) FROM instances WHERE formation = 'hello@draft'";
        (daemon.count(held) == 1 && daemon.count(instances) == 0).then_some(())
    })
    .await;
    for number in 0..12 {
        fs::remove_file(probed.data("hello@draft").join(format!("many-{number}"))).unwrap();
    }
    fs::remove_file(probed.data("hello@draft").join("task")).unwrap();
    run().await;
    assert_eq!(daemon.count(held), 0);
}

#[tokio::test]
async fn a_formation_that_fills_its_disk_is_stopped_until_an_operator_acts() {
    let config = json!({"limits": {"disk_check_s": 1}});
    let formations = json!({"limits": {"disk_bytes": 8 << 20}});
    let mut probed = Probed::start(Daemon::builder().config(config), formations).await;
    probed.deploy("hello").await;
    probed.deploy("other").await;
    probed.give("hello", "disk");
    let pid = probed.daemon.instance_pid("hello").await;
    signal(pid, Signal::KILL);
    let view = probed.daemon.wait_status("hello", "stopped").await;
    let reason = wait_until(PATIENCE, "the reason is told", async || {
        probed.daemon.view("hello").await["reason"].as_str().map(str::to_owned)
    })
    .await;
    assert!(
        reason.starts_with("stopped by the manager: its data folder holds 12")
            && reason.ends_with(
                "more than its disk limit of 8 MiB; free space or raise the limit, then start it"
            ),
        "{reason}"
    );
    assert_eq!(view["pid"], 0);
    assert!(!is_alive(pid));
    // It stays so with the next manager, and its neighbour is not touched.
    probed.daemon.restart().await;
    assert_eq!(probed.daemon.view("hello").await["reason"], reason);
    probed.daemon.wait_status("other", "running").await;

    for number in 0..12 {
        fs::remove_file(probed.data("hello").join(format!("many-{number}"))).unwrap();
    }
    fs::remove_file(probed.data("hello").join("task")).unwrap();
    assert_eq!(probed.daemon.post("/rpc/formations/hello/start").await.status, 200);
    let view = probed.daemon.wait_status("hello", "running").await;
    assert_eq!(view["reason"], Value::Null);
}
