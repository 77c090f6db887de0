//! A port belongs to one formation, for as long as that formation lives.

use std::net::TcpListener;

use futures_util::future::join_all;
use muxi_testkit::daemon::{Daemon, bundle};
use muxi_testkit::fake_llm::FakeLlm;
use serde_json::json;

#[tokio::test]
async fn taken_ports_are_passed_over() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let first = *daemon.ports().start();
    let taken: Vec<_> = [first, first + 1, first + 3]
        .map(|port| TcpListener::bind(("127.0.0.1", port)).expect("our own block"))
        .into();
    let one = daemon.deploy_formation("one", &llm.base_url()).await;
    let two = daemon.deploy_formation("two", &llm.base_url()).await;
    assert_eq!((one.port, two.port), (first + 2, first + 4));
    drop(taken);
    assert_eq!(two.say("hi").await.status, 200);
}

#[tokio::test]
async fn an_exhausted_range_refuses_and_leaves_nothing() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let (first, last) = daemon.ports().into_inner();
    let others = (first + 1..=last)
        .map(|port| TcpListener::bind(("127.0.0.1", port)).expect("our own block"));
    let others: Vec<_> = others.collect();
    daemon.deploy_formation("one", &llm.base_url()).await;
    let before = daemon.files_left();
    for streamed in [false, true] {
        let (error, message) = if streamed {
            let frames = daemon.deploy_stream(bundle("two", &llm.base_url())).await.rest().await;
            let last = frames.last().expect("a last frame").clone();
            assert_eq!(last.event, "error");
            (last.data["error"].clone(), last.data["message"].clone())
        } else {
            let answer = daemon.deploy(bundle("two", &llm.base_url())).await;
            assert_eq!(answer.status, 503, "{answer:?}");
            (answer.body["error"].clone(), answer.body["message"].clone())
        };
        assert_eq!(error, "NoFreePort");
        assert!(
            message.as_str().is_some_and(|it| it.contains(&format!("{first}–{last}"))),
            "{message}"
        );
        assert_eq!(daemon.files_left(), before);
        assert_eq!(daemon.leased_ports(), [first]);
    }
    drop(others);
    assert_eq!(daemon.deploy_formation("two", &llm.base_url()).await.port, first + 1);
}

#[tokio::test]
async fn deploys_at_the_same_time_never_share_a_port() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let ids = ["one", "two", "three", "four"];
    let deploys = ids.map(|id| daemon.deploy(bundle(id, &llm.base_url())));
    let mut ports = Vec::new();
    for answer in join_all(deploys).await {
        assert_eq!(answer.status, 201, "{answer:?}");
        ports.push(answer.body["data"]["port"].as_u64().expect("a port"));
    }
    ports.sort_unstable();
    let first = u64::from(*daemon.ports().start());
    assert_eq!(ports, (first..first + 4).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_of_several_deploys_of_the_same_id_wins() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let deploys = (0..4).map(|_| daemon.deploy(bundle("same", &llm.base_url())));
    let answers = join_all(deploys).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409], "{answers:?}");
    assert_eq!(daemon.leased_ports(), [*daemon.ports().start()]);
    assert!(daemon.files_left().iter().all(|path| !path.starts_with("tmp/") || path == "tmp/"));
    assert_eq!(daemon.formation("same").await.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_stopped_formation_keeps_its_port_and_says_that_it_is_stopped() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 200);
    assert!(TcpListener::bind(("127.0.0.1", formation.port)).is_err());
    let answer = formation.say("hi").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.body["object"], "error");
    assert_eq!(answer.body["error"]["code"], "SERVICE_UNAVAILABLE");
    assert_eq!(
        answer.body["error"]["message"],
        "Formation 'hello' is stopped; an operator can start it again"
    );
    assert_eq!(daemon.post("/rpc/formations/hello/stop").await.status, 409);

    // Others pass the port over.
    let other = daemon.deploy_formation("other", &llm.base_url()).await;
    assert_eq!(other.port, formation.port + 1);
    let started = daemon.post("/rpc/formations/hello/start").await;
    assert_eq!(started.data()["port"], json!(formation.port));
    assert_eq!(formation.say("hi").await.status, 200);
}

#[tokio::test]
async fn a_delete_frees_the_port_and_the_id() {
    let (daemon, llm) = (Daemon::start().await, FakeLlm::start().await);
    let empty = daemon.files_left();
    for round in 0..3 {
        let formation = daemon.deploy_formation("hello", &llm.base_url()).await;
        assert_eq!(formation.port, *daemon.ports().start(), "round {round}");
        // Works right after: a formation of the same id is another one.
        assert_eq!(formation.say("hi").await.status, 200);
        assert_eq!(formation.transcript().await.len(), 2, "round {round}");
        assert_eq!(daemon.delete("/rpc/formations/hello").await.status, 200);
        assert_eq!(daemon.files_left(), empty);
        assert_eq!(daemon.leased_ports(), [0u16; 0]);
        assert_eq!(daemon.processes(), [0u32; 0]);
        TcpListener::bind(("127.0.0.1", formation.port)).expect("the port is free");
    }
}
