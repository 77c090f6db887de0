use jiff::Timestamp;
use muxi_formation::manifest::logging::{LineTarget, LogFile, SystemLog};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::events::{Event, EventKind, EventLog, Next};

fn wanted(path: &str) -> manifest::Logging {
    let file = LogFile { path: path.into(), size_max_bytes: 1 << 20, files_max: 2 };
    let target = LineTarget::File(file);
    manifest::Logging {
        system: SystemLog { level: None, target: target.clone() },
        streams: vec![manifest::LogStream {
            transport: LogTransport::Lines(LineTarget::File(LogFile {
                path: "chats.log".into(),
                size_max_bytes: 1 << 20,
                files_max: 2,
            })),
            level: manifest::LogLevel::Info,
            format: manifest::LogFormat::Text,
            events: Vec::new(),
        }],
        entities: None,
    }
}

#[tokio::test]
async fn what_has_no_room_is_counted_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let formation: FormationId = "under-test".parse().unwrap();
    let (redactor, clock) = (Redactor::default(), Clock::system());
    let limits = Limits { log_events_queued: 2, ..Limits::default() };
    let means = Means {
        formation: &formation,
        data_dir: folder.path(),
        redactor: &redactor,
        clock: &clock,
        limits: &limits,
    };
    let (logging, workers) = Logging::new(&wanted("system.log"), &means);
    let log = EventLog::feeding(logging.all().cloned().collect(), 100, 5);
    let at = Timestamp::from_millisecond(5).unwrap();
    let mut reader = log.read(None);
    for _ in 0..5 {
        log.tell(Event::new(EventKind::ChatStarted, at, "hello alice@example.com"));
    }
    let stream = &logging.streams[0];
    let state = stream.state();
    assert_eq!((state.queued, state.sent, state.dropped), (2, 0, 3));
    let mut told = Vec::new();
    for _ in 0..6 {
        let Next::Event(_, event) = reader.next().await else { panic!("nothing is lost here") };
        told.push(event.kind.name());
    }
    let (chat, dropped) = ("chat.started", "logging.dropped");
    assert_eq!(told, [chat, chat, chat, dropped, chat, chat]);

    // At the stop what is queued is written, and the news of the loss with it.
    let stop = CancellationToken::new();
    stop.cancel();
    for worker in workers {
        worker.run(stop.clone()).await;
    }
    assert_eq!((stream.state().queued, stream.state().sent), (0, 2));
    let chats = std::fs::read_to_string(folder.path().join("chats.log")).unwrap();
    assert_eq!(chats.lines().count(), 2);
    assert!(chats.lines().all(|line| line.ends_with("| hello [EMAIL_1]")), "{chats}");
    let system = std::fs::read_to_string(folder.path().join("system.log")).unwrap();
    assert!(system.contains("logging.dropped") && system.contains("streams[0]"), "{system}");
    // What comes after that is lost, and nobody waits.
    log.tell(Event::new(EventKind::ChatStarted, at, "late"));
    assert_eq!(stream.state().dropped, 4);
}
