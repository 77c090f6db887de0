//! What instances write: kept, rotated, read back and followed, whoever dies meanwhile.

use std::fs;
use std::time::Duration;

use muxi_testkit::daemon::{
    Answer, Daemon, Formation, Frame, Frames, PATIENCE, bundle, signal, wait_until,
};
use muxi_testkit::fake_llm::FakeLlm;
use rustix::process::Signal;
use serde_json::{Value, json};

const LOGS: &str = "/rpc/formations/hello/logs";

/// A formation whose instance prints so many lines when it is told to.
async fn chatterbox(daemon: &Daemon, llm: &FakeLlm, lines: u32) -> Formation {
    daemon.runtime().chatter(lines);
    daemon.deploy_formation("hello", &llm.base_url()).await
}

async fn follow(daemon: &Daemon, query: &str) -> Frames {
    // Without the client's own limit: a follower may be quiet for long.
    let frames = Frames::of(daemon.request("GET", &format!("{LOGS}?follow=true{query}"))).await;
    assert_eq!(frames.status, 200);
    assert_eq!(frames.headers["content-type"], "text/event-stream; charset=utf-8");
    frames
}

/// The number of a line that the chatterbox printed.
fn number(line: &str) -> Option<u32> {
    line.strip_prefix("chatter ")?.parse().ok()
}

fn number_of(frame: &Frame) -> Option<u32> {
    number(frame.data["line"].as_str()?)
}

/// All numbers up to `last`, each stream in its order and each number once.
fn assert_whole(seen: &[(u32, String)], last: u32) {
    for (stream, is_tenth) in [("stdout", false), ("stderr", true)] {
        let numbers: Vec<u32> =
            seen.iter().filter(|(_, it)| it == stream).map(|(number, _)| *number).collect();
        let wanted: Vec<u32> =
            (1..=last).filter(|number| number.is_multiple_of(10) == is_tenth).collect();
        let wrong = numbers.iter().zip(&wanted).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "{stream} is out of order after {wrong:?} lines");
        assert_eq!(numbers.len(), wanted.len(), "lines of {stream}");
    }
}

/// Follows from the very beginning until both streams have told their last number.
async fn read_whole(frames: &mut Frames, last: u32) -> Vec<(u32, String)> {
    let mut seen = Vec::new();
    while seen.len() < last as usize {
        let frame = frames.next().await.expect("a line");
        assert_ne!(frame.event, "gap");
        if let Some(number) = number_of(&frame) {
            seen.push((number, frame.data["stream"].as_str().expect("a name").to_owned()));
        }
    }
    seen
}

#[tokio::test]
async fn the_last_lines_of_both_streams_come_with_their_times() {
    let (daemon, llm) = (Daemon::builder().switched().start().await, FakeLlm::start().await);
    assert_eq!(daemon.get(LOGS).await.status, 404);
    chatterbox(&daemon, &llm, 50).await;
    daemon.runtime().speak();
    let answer = wait_until(PATIENCE, "everything is said", async || {
        let answer = daemon.get(&format!("{LOGS}?lines=10000")).await;
        answer.body.to_string().contains("chatter 49").then_some(answer)
    })
    .await;
    let data = answer.data();
    assert_eq!(data["formation_id"], "hello");
    let entries = data["entries"].as_array().expect("a list");
    let ats: Vec<&str> = entries.iter().map(|it| it["at"].as_str().expect("a time")).collect();
    assert!(ats.is_sorted() && ats.iter().all(|at| at.len() == 27), "{ats:?}");
    assert!(entries.iter().all(|entry| entry["instance"] == 1), "{entries:?}");
    let seen: Vec<(u32, String)> = entries
        .iter()
        .filter_map(|entry| {
            let number = number(entry["line"].as_str()?)?;
            Some((number, entry["stream"].as_str()?.to_owned()))
        })
        .collect();
    assert_whole(&seen, 50);
    let count = |stream: &str| data["logs"][stream].as_array().expect("a list").len();
    assert_eq!(data["total_lines"], json!({"stdout": count("stdout"), "stderr": count("stderr")}));

    // Each parameter of the original and its SDKs.
    let lines = |answer: &Answer, stream: &str| answer.data()["logs"][stream].clone();
    let answer = daemon.get(&format!("{LOGS}?lines=2&stream=stdout")).await;
    assert_eq!(lines(&answer, "stdout"), json!(["chatter 48", "chatter 49"]));
    assert_eq!(answer.data()["logs"].as_object().expect("an object").len(), 1);
    let answer = daemon.get(&format!("{LOGS}?limit=1")).await;
    assert_eq!(lines(&answer, "stderr"), json!(["chatter 50"]));
    for ignored in ["?lines=many", "?lines=-3", "?lines="] {
        let answer = daemon.get(&format!("{LOGS}{ignored}")).await;
        assert!(answer.data()["logs"]["stdout"].as_array().is_some_and(|it| it.len() >= 45));
        assert_eq!(answer.data()["warnings"].as_array().expect("a list").len(), 1);
    }
    let answer = daemon.get(&format!("{LOGS}?stream=both")).await;
    assert_eq!((answer.status, &answer.data()["logs"]), (200, &json!({})));

    // Time and place.
    let entry = &entries[entries.len() - 5];
    let at = entry["at"].as_str().expect("a time");
    let later = ats.iter().filter(|it| **it >= at).count();
    let answer = daemon.get(&format!("{LOGS}?since={at}&lines=10000")).await;
    assert_eq!(answer.data()["entries"].as_array().expect("a list").len(), later);
    let answer = daemon.get(&format!("{LOGS}?since=0s")).await;
    assert_eq!(answer.data()["entries"], json!([]));
    let cursor = entry["cursor"].as_str().expect("a place");
    let answer = daemon.get(&format!("{LOGS}?after={cursor}")).await;
    assert_eq!(answer.data()["entries"].as_array().expect("a list").len(), 4);
    let answer = daemon.get(&format!("{LOGS}?since=soon&instance=x")).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("ValidationError")));
    assert_eq!(answer.body["details"].as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn a_follower_sees_every_line_once_over_many_rotations() {
    const LINES: u32 = 30_000;
    let config = json!({"formations": {"log_max_size": "64K", "log_max_files": 1000}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    chatterbox(&daemon, &llm, LINES).await;
    let mut early = follow(&daemon, "&lines=10000").await;
    assert_eq!(early.next().await.expect("a frame").event, "connected");
    daemon.runtime().speak();
    assert_whole(&read_whole(&mut early, LINES).await, LINES);
    let segments = fs::read_dir(daemon.data_dir().join("logs/hello")).expect("the log").count();
    assert!(segments > 20, "it rotated: {segments}");
    let answer = daemon.get(&format!("{LOGS}?lines=10000&stream=stdout")).await;
    assert_eq!(answer.data()["logs"]["stdout"][9_999], format!("chatter {}", LINES - 1));
    let total: u64 = answer.data()["total_lines"]["stdout"].as_u64().expect("a count");
    assert!(total >= u64::from(LINES / 10 * 9), "{total}");
}

#[tokio::test]
async fn following_since_a_time_begins_with_the_first_line_however_many_came() {
    const LINES: u32 = 15_000;
    let config = json!({"formations": {"log_max_size": "64K", "log_max_files": 1000}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    chatterbox(&daemon, &llm, LINES).await;
    let mut early = follow(&daemon, "").await;
    daemon.runtime().speak();
    early.until(|frame| number_of(frame) == Some(LINES)).await;
    let mut late = follow(&daemon, "&since=1h").await;
    assert_whole(&read_whole(&mut late, LINES).await, LINES);
    // Who asks for fewer gets the last of them.
    let mut few = follow(&daemon, "&since=1h&lines=10").await;
    let first = few.until(|frame| number_of(frame).is_some()).await;
    assert!(number_of(&first) > Some(LINES - 200), "{first:?}");
}

#[tokio::test]
async fn a_log_keeps_to_its_size() {
    let config = json!({"formations": {"log_max_size": "64K", "log_max_files": 3}});
    let daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    chatterbox(&daemon, &llm, 20_000).await;
    let mut frames = follow(&daemon, "").await;
    daemon.runtime().speak();
    frames.until(|frame| number_of(frame) == Some(20_000)).await;
    let segments: Vec<u64> = fs::read_dir(daemon.data_dir().join("logs/hello"))
        .expect("the log")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .filter(|bytes| *bytes > 0)
        .collect();
    assert!(segments.len() <= 3, "{segments:?}");
    assert!(segments.iter().all(|bytes| *bytes <= (64 << 10) + (70 << 10)), "{segments:?}");
}

#[tokio::test]
async fn a_follower_goes_on_where_it_was_and_ends_with_the_formation() {
    let (mut daemon, llm) = (Daemon::builder().switched().start().await, FakeLlm::start().await);
    chatterbox(&daemon, &llm, 30).await;
    daemon.runtime().speak();
    let stream = format!("{LOGS}/stream");
    let mut frames = Frames::of(daemon.request("GET", &stream)).await;
    let tenth = frames.until(|frame| number_of(frame) == Some(10)).await;
    assert_eq!((&tenth.data["stream"], &tenth.data["instance"]), (&json!("stderr"), &json!(1)));
    let known = frames.until(|frame| number_of(frame) == Some(20)).await;
    let resumed = |daemon: &Daemon, id: &str| {
        Frames::of(daemon.request("GET", &stream).header("Last-Event-ID", id.to_owned()))
    };
    let mut first = resumed(&daemon, &known.id).await;
    let mut second = resumed(&daemon, &known.id).await;
    first.until(|frame| number_of(frame) == Some(30)).await;
    let frame = second.until(|frame| frame.data["stream"] == "stderr").await;
    assert_eq!(number_of(&frame), Some(30), "the twentieth was known");

    // The manager stops: the follower is told so, and goes on with the next one.
    daemon.terminate().await;
    let last = first.rest().await.pop().expect("a last frame");
    assert_eq!((last.event.as_str(), &last.data["reason"]), ("end", &json!("manager_stopped")));
    daemon.start_again().await;
    daemon.wait_status("hello", "running").await;
    let mut frames = resumed(&daemon, &frame.id).await;
    let later = frames.until(|frame| frame.data["instance"] == 2).await;
    assert!(later.data["at"].as_str() > frame.data["at"].as_str());

    let deleted = daemon.delete("/rpc/formations/hello").await;
    assert_eq!(deleted.status, 200);
    let last = frames.rest().await.pop().expect("a last frame");
    assert_eq!((last.event.as_str(), &last.data["reason"]), ("end", &json!("deleted")));
    assert_eq!(daemon.get(LOGS).await.status, 404);
    let left = fs::read_dir(daemon.data_dir().join("logs/hello")).expect("log files stay").count();
    assert!(left > 0);
    assert_eq!(daemon.processes(), [0u32; 0]);
}

#[tokio::test]
async fn no_line_is_lost_when_the_manager_is_killed() {
    const LINES: u32 = 30_000;
    let config = json!({"formations": {"log_max_size": "64K", "log_max_files": 1000}});
    let mut daemon = Daemon::builder().config(config).switched().start().await;
    let llm = FakeLlm::start().await;
    chatterbox(&daemon, &llm, LINES).await;
    let pid = daemon.instance_pid("hello").await;
    let mut frames = follow(&daemon, "").await;
    daemon.runtime().speak();
    frames.until(|frame| number_of(frame).is_some()).await;
    daemon.kill9();
    daemon.start_again().await;
    let mut frames = follow(&daemon, "&after=0-0").await;
    assert_whole(&read_whole(&mut frames, LINES).await, LINES);
    assert_eq!(daemon.instance_pid("hello").await, pid);
}

#[tokio::test]
async fn a_log_writer_that_is_killed_is_replaced_and_nobody_else_notices() {
    let (mut daemon, llm) = (Daemon::builder().switched().start().await, FakeLlm::start().await);
    let formation = chatterbox(&daemon, &llm, 100).await;
    let pid = daemon.instance_pid("hello").await;
    let [writer] = daemon.log_writers()[..] else { panic!("{:?}", daemon.log_writers()) };
    signal(writer, Signal::KILL);
    let second = wait_until(PATIENCE, "there is another writer", async || {
        daemon.log_writers().into_iter().find(|it| *it != writer)
    })
    .await;
    // It does not end before its instance, not even when it is asked to.
    signal(second, Signal::TERM);

    // With nobody there to read, the instance goes on all the same.
    daemon.kill9();
    signal(second, Signal::KILL);
    wait_until(PATIENCE, "no writer is left", async || {
        daemon.log_writers().is_empty().then_some(())
    })
    .await;
    assert_eq!(formation.say("into the void").await.status, 200);
    daemon.start_again().await;
    wait_until(PATIENCE, "there is a writer", async || daemon.log_writers().pop()).await;
    daemon.runtime().speak();
    let mut frames = follow(&daemon, "&after=0-0").await;
    assert_whole(&read_whole(&mut frames, 100).await, 100);
    assert_eq!(daemon.instance_pid("hello").await, pid);
    assert_eq!(daemon.log_writers().len(), 1);

    // The adopted log ends with its instance.
    signal(pid, Signal::KILL);
    wait_until(PATIENCE, "there is another process", async || {
        let new: Value = daemon.view("hello").await["pid"].clone();
        (new != json!(pid) && new != json!(0)).then_some(())
    })
    .await;
    wait_until(Duration::from_secs(5), "one writer is left", async || {
        (daemon.log_writers().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deploy_that_dies_reports_only_its_own_last_words() {
    let (daemon, llm) = (Daemon::builder().switched().start().await, FakeLlm::start().await);
    for words in ["first fault\n", "second fault\nand its detail\n"] {
        daemon.runtime().break_down(words);
        let answer = daemon.deploy(bundle("hello", &llm.base_url())).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let expected: Vec<&str> = words.lines().collect();
        assert_eq!(answer.body["details"], json!(expected));
        let message = answer.body["message"].as_str().expect("a text");
        assert!(message.starts_with("Formation crashed during startup: "), "{message}");
        assert!(message.ends_with(expected[expected.len() - 1]), "{message}");
    }
}
