use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::Request;
use jiff::Timestamp;

use super::keys::Wanted;
use super::*;

const NOW: i64 = 1_790_000_000;
const PATH: &str = "/rpc/formations";
const STRANGE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

fn open_store(database: &Path) -> Store {
    let reserve = crate::disk::Reserve::new(database.with_extension("reserve"));
    Store::open(database, reserve).unwrap()
}

struct Bench {
    auth: Auth,
    config: Arc<Config>,
    store: Store,
    now_s: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(auth: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("manager.db");
        let store = open_store(&database);
        let now_s = Arc::new(AtomicI64::new(NOW));
        let time = Arc::clone(&now_s);
        let clock =
            Clock::from_fn(move || Timestamp::from_second(time.load(Ordering::Relaxed)).unwrap());
        let auth = serde_yaml::from_str(auth).unwrap();
        let config = Arc::new(Config { auth, ..Config::default() });
        let connection = crate::store::connect_beside(&database).unwrap();
        let master_key = folder.path().join("config/manager.key");
        let auth = Auth::open(&config, &master_key, &connection, store.clone(), clock).unwrap();
        Self { auth, config, store, now_s, _folder: folder }
    }

    async fn admit(&self, path: &str, header: Option<&str>) -> Result<Admitted, Refused> {
        let mut request = Request::get(path);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let (parts, _) = request.body(Body::empty()).unwrap().into_parts();
        self.auth.admit(&self.config, &parts, STRANGE).await
    }

    async fn says(&self, path: &str, header: &str) -> String {
        match self.admit(path, Some(header)).await {
            Ok(admitted) => format!("{} {}", admitted.principal.key_id, admitted.principal.role),
            Err(refused) => refused.refusal.to_string(),
        }
    }

    /// As another process would.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection, &KeyRules) -> Result<T, keys::KeyError> + Send + 'static,
    ) -> T {
        let rules = self.auth.rules(&self.config);
        self.store.write(move |tx| Ok(act(tx, &rules))).await.unwrap().unwrap()
    }
}

const TWO: &str = "{keys: [{id: one, secret: s1}, {id: two, secret: s2, role: read}]}";

fn signed(id: &str, secret: &str, at: i64) -> String {
    signature::header(id, secret, at, "GET", PATH)
}

#[tokio::test]
async fn every_configured_key_is_let_in_with_its_role() {
    let bench = Bench::new(TWO);
    assert_eq!(bench.says(PATH, &signed("one", "s1", NOW)).await, "one admin");
    assert_eq!(bench.says(PATH, &signed("two", "s2", NOW)).await, "two read");
}

#[tokio::test]
async fn the_path_may_be_signed_with_or_without_its_query_or_decoded() {
    let bench = Bench::new(TWO);
    for path in ["/rpc/a%2Db", "/rpc/a%2Db?x=1", "/rpc/a-b"] {
        let header = signature::header("one", "s1", NOW, "GET", path);
        assert!(bench.admit("/rpc/a%2Db?x=1", Some(&header)).await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn each_fault_has_its_own_words() {
    let bench = Bench::new(TWO);
    let other = |method, path| signature::header("one", "s1", NOW, method, path);
    let cases = [
        ("Bearer x".to_owned(), "Invalid authorization header format"),
        (signed("three", "s1", NOW), "Invalid key"),
        (signed("one", "s1", NOW - 301), "Request expired (timestamp too old or in future)"),
        (signed("one", "s1", NOW + 301), "Request expired (timestamp too old or in future)"),
        (signed("one", "s2", NOW), "Invalid signature"),
        (other("POST", PATH), "Invalid signature"),
        (other("GET", "/rpc/other"), "Invalid signature"),
    ];
    for (header, words) in cases {
        assert_eq!(bench.says(PATH, &header).await, words, "{header}");
    }
    for header in [None, Some("")] {
        let refused = bench.admit(PATH, header).await.unwrap_err();
        assert_eq!(refused.refusal.to_string(), "Missing authorization header");
    }
    assert!(bench.admit(PATH, Some(&signed("one", "s1", NOW - 300))).await.is_ok());
}

#[tokio::test]
async fn made_rotated_and_revoked_keys_count_at_once() {
    let bench = Bench::new(TWO);
    let wanted = Wanted { label: String::new(), role: Role::Deploy, expires_at: None };
    let made = bench.act(move |db, rules| keys::add(db, rules, wanted)).await;
    let id = made.key.id.clone();
    let header = |secret: &str, at| signed(&made.key.id, secret, at);
    assert_eq!(bench.says(PATH, &header(&made.secret, NOW)).await, format!("{id} deploy"));

    let grace = Some(Duration::from_mins(1));
    let rotated = {
        let id = id.clone();
        bench.act(move |db, rules| keys::rotate(db, rules, &id, grace)).await
    };
    for secret in [&made.secret, &rotated.secret] {
        assert_eq!(bench.says(PATH, &header(secret, NOW)).await, format!("{id} deploy"));
    }
    bench.now_s.store(NOW + 60, Ordering::Relaxed);
    assert_eq!(bench.says(PATH, &header(&made.secret, NOW)).await, "Invalid signature");
    assert_eq!(bench.says(PATH, &header(&rotated.secret, NOW)).await, format!("{id} deploy"));

    let revoked = id.clone();
    bench.act(move |db, rules| keys::revoke(db, rules, &revoked, false)).await;
    assert_eq!(bench.says(PATH, &header(&rotated.secret, NOW)).await, "Invalid key");
}

#[tokio::test]
async fn keys_expire() {
    let bench = Bench::new(
        "{keys: [{id: a, secret: s}, {id: b, secret: s, expires: 2026-09-21T14:14:00Z}]}",
    );
    assert_eq!(bench.says(PATH, &signed("b", "s", NOW)).await, "b admin");
    bench.now_s.store(NOW + 60, Ordering::Relaxed);
    assert_eq!(bench.says(PATH, &signed("b", "s", NOW)).await, "Invalid key");
}

#[tokio::test]
async fn version_2_covers_the_query_and_a_nonce_is_good_once() {
    let bench = Bench::new(TWO);
    let body = signature::content_sha256(b"");
    let timestamp = NOW.to_string();
    let signed = |query| Signed {
        timestamp: &timestamp,
        nonce: "nonce-01",
        method: "GET",
        path: PATH,
        query,
        content_sha256: &body,
    };
    let admit = async |query: &str, signed: Signed<'_>, with_hash: bool| {
        let mut request = Request::get(format!("{PATH}?{query}"));
        request = request.header(AUTHORIZATION, signed.header("one", "s1"));
        if with_hash {
            request = request.header(CONTENT_SHA256, &body);
        }
        let (parts, _) = request.body(Body::empty()).unwrap().into_parts();
        bench.auth.admit(&bench.config, &parts, STRANGE).await.map_err(|it| it.refusal.to_string())
    };
    assert!(admit("a=1", signed("a=2"), true).await.unwrap_err().contains("Invalid signature"));
    assert!(admit("a=1", signed("a=1"), false).await.unwrap_err().contains("Content-SHA256"));
    assert!(admit("a=1", signed("a=1"), true).await.is_ok());
    assert!(admit("a=1", signed("a=1"), true).await.unwrap_err().contains("nonce was used"));
}

#[tokio::test]
async fn version_1_can_be_switched_off() {
    let bench = Bench::new("{keys: [{id: one, secret: s1}], require_v2: true}");
    let said = bench.says(PATH, &signed("one", "s1", NOW)).await;
    assert!(said.contains("auth.require_v2"), "{said}");
    assert_eq!(bench.says(PATH, &signed("one", "guess", NOW)).await, "Invalid signature");
}

#[tokio::test]
async fn many_failures_are_slowed_down_and_never_lock_a_valid_signature_out() {
    let bench = Bench::new("{keys: [{id: one, secret: s1}], failures_per_minute: 3}");
    for _ in 0..3 {
        let refused = bench.admit(PATH, Some(&signed("one", "guess", NOW))).await.unwrap_err();
        assert!(refused.wait.is_none());
    }
    let refused = bench.admit(PATH, Some(&signed("one", "guess", NOW))).await.unwrap_err();
    assert!(refused.wait.is_some());
    assert!(bench.admit(PATH, Some(&signed("one", "s1", NOW))).await.is_ok());
}

#[tokio::test]
async fn a_manager_that_nobody_could_use_does_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("manager.db");
    let store = open_store(&database);
    let connection = crate::store::connect_beside(&database).unwrap();
    let open = |config: &Arc<Config>| {
        let master_key = folder.path().join("manager.key");
        Auth::open(config, &master_key, &connection, store.clone(), Clock::system())
    };
    assert!(matches!(open(&Arc::default()), Err(AuthError::NoUsableKey)));
    let mut off = Config::default();
    off.auth.enabled = false;
    let off = Arc::new(off);
    let auth = open(&off).unwrap();
    let (parts, _) = Request::get(PATH).body(Body::empty()).unwrap().into_parts();
    assert_eq!(auth.admit(&off, &parts, None).await.unwrap().principal, Principal::anonymous());
}

#[tokio::test]
async fn a_reload_changes_keys_and_rules_at_once() {
    let mut bench = Bench::new(TWO);
    assert_eq!(bench.says(PATH, &signed("two", "s2", NOW)).await, "two read");
    let auth = "{keys: [{id: two, secret: s3, role: deploy}], timestamp_tolerance: 10}";
    let auth = serde_yaml::from_str(auth).unwrap();
    bench.config = Arc::new(Config { auth, ..Config::default() });
    assert_eq!(bench.says(PATH, &signed("one", "s1", NOW)).await, "Invalid key");
    assert_eq!(bench.says(PATH, &signed("two", "s2", NOW)).await, "Invalid signature");
    assert_eq!(bench.says(PATH, &signed("two", "s3", NOW)).await, "two deploy");
    let expired = "Request expired (timestamp too old or in future)";
    assert_eq!(bench.says(PATH, &signed("two", "s3", NOW - 11)).await, expired);
}
