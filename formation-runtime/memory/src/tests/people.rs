//! Identifiers that are linked act as one person, and as themselves when they are not.

use super::*;

promises![
    an_identifier_of_nobody_acts_as_itself,
    linked_identifiers_act_as_one_person,
    an_unlinked_identifier_sees_nothing_of_the_person,
    what_is_somebody_elses_is_not_linked,
];

fn named(name: &str) -> NewIdentifier {
    NewIdentifier { identifier: user(name), kind: Some("email".to_owned()) }
}

async fn acting(store: &Store, name: &str) -> UserId {
    store.acting_user(&user(name)).await.unwrap()
}

async fn an_identifier_of_nobody_acts_as_itself(database: &Database) {
    let store = database.open();
    assert_eq!(acting(&store, "alice").await, user("alice"));
    assert_eq!(store.person(&user("alice")).await.unwrap(), None);
    let (alice, is_new) = store.person_or_new(named("alice"), 1).await.unwrap();
    assert!(is_new);
    // What there was already is still theirs.
    assert_eq!(acting(&store, "alice").await, user("alice"));
    assert_eq!(acting(&store, alice.as_str()).await, user("alice"));
    let again = database.open().person_or_new(named("alice"), 2).await.unwrap();
    assert_eq!(again, (alice.clone(), false));
    let found = store.identifiers(&alice).await.unwrap().unwrap();
    let kind = Some("email".to_owned());
    assert_eq!(found, [Identifier { identifier: user("alice"), kind, linked_ms: 1 }]);
}

async fn linked_identifiers_act_as_one_person(database: &Database) {
    let store = database.open();
    let both = vec![named("alice"), named("alice@example.org")];
    let alice = store.link_identifiers(None, both, 1).await.unwrap().unwrap();
    let more = vec![named("slack:7"), named("alice")];
    let same = store.link_identifiers(Some(alice.clone()), more, 2).await.unwrap();
    assert_eq!(same, Ok(alice.clone()));
    for name in ["alice", "alice@example.org", "slack:7", alice.as_str()] {
        assert_eq!(acting(&store, name).await, user("alice"), "{name}");
        assert_eq!(store.person(&user(name)).await.unwrap(), Some(alice.clone()));
    }
    let found = store.identifiers(&alice).await.unwrap().unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.identifier.as_str(), it.linked_ms)).collect();
    assert_eq!(found, [("alice", 1), ("alice@example.org", 1), ("slack:7", 2)]);
}

async fn an_unlinked_identifier_sees_nothing_of_the_person(database: &Database) {
    let store = database.open();
    let both = vec![named("alice"), named("second")];
    let alice = store.link_identifiers(None, both, 1).await.unwrap().unwrap();
    // The place of the person is that of the first one, who is about to lose it.
    for name in ["alice", "second"] {
        assert_eq!(store.unlink_identifier(&user(name)).await.unwrap(), Some(alice.clone()));
        assert_eq!(store.unlink_identifier(&user(name)).await.unwrap(), None);
    }
    let alone = acting(&store, "alice").await;
    assert_ne!(alone, user("alice"));
    assert_eq!(acting(&store, "second").await, user("second"));
    assert_eq!(acting(&store, alice.as_str()).await, user("alice"));

    // Whoever comes under the name now is another person, at a place of their own that stays.
    let (other, is_new) = store.person_or_new(named("alice"), 2).await.unwrap();
    assert!(is_new && other != alice);
    assert_eq!(acting(&store, "alice").await, alone);
    let back = vec![named("second")];
    store.link_identifiers(Some(alice.clone()), back, 3).await.unwrap().unwrap();
    assert_eq!(acting(&store, "second").await, user("alice"));
}

async fn what_is_somebody_elses_is_not_linked(database: &Database) {
    let store = database.open();
    let (alice, _) = store.person_or_new(named("alice"), 1).await.unwrap();
    let (bob, _) = store.person_or_new(named("bob"), 1).await.unwrap();
    let taken = Err(LinkRefusal::SomebodyElses(user("bob")));
    for whom in [Some(alice.clone()), None] {
        let all = vec![named("free"), named("bob")];
        assert_eq!(store.link_identifiers(whom, all, 2).await.unwrap(), taken);
    }
    // Nor can the id of a person be taken as a name.
    let id = vec![named(bob.as_str())];
    let refused = store.link_identifiers(Some(alice.clone()), id, 2).await.unwrap();
    assert_eq!(refused, Err(LinkRefusal::SomebodyElses(user(bob.as_str()))));
    assert_eq!(acting(&store, "free").await, user("free"));
    let nobody = muxi_contract::MuxiUserId::generate();
    let refused =
        store.link_identifiers(Some(nobody.clone()), vec![named("free")], 2).await.unwrap();
    assert_eq!(refused, Err(LinkRefusal::NoSuchPerson));
    assert_eq!(store.identifiers(&nobody).await.unwrap(), None);
}
