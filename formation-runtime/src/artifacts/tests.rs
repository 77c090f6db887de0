use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use muxi_formation::manifest::ArtifactRetention;
use muxi_memory::{Location, NewTurn, RequestKind, RequestMode, Retention};

use super::*;

/// Artifacts in a folder of their own, and a clock that goes when it is told to.
struct Fixture {
    folder: tempfile::TempDir,
    artifacts: Artifacts,
    days: Arc<AtomicI64>,
    user: UserId,
    turn: TurnId,
}

impl Fixture {
    async fn new(config: Config, per_user_max: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention { messages_per_session: 9, sessions: 9, memories: 9 };
        let store = Store::open(&Location::Process(retention)).unwrap();
        let user: UserId = "alice".parse().unwrap();
        let turn = NewTurn {
            session: "s".parse().unwrap(),
            request_id: "r".parse().unwrap(),
            agent: "helper".to_owned(),
            text: "draw".to_owned(),
            files: None,
            is_tainted: false,
            kind: RequestKind::Chat,
            mode: RequestMode::Sync,
            accepted: None,
            at_ms: 0,
        };
        let turn = store.for_user(&user).begin_turn(turn, 0).await.unwrap().id;
        let (days, start) = (Arc::new(AtomicI64::new(0)), Timestamp::now());
        let turned = Arc::clone(&days);
        let clock = Clock::from_fn(move || {
            let passed = std::time::Duration::from_hours(24)
                * u32::try_from(turned.load(Ordering::Relaxed)).unwrap();
            start + passed
        });
        let artifacts = Artifacts::new(config, store, folder.path(), clock, per_user_max);
        Self { folder, artifacts, days, user, turn }
    }

    async fn keep(&self, name: &str) -> Result<Artifact, KeepError> {
        let file = NewFile {
            name: name.to_owned(),
            content_type: "text/plain".to_owned(),
            bytes: Bytes::from(format!("the bytes of {name}")),
            agent: "helper".to_owned(),
            session: "s".parse().unwrap(),
            turn: self.turn,
        };
        self.artifacts.keep(&self.user, file).await
    }

    fn is_on_disk(&self, artifact: &Artifact) -> bool {
        self.artifacts.blobs.read(&artifact.id).is_ok()
    }
}

fn kept_for(days: u32, policy: RetentionPolicy) -> Config {
    Config { retention: ArtifactRetention { policy, days }, ..Config::default() }
}

#[tokio::test]
async fn old_artifacts_go_with_their_bytes() {
    for (policy, left) in
        [(RetentionPolicy::LastAccessed, vec!["read"]), (RetentionPolicy::LastUpdated, vec![])]
    {
        let fixture = Fixture::new(kept_for(10, policy), 9).await;
        let (unread, read) =
            (fixture.keep("unread").await.unwrap(), fixture.keep("read").await.unwrap());
        fixture.days.store(9, Ordering::Relaxed);
        assert_eq!(fixture.artifacts.sweep().await.unwrap(), Swept::default());
        let store = fixture.artifacts.store.for_user(&fixture.user);
        store.artifact_was_read(&read.id, fixture.artifacts.clock.now_ms()).await.unwrap();
        fixture.days.store(11, Ordering::Relaxed);
        let swept = fixture.artifacts.sweep().await.unwrap();
        assert_eq!(swept, Swept { expired: 2 - left.len(), orphans: 0 });
        let names = store.artifacts(9).await.unwrap().0.into_iter().map(|it| it.name);
        assert_eq!(names.collect::<Vec<_>>(), left);
        assert!(!fixture.is_on_disk(&unread));
        assert_eq!(fixture.is_on_disk(&read), !left.is_empty());
    }
}

#[tokio::test]
async fn without_a_duration_nothing_goes_and_what_no_row_knows_does() {
    let fixture = Fixture::new(kept_for(0, RetentionPolicy::LastAccessed), 9).await;
    let kept = fixture.keep("kept").await.unwrap();
    let orphan = blobs::new_id();
    fixture.artifacts.blobs.write(&orphan, b"of a process that died").unwrap();
    // Somebody may just be writing it.
    assert_eq!(fixture.artifacts.sweep().await.unwrap(), Swept::default());
    fixture.days.store(10_000, Ordering::Relaxed);
    assert_eq!(fixture.artifacts.sweep().await.unwrap(), Swept { expired: 0, orphans: 1 });
    assert!(fixture.artifacts.blobs.read(&orphan).is_err());
    assert_eq!(fixture.artifacts.read(&fixture.user, &kept).await.unwrap(), "the bytes of kept");
}

#[tokio::test]
async fn what_is_refused_leaves_no_bytes_and_other_users_bytes_do_not_open() {
    let fixture = Fixture::new(Config::default(), 1).await;
    let kept = fixture.keep("kept").await.unwrap();
    assert!(matches!(fixture.keep("more").await, Err(KeepError::TooMany(1))));
    fixture.days.store(1, Ordering::Relaxed);
    assert_eq!(fixture.artifacts.sweep().await.unwrap(), Swept::default());
    let bob = "bob".parse().unwrap();
    let opened = fixture.artifacts.read(&bob, &kept).await;
    assert!(matches!(opened, Err(ReadError::Changed(_))), "{opened:?}");
    std::fs::remove_file(fixture.folder.path().join("artifacts.key")).unwrap();
    assert!(matches!(fixture.keep("more").await, Err(KeepError::Safe(SafeError::Missing(_)))));
}
