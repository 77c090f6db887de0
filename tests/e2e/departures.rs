//! Askers that leave, askers that collide, and instances that do not help: no act is left half done.

use std::time::Duration;

use futures_util::future::join_all;
use muxi_contract::signature;
use muxi_testkit::daemon::{
    self, Daemon, KEY, PATIENCE, SECRET, freeze, is_alive, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Sends a signed request and leaves after `stay` without reading the answer.
async fn ask_and_leave(daemon: &Daemon, method: &str, path: &str, body: &[u8], stay: Duration) {
    let now_s = now_s();
    let authorization = signature::header(KEY, SECRET, now_s, method, path);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let address = daemon.url().strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("the manager listens");
    stream.write_all(head.as_bytes()).await.expect("the kernel takes it");
    stream.write_all(body).await.expect("the kernel takes it");
    tokio::time::sleep(stay).await;
}

#[expect(clippy::disallowed_methods, reason = "a signature is made for the manager's clock")]
fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("a year that fits")
}

#[tokio::test]
async fn who_leaves_during_an_act_leaves_nothing_half_done() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    daemon.deploy_formation("hello", &llm.base_url()).await;
    for stay_us in (0..6_000).step_by(400) {
        let stay = Duration::from_micros(stay_us);
        ask_and_leave(&daemon, "POST", "/rpc/formations/hello/stop", b"", stay).await;
        // Whether it was stopped or not: the next act is done, and finds nothing in its way.
        let restarted = wait_until(PATIENCE, "the next act is done", async || {
            let answer = daemon.post("/rpc/formations/hello/restart").await;
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(restarted.await.body["data"]["status"], "running");
    }
}

#[tokio::test]
async fn who_leaves_during_a_deploy_leaves_a_formation_or_nothing() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let bundle = daemon::bundle("hello", &llm.base_url());
    let empty = daemon.files_left();
    for stay_us in (0..24_000).step_by(1_500) {
        let stay = Duration::from_micros(stay_us);
        ask_and_leave(&daemon, "POST", "/rpc/formations", &bundle, stay).await;
        // Deploying again works, unless the first one did.
        let there = wait_until(PATIENCE, "it is there", async || {
            let answer = daemon.deploy(bundle.clone()).await;
            match answer.status {
                201 => Some("now"),
                409 if answer.body["error"] == "FormationExists" => Some("already"),
                409 => None,
                status => panic!("{status}: {}", answer.text),
            }
        });
        there.await;
        daemon.wait_status("hello", "running").await;
        assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
        assert_eq!(daemon.files_left(), empty);
    }
}

#[tokio::test]
async fn deletes_that_collide_are_one_delete() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    for _ in 0..8 {
        daemon.deploy_formation("hello", &llm.base_url()).await;
        let answers = join_all((0..8).map(|_| daemon.delete("/rpc/formations/hello"))).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.contains(&200), "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 404].contains(status)), "{statuses:?}");
    }
}

#[tokio::test]
async fn an_instance_that_does_not_hand_its_port_over_can_still_be_removed() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let instance = daemon.instance_pid("hello").await;
    daemon.kill9();
    freeze(instance).await;
    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
    // A wish is heard though the port is not there yet.
    let (removed, ()) = futures_util::future::join(daemon.delete("/rpc/formations/hello"), async {
        signal(instance, Signal::CONT);
    })
    .await;
    assert_eq!(removed.status, 200, "{removed:?}");
    assert!(!is_alive(instance));
    // The last question for the port may be answered a moment later, for nobody.
    wait_until(PATIENCE, "the port is free", async || {
        std::net::TcpListener::bind(("127.0.0.1", formation.port)).ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_formation_whose_port_was_taken_can_be_removed() {
    let (mut daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    daemon.terminate().await;
    let _other = std::net::TcpListener::bind(("127.0.0.1", formation.port)).expect("it is free");
    daemon.start_again().await;
    let view = daemon.wait_status("hello", "crashed").await;
    let reason = view["reason"].as_str().expect("a reason");
    assert!(reason.contains("taken by another program"), "{reason}");
    assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
}

#[tokio::test]
async fn nobody_steers_an_instance_through_the_proxy() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    for path in
        ["_instance/retire", "/_instance/retire", "%5Finstance/retire", "v1/../_instance/retire"]
    {
        let url = format!("{}/api/hello/{path}", daemon.url());
        let answer = daemon.http().post(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(formation.say("hi").await.status, 200);
}

/// Sends a request of `body_bytes` whole and only then reads the answer.
async fn send_all_then_read(address: String, head: String, body_bytes: usize) -> String {
    let asking = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).expect("somebody listens");
        let length =
            format!("Host: x\r\nConnection: close\r\nContent-Length: {body_bytes}\r\n\r\n");
        stream.write_all((head + &length).as_bytes()).expect("it reads");
        stream.write_all(&vec![b' '; body_bytes]).expect("it reads on though it has refused");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a whole answer");
        answer
    });
    asking.await.expect("the client does not panic")
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_all_before_it_reads() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let address = daemon.url().strip_prefix("http://").expect("an address").to_owned();
    let head = "POST /rpc/formations HTTP/1.1\r\nContent-Type: application/gzip\r\n".to_owned();
    let answer = send_all_then_read(address, head, 20 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("Missing authorization header"), "{answer}");

    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    let key = daemon::CLIENT_KEY;
    // Messages may have files; what is remembered is never so long.
    let head =
        format!("POST /v1/memories HTTP/1.1\r\nX-Muxi-Client-Key: {key}\r\nX-Muxi-User-ID: me\r\n");
    let answer = send_all_then_read(format!("127.0.0.1:{}", formation.port), head, 20 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
