//! Every act of an operator, broken at every stage in every way: afterwards the formation serves
//! the old or the new generation (or is gone, where that was asked), the store agrees with the
//! world, and nothing is left over. The matrix is printed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use muxi_testkit::daemon::{
    Answer, Daemon, Formation, Frames, PATIENCE, bundle_of_version, freeze, in_own_mounts,
    is_alive, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Deploy,
    Update,
    Rollback,
    Delete,
}

/// Where an act is when it is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Half of the bundle has come.
    Upload,
    /// The new process was started and does not answer yet; of a delete: the old one does not end.
    Starting,
    /// The new one serves, the old one stands by.
    Trial,
    /// The act is done, and the old one finishes what it has.
    Draining,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillManager,
    KillNew,
    KillOld,
    DiskFull,
    /// Manager and instances die, and another program has the port when the manager comes back.
    PortTaken,
    ClientGone,
}

const ACTS: [(Act, &[Stage]); 4] = [
    (Act::Deploy, &[Stage::Upload, Stage::Starting]),
    (Act::Update, &[Stage::Upload, Stage::Starting, Stage::Trial, Stage::Draining]),
    (Act::Rollback, &[Stage::Starting, Stage::Trial, Stage::Draining]),
    (Act::Delete, &[Stage::Starting]),
];

const FAULTS: [Fault; 6] = [
    Fault::KillManager,
    Fault::KillNew,
    Fault::KillOld,
    Fault::DiskFull,
    Fault::PortTaken,
    Fault::ClientGone,
];

const MIB: u64 = 1 << 20;

/// An installation in which one cell of the matrix is played.
struct Cell {
    daemon: Daemon,
    llm: FakeLlm,
    /// What is left of an installation without a formation.
    empty: Vec<String>,
    act: Act,
    stage: Stage,
    fault: Fault,
}

/// An act that is under way: what its client is doing, if it still is.
struct UnderWay {
    client: Option<BoxFuture<'static, ()>>,
    /// Lets the rest of an upload come.
    rest: Arc<Notify>,
    old: Option<u32>,
    new: Option<u32>,
    /// Keeps the old process busy while it drains.
    open: Option<Frames>,
}

#[tokio::test]
async fn whatever_breaks_the_formation_is_whole_or_gone() {
    if !in_own_mounts("fault_matrix::whatever_breaks_the_formation_is_whole_or_gone") {
        return;
    }
    let mut rows = Vec::new();
    for (act, stage) in ACTS.iter().flat_map(|(act, stages)| stages.iter().map(|it| (*act, *it))) {
        let cells = FAULTS.map(|fault| async move {
            if applies(act, stage, fault) { Some(play(act, stage, fault).await) } else { None }
        });
        let outcomes: Vec<Option<String>> =
            Box::pin(stream::iter(cells).buffered(3).collect()).await;
        rows.push((act, stage, outcomes));
    }
    print_matrix(&rows);
}

/// Whether the stage has what the fault breaks.
fn applies(act: Act, stage: Stage, fault: Fault) -> bool {
    match fault {
        Fault::KillNew => act != Act::Delete && !matches!(stage, Stage::Upload),
        Fault::KillOld => act != Act::Deploy && !(act == Act::Delete && stage == Stage::Upload),
        Fault::ClientGone => stage != Stage::Draining,
        Fault::PortTaken => !(act == Act::Deploy && stage == Stage::Upload),
        Fault::KillManager | Fault::DiskFull => true,
    }
}

async fn play(act: Act, stage: Stage, fault: Fault) -> String {
    let cell = Cell::prepare(act, stage, fault).await;
    let what = format!("{act:?} / {stage:?} / {fault:?}");
    let outcome = tokio::time::timeout(3 * PATIENCE, cell.run(&what)).await;
    outcome.unwrap_or_else(|_| panic!("{what} did not come to an end"))
}

// === impl Cell ===

impl Cell {
    /// A formation of two generations, of which the second serves; nothing before a first deploy.
    async fn prepare(act: Act, stage: Stage, fault: Fault) -> Self {
        let config = json!({
            "formations": {
                "deployment": {"watch_window": if stage == Stage::Trial { 2 } else { 0 }},
                "drain": 3, "stop_grace": 1, "restart_delay": 1,
            },
            "limits": {"disk_free_min_bytes": MIB},
        });
        let builder = Daemon::builder().config(config).switched();
        let daemon = builder.data_dir_on_small_disk(24 * MIB).start().await;
        let llm = FakeLlm::start().await;
        let empty = daemon.files_left();
        let cell = Self { daemon, llm, empty, act, stage, fault };
        if act != Act::Deploy {
            assert_eq!(cell.daemon.deploy(cell.bundle("1.0.0")).await.status, 201);
            let updated = cell.daemon.update("hello", cell.bundle("2.0.0")).await;
            assert_eq!(updated.status, 200, "{updated:?}");
            cell.one_process().await;
        }
        cell
    }

    async fn run(mut self, what: &str) -> String {
        let mut under_way = self.begin().await;
        self.break_it(&mut under_way).await;
        self.mend(&mut under_way).await;
        if let Some(client) = under_way.client.take() {
            client.await;
        }
        drop(under_way.open.take());
        let outcome = self.settled(what).await;
        self.check(&outcome, what).await;
        outcome
    }

    fn bundle(&self, version: &str) -> Vec<u8> {
        bundle_of_version("hello", &self.llm.base_url(), version)
    }

    async fn begin(&mut self) -> UnderWay {
        let (rest, old) = (Arc::new(Notify::new()), self.serving().await);
        let mut under_way = UnderWay { client: None, rest, old, new: None, open: None };
        if self.stage == Stage::Draining {
            let rule = json!({"chunks": ["one ", "two"], "gate": "end", "gate_after_chunks": 1});
            self.llm.script(json!([{ "reply": rule }]));
            let formation = self.formation().await;
            let mut open = formation.stream("hi").await;
            open.until(|frame| frame.data["token"]["content"] == "one ").await;
            under_way.open = Some(open);
        }
        if self.stage == Stage::Starting && self.act != Act::Delete {
            self.daemon.runtime().hold();
        }
        if self.stage == Stage::Upload {
            self.begin_upload(&mut under_way).await;
            return under_way;
        }
        if self.act == Act::Delete {
            self.begin_delete(&mut under_way).await;
            return under_way;
        }
        let mut frames = match self.act {
            Act::Deploy => self.daemon.deploy_stream(self.bundle("2.0.0")).await,
            Act::Update => self.daemon.update_stream("hello", self.bundle("3.0.0")).await,
            Act::Rollback | Act::Delete => {
                let back = self.daemon.request("POST", "/rpc/formations/hello/rollback");
                Frames::of(back.header("accept", "text/event-stream")).await
            }
        };
        match self.stage {
            Stage::Upload | Stage::Starting => {
                frames.until_stage("health_check").await;
                self.daemon.runtime().reached().await;
            }
            Stage::Trial => drop(frames.until_stage("swapping").await),
            Stage::Draining => drop(frames.until(|frame| frame.event == "complete").await),
        }
        under_way.new = Stored::read(&self.daemon).newest;
        under_way.client = Some(
            async move {
                // A manager that was killed breaks the stream.
                while let Ok(Some(_)) = frames.try_next().await {}
            }
            .boxed(),
        );
        under_way
    }

    /// A delete of a formation whose process does not hear that it should end.
    async fn begin_delete(&self, under_way: &mut UnderWay) {
        freeze(under_way.old.expect("a process")).await;
        let mut client =
            self.daemon.request("DELETE", "/rpc/formations/hello").send().map(drop).boxed();
        let begun = wait_until(PATIENCE, "the delete has begun", async || {
            let operations = self.daemon.get("/rpc/operations").await;
            let newest = &operations.data()["operations"][0];
            (newest["kind"] == "delete").then_some(())
        });
        tokio::select! {
            () = &mut client => panic!("the delete was over before it could be broken"),
            () = begun => {}
        }
        under_way.client = Some(client);
    }

    async fn begin_upload(&self, under_way: &mut UnderWay) {
        let archive = self.bundle("3.0.0");
        let (first, second) = archive.split_at(archive.len() / 2);
        let (first, second, rest) = (first.to_vec(), second.to_vec(), Arc::clone(&under_way.rest));
        let second = stream::once(async move {
            rest.notified().await;
            Ok::<_, std::io::Error>(second)
        });
        let body = reqwest::Body::wrap_stream(stream::iter([Ok(first)]).chain(second));
        let request = match self.act {
            Act::Deploy => self.daemon.request("POST", "/rpc/formations"),
            Act::Update | Act::Rollback | Act::Delete => {
                self.daemon.request("PUT", "/rpc/formations/hello")
            }
        };
        let request = request.header("content-type", "application/gzip").body(body);
        let mut client = request.send().map(drop).boxed();
        let arrived = wait_until(PATIENCE, "half the upload is there", async || {
            self.daemon
                .files_left()
                .iter()
                .any(|path| path.starts_with("tmp/upload-"))
                .then_some(())
        });
        tokio::select! {
            () = &mut client => panic!("an answer to half a request"),
            () = arrived => {}
        }
        under_way.client = Some(client);
    }

    async fn break_it(&mut self, under_way: &mut UnderWay) {
        match self.fault {
            Fault::KillManager => {
                self.daemon.kill9();
                self.daemon.start_again().await;
            }
            Fault::KillNew => kill(under_way.new.expect("a new process")).await,
            Fault::KillOld => {
                if let Some(old) = under_way.old {
                    kill(old).await;
                }
            }
            Fault::DiskFull => self.daemon.disk().fill(),
            Fault::PortTaken => {
                let port = self.daemon.leased_ports()[0];
                self.daemon.kill9();
                for pid in self.daemon.processes() {
                    signal(pid, Signal::KILL);
                }
                let taken = wait_until(PATIENCE, "the port is free", async || {
                    TcpListener::bind(("127.0.0.1", port)).ok()
                });
                let taken = taken.await;
                self.daemon.start_again().await;
                let what = "the manager says why the formation is down";
                wait_until(PATIENCE, what, async || {
                    let view = self.daemon.get("/rpc/formations/hello").await;
                    let told = view.text.contains("is taken by another program");
                    (told || view.status == 404).then_some(())
                })
                .await;
                drop(taken);
            }
            Fault::ClientGone => under_way.client = None,
        }
    }

    /// Takes away what kept the act at its stage, and then the fault.
    async fn mend(&mut self, under_way: &mut UnderWay) {
        if self.stage == Stage::Starting && self.act != Act::Delete {
            self.daemon.runtime().release();
        }
        under_way.rest.notify_one();
        if self.fault == Fault::DiskFull {
            // What runs, runs on while the disk is full.
            if self.act != Act::Deploy && self.act != Act::Delete {
                let formation = self.formation().await;
                assert_eq!(formation.get("/health").await.status, 200);
            }
            // An act that needs room waits for it, or has said that there is none.
            self.daemon.disk().free();
        }
        if self.stage == Stage::Draining {
            self.llm.open_gate("end");
        }
    }

    /// Waits until nothing is under way any more.
    async fn settled(&self, what: &str) -> String {
        wait_until(2 * PATIENCE, &format!("{what} has settled"), async || {
            let operations = self.daemon.get("/rpc/operations").await;
            let running = operations.data()["operations"].as_array()?.iter();
            if running.clone().any(|it| it["state"] == "running") {
                return None;
            }
            let answer = self.daemon.get("/rpc/formations/hello").await;
            if answer.status == 404 {
                return Some("gone".to_owned());
            }
            let view = answer.data();
            let one = self.daemon.instances().len() == 1;
            let whole = view["status"] == "running" && view["rollout"].is_null() && one;
            whole.then(|| format!("{} serves", view["version"]["semantic"].as_str().unwrap_or("?")))
        })
        .await
    }

    async fn check(&self, outcome: &str, what: &str) {
        let goes_back =
            self.fault == Fault::KillNew && matches!(self.stage, Stage::Starting | Stage::Trial);
        let expected: &[&str] = match self.act {
            Act::Update | Act::Rollback if goes_back => &["2.0.0 serves"],
            Act::Deploy => &["2.0.0 serves", "3.0.0 serves", "gone"],
            Act::Update => &["2.0.0 serves", "3.0.0 serves"],
            Act::Rollback => &["1.0.0 serves", "2.0.0 serves"],
            Act::Delete => &["gone"],
        };
        assert!(expected.contains(&outcome), "{what}: {outcome}");
        if outcome == "gone" {
            wait_until(PATIENCE, &format!("nothing is left after {what}"), async || {
                (self.daemon.processes().is_empty() && self.daemon.files_left() == self.empty)
                    .then_some(())
            })
            .await;
            assert_eq!(self.daemon.leased_ports(), [0u16; 0], "{what}");
        } else {
            let formation = self.formation().await;
            assert_eq!(self.daemon.leased_ports(), [formation.port], "{what}");
            self.llm.script(json!([]));
            assert_eq!(formation.say("hi").await.status, 200, "{what}");
            let proxied = Answer::of(self.daemon.unsigned("GET", "/api/hello/health")).await;
            assert_eq!(proxied.status, 200, "{what}");
            self.store_agrees(what).await;
        }
        // And nothing stands in the way of the next act.
        let next = if outcome == "gone" {
            self.daemon.deploy(self.bundle("9.0.0")).await
        } else {
            self.daemon.update("hello", self.bundle("9.0.0")).await
        };
        assert!([200, 201].contains(&next.status), "{what}: {next:?}");
    }

    /// The rows, the processes, the folders, the archives and the sockets tell the same story.
    async fn store_agrees(&self, what: &str) {
        let began = Instant::now();
        wait_until(PATIENCE, &format!("store and world agree after {what}"), async || {
            let stored = Stored::read(&self.daemon);
            let folder = self.daemon.data_dir();
            let generations = names(&folder.join("formations/hello/generations"));
            let sockets = names(&folder.join("run"));
            let agree = stored.pids == self.daemon.instances()
                && generations == stored.generations
                && names(&folder.join("bundles")).len() == stored.archives
                && names(&folder.join("tmp")).is_empty()
                && stored.instances.iter().all(|it| sockets.contains(&format!("hello.{it}.sock")))
                && sockets
                    .iter()
                    .filter(|it| it.starts_with("hello.") && !it.contains(".json"))
                    .count()
                    == 2 * stored.instances.len();
            assert!(
                agree || began.elapsed() <= PATIENCE / 2,
                "{what}: pids {:?} {:?}, generations {generations:?} {:?}, sockets {sockets:?} \
                 {:?}, archives {:?} {}, tmp {:?}",
                stored.pids,
                self.daemon.instances(),
                stored.generations,
                stored.instances,
                names(&folder.join("bundles")),
                stored.archives,
                names(&folder.join("tmp")),
            );
            agree.then_some(())
        })
        .await;
    }

    async fn one_process(&self) {
        wait_until(PATIENCE, "one process is left", async || {
            (self.daemon.instances().len() == 1).then_some(())
        })
        .await;
    }

    async fn serving(&self) -> Option<u32> {
        let answer = self.daemon.get("/rpc/formations/hello").await;
        let pid = answer.body["data"]["pid"].as_u64()?;
        u32::try_from(pid).ok().filter(|pid| *pid != 0)
    }

    async fn formation(&self) -> Formation {
        self.daemon.formation("hello").await
    }
}

/// What the manager's database says.
struct Stored {
    pids: Vec<u32>,
    /// The process of the newest instance.
    newest: Option<u32>,
    instances: Vec<u64>,
    generations: BTreeSet<String>,
    archives: usize,
}

impl Stored {
    fn read(daemon: &Daemon) -> Self {
        let db = daemon.database();
        let numbers = |sql: &str| -> Vec<u64> {
            let mut statement = db.prepare(sql).expect("the manager's store");
            let rows = statement.query_map([], |row| row.get(0)).expect("the manager's store");
            rows.map(|it| it.expect("a number")).collect()
        };
        let pids = |order: &str| -> Vec<u32> {
            let sql = format!("SELECT pid FROM instances WHERE pid IS NOT NULL ORDER BY {order}");
            numbers(&sql).into_iter().filter_map(|pid| pid.try_into().ok()).collect()
        };
        Self {
            pids: pids("pid"),
            newest: pids("instance").pop(),
            instances: numbers("SELECT instance FROM instances"),
            generations: numbers("SELECT generation FROM generations")
                .iter()
                .map(ToString::to_string)
                .collect(),
            archives: numbers("SELECT count(DISTINCT bundle_sha256) FROM generations")[0]
                .try_into()
                .expect("few"),
        }
    }
}

async fn kill(pid: u32) {
    signal(pid, Signal::KILL);
    wait_until(PATIENCE, "the process is dead", async || (!is_alive(pid)).then_some(())).await;
}

fn names(folder: &std::path::Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[expect(clippy::print_stderr, reason = "the matrix is the result")]
fn print_matrix(rows: &[(Act, Stage, Vec<Option<String>>)]) {
    let cell = |text: &dyn fmt::Debug| format!("{:14}", format!("{text:?}"));
    let head = FAULTS.map(|fault| cell(&fault)).concat();
    eprintln!("{:10}{:10}{head}", "", "");
    for (act, stage, outcomes) in rows {
        let cells: Vec<String> = outcomes
            .iter()
            .map(|outcome| format!("{:14}", outcome.as_deref().unwrap_or("–")))
            .collect();
        let line = cells.concat();
        eprintln!("{:10}{:10}{line}", format!("{act:?}"), format!("{stage:?}"));
    }
}
