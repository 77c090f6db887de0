use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::store::audit::{Filter, Verified};

const NOW_MS: i64 = 1_790_000_000_000;

struct Bench {
    recorder: Recorder,
    store: Store,
    tasks: TaskGroup,
    stopping: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let reserve = crate::disk::Reserve::new(folder.path().join("reserve"));
        let store = Store::open(&folder.path().join("manager.db"), reserve).unwrap();
        let stopping = CancellationToken::new();
        let tasks = TaskGroup::new(stopping.clone());
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let clock = Clock::from_fn(move || {
            jiff::Timestamp::from_millisecond(now_ms.fetch_add(1, Ordering::Relaxed)).unwrap()
        });
        let recorder = Recorder::new(
            store.clone(),
            Some(MasterKey::for_tests(1)),
            AuditConfig::default(),
            clock,
            tasks.clone(),
            stopping.clone(),
        );
        Self { recorder, store, tasks, stopping, _folder: folder }
    }

    async fn stored(&self) -> Vec<(String, u64)> {
        let page = self.store.read(|db| audit::page(db, &Filter::default(), None, 1_000)).await;
        page.unwrap().entries.into_iter().rev().map(|it| (it.action, it.count)).collect()
    }

    async fn verified(&self) -> Verified {
        self.store.read(|db| audit::verify(db, Some(&MasterKey::for_tests(1)))).await.unwrap()
    }

    async fn end(&self) {
        self.stopping.cancel();
        assert!(self.tasks.drain(Duration::from_secs(10)).await.is_empty());
    }
}

fn named(action: &str, count: u64) -> (String, u64) {
    (action.to_owned(), count)
}

#[tokio::test]
async fn a_durable_entry_is_in_the_store_and_others_come_along_in_order() {
    let bench = Bench::new();
    bench.recorder.open().await.unwrap();
    bench.recorder.record(own_entry("a", NOW_MS), false).await;
    bench.recorder.record(own_entry("b", NOW_MS), false).await;
    bench.recorder.record(own_entry("c", NOW_MS), true).await;
    assert_eq!(bench.stored().await, [named("a", 1), named("b", 1), named("c", 1)]);
    assert!(bench.verified().await.ok);
}

#[tokio::test]
async fn what_waits_is_written_at_the_end() {
    let bench = Bench::new();
    bench.recorder.record(own_entry("a", NOW_MS), false).await;
    bench.recorder.record_abandoned(own_entry("b", NOW_MS));
    bench.end().await;
    assert_eq!(bench.stored().await.len(), 2);
}

#[tokio::test]
async fn a_flood_of_strangers_becomes_one_entry() {
    let bench = Bench::new();
    for count in 0..1_000 {
        bench.recorder.record_stranger(own_entry("s", NOW_MS), count >= 900);
    }
    bench.end().await;
    let stored = bench.stored().await;
    let single = stored.iter().filter(|(action, _)| action == "s").count();
    assert!((300..400).contains(&single), "{single}");
    let counted: u64 = stored.iter().filter(|(action, _)| action == "refused").map(|it| it.1).sum();
    assert_eq!(u64::try_from(single).unwrap() + counted, 1_000);
}

#[tokio::test]
async fn the_manager_sees_a_change_while_it_runs() {
    let bench = Bench::new();
    bench.recorder.open().await.unwrap();
    for action in ["a", "b"] {
        bench.recorder.record(own_entry(action, NOW_MS), true).await;
    }
    let cut = bench.store.write(|tx| {
        tx.execute_batch(
            "DROP TRIGGER audit_is_pruned_by_checkpoint; DELETE FROM audit WHERE seq = 2",
        )?;
        Ok(())
    });
    cut.await.unwrap();
    bench.recorder.record(own_entry("c", NOW_MS), true).await;
    let stored = bench.stored().await;
    assert_eq!(stored, [named("a", 1), named("audit.changed_from_outside", 1), named("c", 1)]);
}

#[tokio::test]
async fn a_broken_seal_is_noted_at_the_start() {
    let bench = Bench::new();
    bench.recorder.record(own_entry("a", NOW_MS), true).await;
    let cut = bench.store.write(|tx| {
        tx.execute_batch("DROP TRIGGER audit_is_pruned_by_checkpoint; DELETE FROM audit")?;
        Ok(())
    });
    cut.await.unwrap();
    assert!(!bench.verified().await.ok);
    bench.recorder.open().await.unwrap();
    assert_eq!(bench.stored().await, [named("audit.seal_broken", 1)]);
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut queue = Queue::default();
    for _ in 0..QUEUED_MAX + 5 {
        queue.push(own_entry("a", NOW_MS), None);
    }
    let (taken, _) = queue.take();
    let last = &taken.last().unwrap().entry;
    assert_eq!((last.action.as_str(), last.count), ("audit.lost", 5));
    queue.put_back(taken);
    assert_eq!((queue.entries.len(), queue.lost), (QUEUED_MAX, 1));
}
