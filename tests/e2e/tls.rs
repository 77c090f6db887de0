//! TLS on the management port, with real certificates of a root made for the test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use muxi_testkit::daemon::{Answer, Daemon, PATIENCE, bundle, client, signal, wait_until};
use muxi_testkit::fake_llm::FakeLlm;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::tls::{TlsInfo, Version};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A root, and the folder in which the pair lies that it vouches for.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root");
        let authority = Self { root, folder: tempfile::tempdir().expect("a folder") };
        authority.renew();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a fresh pair in place; its certificate.
    fn renew(&self) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let made = params.signed_by(&key, &self.root).expect("a certificate");
        fs::write(self.file("cert.pem"), made.pem()).expect("our folder");
        fs::write(self.file("key.pem"), key.serialize_pem()).expect("our folder");
        made.der().to_vec()
    }

    fn config(&self) -> Value {
        json!({"server": {"tls": {"cert": self.file("cert.pem"), "key": self.file("key.pem")}}})
    }

    async fn start(&self, more: Value) -> Daemon {
        Daemon::builder()
            .trusting(&self.root.pem())
            .config(self.config())
            .config(more)
            .start()
            .await
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.root.pem().as_bytes());
        client().tls_certs_only([root.expect("a root")])
    }

    /// The certificate that a new connection gets.
    async fn served(&self, daemon: &Daemon) -> Vec<u8> {
        let http = self.client().tls_info(true).build().expect("a client");
        let response = http.get(format!("{}/ping", daemon.url())).send().await.expect("an answer");
        let info = response.extensions().get::<TlsInfo>().expect("it was asked for");
        info.peer_certificate().expect("a certificate").to_owned()
    }
}

fn address(daemon: &Daemon) -> String {
    daemon.url().strip_prefix("https://").expect("TLS").to_owned()
}

#[tokio::test]
async fn a_formation_is_deployed_and_chats_over_tls() {
    let authority = Authority::new();
    let (daemon, llm) = (authority.start(json!({})).await, FakeLlm::start().await);
    let deployed = daemon.deploy(bundle("hello", &llm.base_url())).await;
    let formation = daemon.formation("hello").await;
    let port = address(&daemon).rsplit(':').next().expect("a port").to_owned();
    assert_eq!(deployed.data()["url"], format!("https://localhost:{port}/api/hello"));
    let pid = daemon.instance_pid("hello").await;
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("our own process");
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let told = format!("MUXI_SERVER_URL=https://localhost:{port}\0");
    assert!(environment.contains(&told), "{environment}");

    let base = format!("{}/api/hello", daemon.url());
    let body = json!({"message": "hi", "session_id": "s", "stream": false});
    let answer = Answer::of(formation.chat_at(&base, &body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Strangers to the root trust nobody here.
    let stranger = client().build().expect("a client");
    assert!(stranger.get(format!("{}/ping", daemon.url())).send().await.is_err());
}

#[tokio::test]
async fn a_plain_caller_gets_a_short_clear_answer() {
    let authority = Authority::new();
    let daemon = authority.start(json!({})).await;
    let mut caller = TcpStream::connect(address(&daemon)).expect("a connection");
    caller.set_read_timeout(Some(PATIENCE)).expect("a socket");
    caller.write_all(b"POST /rpc/formations HTTP/1.1\r\nhost: x\r\n\r\nbody").expect("sent");
    let mut said = String::new();
    caller.read_to_string(&mut said).expect("an answer to its end");
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("speaks HTTPS"), "{said}");
}

#[tokio::test]
async fn callers_that_never_shake_hands_delay_nobody_and_are_let_go() {
    let authority = Authority::new();
    let daemon = authority.start(json!({"limits": {"header_read_ms": 1_000}})).await;
    let mut silent: Vec<_> =
        (0..50).map(|_| TcpStream::connect(address(&daemon)).expect("a connection")).collect();
    // The beginning of a handshake that is never finished.
    silent[0].write_all(&[0x16, 3, 1]).expect("sent");
    let begun = Instant::now();
    assert_eq!(daemon.get("/rpc/formations").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut rest = Vec::new();
        // Closed, in whichever way.
        stream.read_to_end(&mut rest).ok();
        assert!(begun.elapsed() < PATIENCE, "it was kept");
    }
}

#[tokio::test]
async fn a_renewed_pair_is_served_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let daemon = authority.start(json!({"server": {"tls": {"watch_interval": 1}}})).await;
    let renewed = authority.renew();
    wait_until(PATIENCE, "the renewed certificate is served by itself", async || {
        (authority.served(&daemon).await == renewed).then_some(())
    })
    .await;

    // A key of another pair.
    let key = fs::read(authority.file("key.pem")).expect("the key");
    let other = Authority::new();
    fs::copy(other.file("key.pem"), authority.file("key.pem")).expect("our folder");
    wait_until(PATIENCE, "the log says what is wrong", async || {
        daemon.log().contains("the certificate stays as it was").then_some(())
    })
    .await;
    assert_eq!(authority.served(&daemon).await, renewed);
    let reload = daemon.command().arg("reload").output().expect("the program starts");
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success() && said.contains("do not go together"), "{said}");
    assert_eq!(authority.served(&daemon).await, renewed);

    fs::write(authority.file("key.pem"), key).expect("our folder");
    let renewed = authority.renew();
    signal(daemon.pid(), Signal::HUP);
    wait_until(PATIENCE, "the newest certificate is served", async || {
        (authority.served(&daemon).await == renewed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_older_version_than_the_least_is_refused() {
    let authority = Authority::new();
    let daemon = authority.start(json!({})).await;
    let older = authority.client().max_tls_version(Version::TLS_1_2).build().expect("a client");
    let ping = format!("{}/ping", daemon.url());
    assert_eq!(older.get(&ping).send().await.expect("an answer").status(), 200);

    let daemon = authority.start(json!({"server": {"tls": {"min_version": "1.3"}}})).await;
    let ping = format!("{}/ping", daemon.url());
    assert!(older.get(&ping).send().await.is_err());
    assert_eq!(daemon.get("/rpc/formations").await.status, 200);
}

#[tokio::test]
async fn plain_callers_of_the_second_port_are_sent_on() {
    let authority = Authority::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let port = port.expect("a port").port();
    let daemon = authority.start(json!({"server": {"tls": {"redirect_http_port": port}}})).await;
    let plain = format!("http://127.0.0.1:{port}/rpc/formations?limit=1");
    let answer = Answer::of(daemon.http().post(plain)).await;
    assert_eq!(answer.status, 308);
    let expected = format!("https://{}/rpc/formations?limit=1", address(&daemon));
    assert_eq!(answer.headers["location"], expected);
}

#[tokio::test]
async fn a_start_without_a_good_pair_says_which_file_is_wrong() {
    let authority = Authority::new();
    fs::remove_file(authority.file("key.pem")).expect("our folder");
    let daemon = Daemon::builder().config(authority.config()).install();
    let output = daemon.command().arg("start").output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("private key") && said.contains("key.pem"), "{said}");
}

#[tokio::test]
async fn an_open_plain_port_is_warned_of() {
    let open = json!({"server": {"host": "0.0.0.0"}});
    let daemon = Daemon::builder().config(open.clone()).start().await;
    assert!(daemon.log().contains("without encryption"), "{}", daemon.log());
    let behind = json!({"server": {"host": "0.0.0.0", "trusted_proxies": ["10.0.0.1"]}});
    let daemon = Daemon::builder().config(behind).start().await;
    assert!(!daemon.log().contains("without encryption"), "{}", daemon.log());
}
