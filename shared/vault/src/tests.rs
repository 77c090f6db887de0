use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn exposed(vault: &Vault) -> Vec<(String, String)> {
    let value = |name: &str| vault.get(name).unwrap().expose_secret().to_owned();
    vault.names().map(|name| (name.to_owned(), value(name))).collect()
}

/// Written by another implementation: `tests/golden/make.py` says how.
const GOLDEN_KEY: &str = include_str!("../tests/golden/key.txt");
const GOLDEN_TOKEN: &str = include_str!("../tests/golden/secrets.enc");

#[test]
fn a_file_of_the_original_tools_opens() {
    let folder = folder(&[(KEY_FILE, GOLDEN_KEY), (SECRETS_FILE, GOLDEN_TOKEN)]);
    let vault = Vault::open(folder.path()).unwrap().unwrap();
    let expected = [
        ("EMPTY", ""),
        ("FORMATION_ADMIN_API_KEY", "fma_0123456789"),
        ("OPENAI_API_KEY", "sk-test \"quoted\" \\ and\nnew line"),
        ("UNICODE", "clé ключ 鍵 🔑"),
    ];
    assert_eq!(exposed(&vault), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[test]
fn names_meet_in_their_normal_form() {
    for (written, normal) in [
        ("OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("openai-api key", "OPENAI_API_KEY"),
        ("__a..b__", "A_B"),
        ("x1", "X1"),
        ("...", ""),
    ] {
        assert_eq!(normalize_name(written), normal, "{written}");
    }
}

#[test]
fn a_bundle_without_secrets_has_no_vault() {
    assert!(Vault::open(folder(&[(KEY_FILE, GOLDEN_KEY)]).path()).unwrap().is_none());
}

#[test]
fn each_unreadable_vault_says_why() {
    let other_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let opened = |files: &[(&str, &str)]| Vault::open(folder(files).path()).unwrap_err();
    assert!(matches!(opened(&[(SECRETS_FILE, GOLDEN_TOKEN)]), VaultError::KeyMissing { .. }));
    assert!(matches!(
        opened(&[(SECRETS_FILE, GOLDEN_TOKEN), (KEY_FILE, "c2hvcnQ=")]),
        VaultError::KeyMalformed { .. }
    ));
    assert!(matches!(
        opened(&[(SECRETS_FILE, GOLDEN_TOKEN), (KEY_FILE, other_key)]),
        VaultError::Token { source: TokenFault::Mac, .. }
    ));
    assert!(matches!(
        opened(&[(SECRETS_FILE, "gAAA"), (KEY_FILE, GOLDEN_KEY)]),
        VaultError::Token { source: TokenFault::Short, .. }
    ));
    assert!(matches!(
        opened(&[(SECRETS_FILE, &"A".repeat(2 * 1024 * 1024)), (KEY_FILE, GOLDEN_KEY)]),
        VaultError::TooLarge { .. }
    ));
}

#[test]
fn decrypted_text_of_another_shape_is_refused_without_being_quoted() {
    let key = fernet::Key::from_base64(GOLDEN_KEY.trim().as_bytes()).unwrap();
    for json in [r#"{"A": 40404}"#, r#"["hunter2"]"#, "hunter2", r#"{"A": {"B": "hunter2"}}"#] {
        let token = fernet::encrypt(&key, json.as_bytes(), 0).unwrap();
        let folder = folder(&[(SECRETS_FILE, &token), (KEY_FILE, GOLDEN_KEY)]);
        let error = Vault::open(folder.path()).unwrap_err();
        assert!(matches!(error, VaultError::Content { .. }), "{json}");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2") && !told.contains("40404"), "{told}");
    }
    let token = fernet::encrypt(&key, br#"{"a b": "1", "A_B": "2"}"#, 0).unwrap();
    let folder = folder(&[(SECRETS_FILE, &token), (KEY_FILE, GOLDEN_KEY)]);
    assert!(matches!(Vault::open(folder.path()), Err(VaultError::NameTwice { .. })));
}

#[test]
fn saving_makes_a_private_key_once_and_leaves_nothing_else_behind() {
    let folder = folder(&[]);
    let mut vault = Vault::default();
    vault.set("api key", SecretString::from("one")).unwrap();
    vault.save(folder.path(), 1).unwrap();
    let key = fs::read(folder.path().join(KEY_FILE)).unwrap();
    vault.set("API_KEY", SecretString::from("two")).unwrap();
    vault.save(folder.path(), 2).unwrap();

    assert_eq!(fs::read(folder.path().join(KEY_FILE)).unwrap(), key);
    let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let opened = Vault::open(folder.path()).unwrap().unwrap();
    assert_eq!(exposed(&opened), [("API_KEY".to_owned(), "two".to_owned())]);
}

#[test]
fn changes_of_several_writers_are_all_kept_and_a_failed_one_changes_nothing() {
    let folder = folder(&[]);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let folder = folder.path();
            scope.spawn(move || {
                Vault::change(folder, 0, |vault| vault.set(&format!("A{writer}"), "x".into()))
            });
        }
    });
    let names = || Vault::open(folder.path()).unwrap().unwrap().names().count();
    assert_eq!(names(), 8);
    let refused = Vault::change(folder.path(), 0, |vault| {
        vault.remove("A1");
        vault.set("--", "x".into())
    });
    assert!(refused.is_err());
    let huge = "x".repeat(1024 * 1024);
    let refused = Vault::change(folder.path(), 0, |vault| vault.set("HUGE", huge.into()));
    assert!(matches!(refused, Err(VaultError::TooLarge { .. })));
    assert_eq!(names(), 8);

    // Without its key, what is there cannot be changed, and must not be lost.
    fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
    let before = fs::read(folder.path().join(SECRETS_FILE)).unwrap();
    let refused = Vault::change(folder.path(), 0, |vault| vault.set("B", "x".into()));
    assert!(matches!(refused, Err(VaultError::KeyMissing { .. })));
    assert_eq!(fs::read(folder.path().join(SECRETS_FILE)).unwrap(), before);
}

#[test]
fn a_vault_does_not_show_its_values() {
    let mut vault = Vault::default();
    vault.set("A", SecretString::from("hunter2")).unwrap();
    assert!(format!("{vault:?}").contains('A'));
    assert!(!format!("{vault:?}").contains("hunter2"));
    assert!(vault.set("--", SecretString::from("x")).is_err());
}

proptest! {
    #[test]
    fn what_is_saved_is_opened(secrets in proptest::collection::btree_map("[A-Z0-9]{1,8}", ".*", 0..6)) {
        let folder = folder(&[]);
        let mut vault = Vault::default();
        for (name, value) in &secrets {
            vault.set(name, SecretString::from(value.as_str())).unwrap();
        }
        vault.save(folder.path(), 0).unwrap();
        let opened = Vault::open(folder.path()).unwrap().unwrap();
        prop_assert_eq!(exposed(&opened), secrets.into_iter().collect::<Vec<_>>());
    }
}
