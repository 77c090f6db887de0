//! Credentials are their users' own, and all sealed with one key.

use super::*;

promises![credentials_are_their_users_own_and_sealed_with_one_key];

fn sealed(id: &str, name: &str, sealed_by: &str) -> SealedCredential {
    SealedCredential {
        id: id.to_owned(),
        service: "github".to_owned(),
        name: name.to_owned(),
        sealed: vec![0, 255, 7],
        sealed_by: sealed_by.to_owned(),
        created_ms: 1,
        updated_ms: 1,
    }
}

async fn credentials_are_their_users_own_and_sealed_with_one_key(database: &Database) {
    let store = database.open();
    let (alice, bob) = (store.for_user(&user("alice")), store.for_user(&user("bob")));
    assert!(!store.has_credentials().await.unwrap());
    let keep = async |whose: &UserStore, new| whose.keep_credential(new, 1).await.unwrap();
    assert_eq!(keep(&alice, sealed("a", "work", "k")).await, Ok(()));
    assert_eq!(keep(&alice, sealed("b", "work", "k")).await, Err(NotKept::NameTaken));
    assert_eq!(keep(&bob, sealed("c", "work", "other")).await, Err(NotKept::OtherKey));
    assert_eq!(keep(&bob, sealed("c", "work", "k")).await, Ok(()));
    assert_eq!(keep(&alice, sealed("d", "home", "k")).await, Ok(()));
    assert_eq!(keep(&alice, sealed("e", "more", "k")).await, Err(NotKept::TooMany));

    let alice = database.open().for_user(&user("alice"));
    let ids: Vec<_> = alice.credentials().await.unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(ids, ["d", "a"]);
    assert_eq!(alice.credential("a").await.unwrap(), Some(sealed("a", "work", "k")));
    assert_eq!(bob.credential("a").await.unwrap(), None);
    assert!(!bob.delete_credential("a").await.unwrap());
    assert!(alice.delete_credential("a").await.unwrap());
    assert_eq!(alice.credential("a").await.unwrap(), None);
    assert!(store.has_credentials().await.unwrap());
}
