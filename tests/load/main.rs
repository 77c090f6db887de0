//! The figures that the project promises, measured on the real binaries in one run, so that their
//! ratios hold whatever the machine does:
//!
//! ```sh
//! cargo build --release -p muxi-server -p formation-runtime -p muxi-cli
//! MUXI_BIN_DIR=target/release cargo run --release -p muxi-e2e --bin figures
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use muxi_testkit::daemon::{self, CLIENT_KEY, Daemon, Formation};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

const STARTS: usize = 20;
const DEPLOYS: usize = 20;
const STREAMS: usize = 200;
const LOAD_SECONDS: u64 = 4;
const FORMATION: &str = "load";
/// Streams that are open at once, each with so many tokens at twenty a second: for a minute.
const HELD: u32 = 1_000;
const HELD_TOKENS: usize = 1_200;
const TOKEN_PAUSE_MS: u64 = 50;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fake = FakeLlm::start().await;
    let daemon = Daemon::builder().config(json!({"logging": {"level": "warn"}})).start().await;
    let http = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;

    command_line()?;
    cold_start(&http, &fake).await?;
    deploy(&daemon, &fake).await;
    let formation = daemon.deploy_formation(FORMATION, &fake.base_url()).await;
    memory(&daemon, &formation).await?;
    first_token(&daemon, &formation, &fake, &http).await?;
    requests(&daemon, &formation, &fake, &http).await?;
    held_streams(&daemon, &formation, &fake).await?;
    Ok(())
}

/// A command that needs nobody, from its start to its end.
fn command_line() -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let output = Command::new(daemon::bin_dir().join("muxi")).arg("--help").output()?;
        taken.push(started.elapsed());
        anyhow::ensure!(output.status.success(), "muxi --help ended with {}", output.status);
    }
    report("muxi --help", &mut taken);
    Ok(())
}

/// From the start of the process to its first healthy answer, asked every half millisecond.
async fn cold_start(http: &reqwest::Client, fake: &FakeLlm) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("formation.afs"),
        daemon::manifest("cold", &fake.base_url()),
    )?;
    let mut taken = Vec::new();
    for _ in 0..STARTS {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let started = Instant::now();
        let mut child = runtime(folder.path(), data.path(), port)?;
        let url = format!("http://127.0.0.1:{port}/v1/health");
        while http.get(&url).send().await.map_or(true, |answer| !answer.status().is_success()) {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        taken.push(started.elapsed());
        child.kill()?;
        child.wait()?;
    }
    report("cold start of an instance to healthy", &mut taken);
    Ok(())
}

fn runtime(bundle: &Path, data: &Path, port: u16) -> anyhow::Result<Child> {
    let child = Command::new(daemon::bin_dir().join("formation-runtime"))
        .arg(bundle)
        .arg("--data-dir")
        .arg(data)
        .args(["--port", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(child)
}

/// From the first byte of the upload to the answer that the formation is healthy.
async fn deploy(daemon: &Daemon, fake: &FakeLlm) {
    let (mut deploys, mut restarts) = (Vec::new(), Vec::new());
    let bundle = daemon::bundle("deployed", &fake.base_url());
    for _ in 0..DEPLOYS {
        let started = Instant::now();
        let answer = daemon.deploy(bundle.clone()).await;
        deploys.push(started.elapsed());
        assert_eq!(answer.status, 201, "{answer:?}");
        let started = Instant::now();
        let answer = daemon.post("/rpc/formations/deployed/restart").await;
        restarts.push(started.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        daemon.delete("/rpc/formations/deployed").await;
    }
    report("deploy, upload to healthy", &mut deploys);
    report("restart, asked to healthy", &mut restarts);
}

async fn memory(daemon: &Daemon, formation: &Formation) -> anyhow::Result<()> {
    let instance = daemon.view(FORMATION).await["pid"].as_u64().unwrap_or(0);
    let instance = u32::try_from(instance)?;
    line("resident memory, manager", &resident(daemon.pid())?);
    line("resident memory, instance before its first chat", &resident(instance)?);
    formation.say("hello").await;
    line("resident memory, instance after a chat", &resident(instance)?);
    Ok(())
}

/// From the model's first token, by its own clock, to the client's first byte of it.
async fn first_token(
    daemon: &Daemon,
    formation: &Formation,
    fake: &FakeLlm,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    let chunks: Vec<String> = (0..20).map(|at| format!("word{at} ")).collect();
    fake.script(json!([
        {"match": {}, "reply": {"chunks": chunks, "first_delay_ms": 5, "chunk_delay_ms": 1}}
    ]));
    let through = format!("{}/api/{FORMATION}", daemon.url());
    let mut paths = vec![("model itself", None), ("formation's port", Some(formation.url()))];
    paths.push(("manager's proxy", Some(through)));
    for (name, base) in paths {
        let mut taken = Vec::new();
        for at in 0..STREAMS {
            let request = match &base {
                Some(base) => {
                    let body = json!({"message": format!("m{at}"), "session_id": format!("s{at}")});
                    formation.chat_at(base, &body).header("accept", "text/event-stream")
                }
                None => http.post(format!("{}/chat/completions", fake.base_url())).json(&json!({
                    "model": "model-1", "stream": true, "messages": [{"role": "user", "content": "m"}],
                })),
            };
            let seen_us = first_seen_us(request, "word0").await?;
            let journal = fake.journal();
            let sent_us = journal.last().and_then(|it| it.chunks_at_us.first().copied());
            let sent_us = sent_us.ok_or_else(|| anyhow::anyhow!("the model sent nothing"))?;
            taken.push(Duration::from_micros(seen_us.saturating_sub(sent_us)));
        }
        report(&format!("first token to first byte, {name}"), &mut taken);
    }
    fake.script(json!([]));
    Ok(())
}

/// Many streams at once for a long time: who is dropped, what each costs, and how late tokens are.
async fn held_streams(
    daemon: &Daemon,
    formation: &Formation,
    fake: &FakeLlm,
) -> anyhow::Result<()> {
    let chunks: Vec<String> = (0..HELD_TOKENS).map(|at| format!("w{at} ")).collect();
    fake.script(
        json!([{"match": {}, "reply": {"chunks": chunks, "chunk_delay_ms": TOKEN_PAUSE_MS}}]),
    );
    let pid = u32::try_from(daemon.view(FORMATION).await["pid"].as_u64().unwrap_or(0))?;
    let before = anonymous_bytes(pid)?;
    let base = formation.url();
    let streams = (0..HELD).map(|at| {
        let body = json!({"message": format!("held {at}."), "session_id": format!("held {at}")});
        let request = formation.chat_at(&base, &body).header("accept", "text/event-stream");
        // Users do not begin in one moment; in step, their tokens would come a thousand at once.
        let wait = Duration::from_secs(1) * at / HELD;
        async move {
            tokio::time::sleep(wait).await;
            received_us(request).await
        }
    });
    let watching = async {
        let mut most = before;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            most = most.max(anonymous_bytes(pid).unwrap_or(most));
            PEAK.store(most, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let all = tokio::select! {
        all = join_all(streams) => all,
        () = watching => Vec::new(),
    };
    let mut sent = std::collections::HashMap::new();
    for entry in fake.journal() {
        let messages = entry.body["messages"].as_array().cloned().unwrap_or_default();
        let asked = messages.last().and_then(|it| it["content"].as_str()).unwrap_or_default();
        sent.insert(asked.to_owned(), entry.chunks_at_us);
    }
    let (mut late, mut dropped) = (Vec::new(), 0);
    for (at, received) in all.into_iter().enumerate() {
        let received = received.unwrap_or_default();
        dropped += usize::from(received.len() != HELD_TOKENS);
        let sent = sent.get(&format!("held {at}.")).map(Vec::as_slice).unwrap_or_default();
        let pairs = received.iter().zip(sent);
        late.extend(pairs.map(|(got, sent)| Duration::from_micros(got.saturating_sub(*sent))));
    }
    late.sort_unstable();
    let percent = |part: usize| late.get(late.len() * part / 100).copied().unwrap_or_default();
    let peak = PEAK.load(std::sync::atomic::Ordering::Relaxed);
    let each = peak.saturating_sub(before) / HELD as usize / 1024;
    line(
        &format!("{HELD} streams of {HELD_TOKENS} tokens at 20/s, begun within a second"),
        &format!(
            "{dropped} dropped, {each} KiB a stream, a token late by median {:.2} ms, p99 {:.2} ms",
            percent(50).as_secs_f64() * 1e3,
            percent(99).as_secs_f64() * 1e3
        ),
    );
    fake.script(json!([]));
    Ok(())
}

/// The most that was seen while streams were open.
static PEAK: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// When each token of the stream came, in Unix microseconds.
async fn received_us(request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u64>> {
    let response = request.timeout(Duration::from_mins(10)).send().await?;
    anyhow::ensure!(response.status().is_success(), "{}", response.status());
    let (mut body, mut rest, mut received) = (response.bytes_stream(), String::new(), Vec::new());
    while let Some(chunk) = body.next().await {
        let now_us = now_us();
        rest.push_str(std::str::from_utf8(&chunk?)?);
        while let Some((frame, after)) = rest.split_once("\n\n") {
            if frame.starts_with("data: {\"token\"") {
                received.push(now_us);
            }
            rest = after.to_owned();
        }
    }
    Ok(received)
}

/// Memory of the process's own, without what it shares with its file.
fn anonymous_bytes(pid: u32) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    Ok(kilobytes.unwrap_or(0) * 1024)
}

/// When the stream first had `text` in it, in Unix microseconds; the stream is read to its end.
async fn first_seen_us(request: reqwest::RequestBuilder, text: &str) -> anyhow::Result<u64> {
    let response = request.send().await?;
    anyhow::ensure!(response.status().is_success(), "{}", response.status());
    let (mut body, mut seen, mut seen_us) = (response.bytes_stream(), String::new(), None);
    while let Some(chunk) = body.next().await {
        let now_us = now_us();
        seen.push_str(std::str::from_utf8(&chunk?)?);
        if seen_us.is_none() && seen.contains(text) {
            seen_us = Some(now_us);
        }
    }
    seen_us.ok_or_else(|| anyhow::anyhow!("no token came"))
}

/// Requests a second, and how long one takes, at 1 and at 64 clients.
async fn requests(
    daemon: &Daemon,
    formation: &Formation,
    fake: &FakeLlm,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    let through = format!("{}/api/{FORMATION}", daemon.url());
    let get = |url: String| move |_: usize| http.get(&url);
    let chat = |base: String| {
        move |client: usize| {
            let session = format!("load-{client}");
            formation
                .chat_at(&base, &json!({"message": "hi", "session_id": session, "stream": false}))
        }
    };
    for clients in [1, 64] {
        load("GET /health, manager", clients, get(format!("{}/health", daemon.url()))).await?;
        load("GET /v1/health, direct", clients, get(format!("{}/v1/health", formation.url())))
            .await?;
        load("GET /v1/health, proxied", clients, get(format!("{through}/v1/health"))).await?;
        let direct = chat(formation.url());
        load("POST /v1/chat, instant model, direct", clients, direct).await?;
        let proxied = chat(through.clone());
        load("POST /v1/chat, instant model, proxied", clients, proxied).await?;
        let model = |_: usize| {
            http.post(format!("{}/chat/completions", fake.base_url())).json(&json!({
                "model": "model-1", "messages": [{"role": "user", "content": "hi"}],
            }))
        };
        load("POST, the instant model itself", clients, model).await?;
    }
    Ok(())
}

async fn load<R>(name: &str, clients: usize, request: R) -> anyhow::Result<()>
where
    R: Fn(usize) -> reqwest::RequestBuilder,
{
    let until = Instant::now() + Duration::from_secs(LOAD_SECONDS);
    let request = &request;
    let runs = (0..clients).map(async |client| -> anyhow::Result<Vec<Duration>> {
        let mut taken = Vec::new();
        while Instant::now() < until {
            let started = Instant::now();
            let answer = request(client).header("x-muxi-client-key", CLIENT_KEY).send().await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            answer.bytes().await?;
            taken.push(started.elapsed());
        }
        Ok(taken)
    });
    let mut taken = Vec::new();
    for run in join_all(runs).await {
        taken.extend(run?);
    }
    let rate = taken.len() as u64 / LOAD_SECONDS;
    taken.sort_unstable();
    let (median, p99) = (taken[taken.len() / 2], taken[taken.len() * 99 / 100]);
    let clients = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
    line(
        &format!("{name}, {clients}"),
        &format!("{rate}/s, median {}, p99 {}", ms(median), ms(p99)),
    );
    Ok(())
}

fn report(name: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let (least, median, most) = (taken[0], taken[taken.len() / 2], taken[taken.len() - 1]);
    let text = format!("min {}, median {}, max {}", ms(least), ms(median), ms(most));
    line(name, &format!("{text} of {}", taken.len()));
}

#[expect(clippy::print_stdout, reason = "figures are this program's output")]
fn line(name: &str, value: &str) {
    let mut text = String::new();
    write!(text, "{name:<58} {value}").expect("a string takes all");
    println!("{text}");
}

fn ms(taken: Duration) -> String {
    format!("{:.2} ms", taken.as_secs_f64() * 1_000.0)
}

fn resident(pid: u32) -> anyhow::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(format!("{:.1} MB", kib * 1_024.0 / 1e6))
    };
    let (all, own) = (field("VmRSS:"), field("RssAnon:"));
    Ok(format!("{}, of it anonymous {}", all.unwrap_or_default(), own.unwrap_or_default()))
}

#[expect(clippy::disallowed_methods, reason = "compared with the fake model's wall clock")]
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
