//! Versions follow one another, and go by age or by their user's wish.

use super::*;

promises![
    versions_follow_each_other_and_go_together,
    artifacts_go_when_they_are_older_than_asked,
    an_artifact_belongs_to_its_request_and_its_key,
];

fn artifact(id: &str, name: &str, turn: TurnId, at_ms: i64) -> NewArtifact {
    NewArtifact {
        id: id.to_owned(),
        name: name.to_owned(),
        content_type: "image/png".to_owned(),
        size_bytes: 3,
        sha256: "abc".to_owned(),
        sealed_by: Some("k".to_owned()),
        agent: "helper".to_owned(),
        session: session("s"),
        turn,
        at_ms,
    }
}

fn ids(found: &[Artifact]) -> Vec<(&str, u32, bool)> {
    found.iter().map(|it| (it.id.as_str(), it.version, it.is_latest)).collect()
}

async fn versions_follow_each_other_and_go_together(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    let turn = alice.begin_turn(question("s", "draw", 1), 10).await.unwrap().id;
    let keep = async |whose: &UserStore, new| whose.keep_artifact(new, 3).await.unwrap();
    let first = keep(&alice, artifact("a1", "cat", turn, 10)).await.unwrap();
    assert_eq!((first.version, first.parent_id, first.is_latest), (1, None, true));
    keep(&alice, artifact("d1", "dog", turn, 11)).await.unwrap();
    let second = keep(&alice, artifact("a2", "cat", turn, 12)).await.unwrap();
    assert_eq!((second.version, second.parent_id.as_deref()), (2, Some("a1")));
    assert_eq!(keep(&bob, artifact("b1", "cat", turn, 13)).await.unwrap().version, 1);

    let alice = database.open().for_user(&user("alice"));
    let (latest, total) = alice.artifacts(10).await.unwrap();
    assert_eq!((ids(&latest), total), (vec![("a2", 2, true), ("d1", 1, true)], 2));
    assert_eq!(alice.artifacts(1).await.unwrap().1, 2);
    for id in ["a1", "a2"] {
        let versions = alice.artifact_versions(id).await.unwrap();
        assert_eq!(ids(&versions), [("a2", 2, true), ("a1", 1, false)]);
    }
    assert_eq!(alice.artifact("b1").await.unwrap(), None);
    assert!(alice.delete_artifact("b1").await.unwrap().is_empty());
    keep(&alice, artifact("d2", "dog", turn, 14)).await.unwrap();
    let refused = keep(&alice, artifact("d3", "dog", turn, 15)).await;
    assert_eq!(refused, Err(ArtifactRefusal::TooMany));

    let mut gone = alice.delete_artifact("a1").await.unwrap();
    gone.sort();
    assert_eq!(gone, ["a1", "a2"]);
    assert_eq!(alice.artifacts(10).await.unwrap().1, 1);
    let known = store.known_artifacts(["a1", "d1", "b1", "x"].map(str::to_owned).into());
    let mut known: Vec<_> = known.await.unwrap().into_iter().collect();
    known.sort();
    assert_eq!(known, ["b1", "d1"]);
}

async fn artifacts_go_when_they_are_older_than_asked(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("alice"));
    let turn = alice.begin_turn(question("s", "draw", 1), 10).await.unwrap().id;
    for (id, at_ms) in [("a", 10), ("b", 20), ("c", 30)] {
        alice.keep_artifact(artifact(id, id, turn, at_ms), 10).await.unwrap().unwrap();
    }
    alice.artifact_was_read("a", 40).await.unwrap();
    alice.artifact_was_read("a", 5).await.unwrap();
    assert_eq!(alice.artifact("a").await.unwrap().unwrap().accessed_ms, 40);
    let forget = |age, before_ms| store.forget_artifacts(age, before_ms, 1);
    assert_eq!(forget(ArtifactAge::SinceRead, 30).await.unwrap(), ["b"]);
    assert!(forget(ArtifactAge::SinceRead, 30).await.unwrap().is_empty());
    assert_eq!(forget(ArtifactAge::SinceMade, 30).await.unwrap(), ["a"]);
    assert_eq!(ids(&alice.artifacts(10).await.unwrap().0), [("c", 1, true)]);
}

async fn an_artifact_belongs_to_its_request_and_its_key(database: &Database) {
    let store = database.open();
    let alice = store.for_user(&user("alice"));
    assert!(!store.has_sealed_artifacts().await.unwrap());
    let first = alice.begin_turn(question("s", "draw", 1), 10).await.unwrap();
    let second = alice.begin_turn(question("s", "draw", 2), 10).await.unwrap();
    for (id, turn) in [("a", first.id), ("b", second.id), ("c", first.id)] {
        alice.keep_artifact(artifact(id, id, turn, 3), 10).await.unwrap().unwrap();
    }
    let of_first = alice.artifacts_of(first.request).await.unwrap();
    assert_eq!(ids(&of_first), [("a", 1, true), ("c", 1, true)]);
    let bob = store.for_user(&user("bob"));
    assert!(bob.artifacts_of(first.request).await.unwrap().is_empty());
    assert!(store.has_sealed_artifacts().await.unwrap());
    for key in ["j", "l"] {
        let sealed_by = Some(key.to_owned());
        let other = NewArtifact { sealed_by, ..artifact("d", "d", first.id, 4) };
        assert_eq!(alice.keep_artifact(other, 10).await.unwrap(), Err(ArtifactRefusal::OtherKey));
    }
    let open = NewArtifact { sealed_by: None, ..artifact("e", "e", first.id, 4) };
    assert_eq!(alice.keep_artifact(open, 10).await.unwrap().unwrap().sealed_by, None);

    let noted = Some(r#"["one was too large"]"#.to_owned());
    let end = TurnEnd { warnings: noted.clone(), ..answer(Outcome::Completed, "", 5) };
    alice.end_turn(first.id, end).await.unwrap();
    let id = store.all_requests(10).await.unwrap()[1].id.clone();
    assert_eq!(alice.request(&id).await.unwrap().unwrap().warnings, noted);
}
