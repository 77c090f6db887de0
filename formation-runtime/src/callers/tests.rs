use axum::http::{HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use muxi_formation::manifest::ServerKeys;
use muxi_tools::a2a::sign;
use serde_json::{Value, json};

use super::*;

fn inbound(auth: &Value) -> A2aInbound {
    serde_json::from_value(json!({"auth": auth})).unwrap()
}

fn keys() -> Keys {
    let keys = ServerKeys {
        admin_key: Some("admin".to_owned().into()),
        client_key: Some("client".to_owned().into()),
    };
    Keys::settle(&keys, std::path::Path::new("/nowhere")).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    pairs.iter().map(pair).collect()
}

async fn told(callers: &Callers, pairs: &[(&str, &str)], now: i64) -> Result<String, Refusal> {
    let (headers, keys) = (headers(pairs), keys());
    let now = Timestamp::from_second(now).unwrap();
    let proof = Proof { headers: &headers, body: b"{}", address: None, keys: &keys, now };
    callers.identify(proof).await.map(|user| user.as_str().to_owned())
}

#[tokio::test]
async fn each_kind_of_proof_lets_its_caller_in_and_nobody_else() {
    for (auth, good, name) in [
        (json!({"type": "none"}), ("x", "y"), "a2a:anonymous"),
        (json!({"type": "client_key"}), ("x-muxi-client-key", "client"), "a2a:client"),
        (json!({"type": "client_key"}), ("authorization", "Bearer client"), "a2a:client"),
        (json!({"type": "api_key", "key": "k"}), ("x-api-key", "k"), "a2a:api_key"),
        (
            json!({"type": "api_key", "key": "k", "header": "X-Team"}),
            ("x-team", "k"),
            "a2a:api_key",
        ),
        (json!({"type": "bearer", "token": "t"}), ("authorization", "bearer t"), "a2a:bearer"),
        (
            json!({"type": "basic", "username": "u", "password": "p"}),
            ("authorization", "Basic dTpw"),
            "a2a:basic",
        ),
        (json!({"type": "custom", "headers": {"X-A": "1"}}), ("x-a", "1"), "a2a:custom"),
    ] {
        let callers = Callers::new(&inbound(&auth)).unwrap();
        assert_eq!(told(&callers, &[good], 1).await.as_deref(), Ok(name), "{auth}");
        if auth["type"] == "none" {
            continue;
        }
        let wrong = format!("{}x", good.1);
        for bad in [vec![], vec![(good.0, "")], vec![(good.0, wrong.as_str())]] {
            assert_eq!(told(&callers, &bad, 1).await, Err(Refusal::Unproven), "{auth} {bad:?}");
        }
    }
    let both = inbound(&json!({"type": "custom", "headers": {"X-A": "1", "X-B": "2"}}));
    let callers = Callers::new(&both).unwrap();
    assert_eq!(told(&callers, &[("x-a", "1")], 1).await, Err(Refusal::Unproven));
    assert!(told(&callers, &[("x-a", "1"), ("x-b", "2")], 1).await.is_ok());
    // An own client names its users, who are not those of the chat.
    let callers = Callers::new(&inbound(&json!({"type": "client_key"}))).unwrap();
    let named = [("x-muxi-client-key", "client"), ("x-muxi-user-id", "ann")];
    assert_eq!(told(&callers, &named, 1).await.unwrap(), "a2a:ann");
}

#[tokio::test]
async fn a_signature_is_over_the_body_and_good_once_for_a_while() {
    let callers = Callers::new(&inbound(&json!({"type": "hmac", "secret": "s"}))).unwrap();
    let signed = |time: &str, body: &[u8]| sign(&"s".to_owned().into(), time, body);
    let call = async |time: &str, signature: &str, now: i64| {
        told(&callers, &[("x-timestamp", time), ("x-signature", signature)], now).await
    };
    let good = signed("1000", b"{}");
    assert_eq!(call("1000", &good, 1000).await.unwrap(), "a2a:hmac");
    assert_eq!(call("1000", &good, 1200).await, Err(Refusal::Repeated));
    assert_eq!(call("1000", &good, 1301).await, Err(Refusal::Stale));
    assert_eq!(call("1001", &good, 1001).await, Err(Refusal::Unproven));
    assert_eq!(call("1000", &signed("1000", b"{ }"), 1000).await, Err(Refusal::Unproven));
    // The older form, over the time alone.
    assert_eq!(call("1000", &signed("1000", b""), 1000).await, Err(Refusal::Unproven));
    assert_eq!(call("1000", "zz", 1000).await, Err(Refusal::Unproven));
    assert_eq!(call("5000", &signed("5000", b"{}"), 1000).await, Err(Refusal::Stale));
    let prefixed = format!("sha256={}", signed("1002", b"{}"));
    assert!(call("1002", &prefixed, 1000).await.is_ok());
}

#[tokio::test]
async fn only_trusted_addresses_get_in() {
    let mut inbound = inbound(&json!({"type": "none"}));
    inbound.trusted_endpoints =
        ["192.0.2.7", "10.0.0.0/8", "http://[::1]:8181/"].map(str::to_owned).to_vec();
    let callers = Callers::new(&inbound).unwrap();
    let (headers, keys) = (HeaderMap::new(), keys());
    for (address, is_let_in) in [
        (Some("192.0.2.7"), true),
        (Some("::ffff:192.0.2.7"), true),
        (Some("10.9.8.7"), true),
        (Some("::1"), true),
        (Some("192.0.2.8"), false),
        (None, false),
    ] {
        let address = address.map(|it| it.parse().unwrap());
        let now = Timestamp::UNIX_EPOCH;
        let proof = Proof { headers: &headers, body: b"", address, keys: &keys, now };
        let told = callers.identify(proof).await;
        assert_eq!(told.is_ok(), is_let_in, "{address:?}: {told:?}");
    }
    inbound.trusted_endpoints = vec!["partner.example".to_owned()];
    assert!(matches!(Callers::new(&inbound), Err(CallersError::Address(_))));
}

/// A provider whose keys lie at its address.
struct Issuer {
    url: String,
    key: EncodingKey,
    _task: tokio::task::JoinSet<()>,
}

impl Issuer {
    async fn start() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = pair.public_key_raw();
        let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256",
            "x": encode(&point[1..33]), "y": encode(&point[33..65])}]});
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route(
            "/.well-known/jwks.json",
            axum::routing::get(move || async move { axum::Json(keys) }),
        );
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { url, key, _task: tasks }
    }

    fn token(&self, kid: &str, change: &Value) -> String {
        let exp = Timestamp::now().as_second() + 300;
        let mut claims = json!({"iss": self.url, "aud": "me", "sub": "agent-7", "exp": exp});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }
}

#[tokio::test]
async fn tokens_of_a_provider_are_checked_with_its_keys() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let auth = json!({"type": "openid", "issuer": issuer.url, "audience": "me",
        "allowed_algorithms": ["ES256"]});
    let callers = Callers::new(&inbound(&auth)).unwrap();
    let call = async |token: &str| {
        told(&callers, &[("authorization", &format!("Bearer {token}"))], 1).await
    };
    assert_eq!(call(&issuer.token("k1", &json!({}))).await.unwrap(), "openid:agent-7");
    let slash = json!({"iss": format!("{}/", issuer.url)});
    assert!(call(&issuer.token("k1", &slash)).await.is_ok());
    for wrong in [
        issuer.token("k1", &json!({"aud": "somebody else"})),
        issuer.token("k1", &json!({"iss": "http://other.test"})),
        issuer.token("k1", &json!({"exp": 1000})),
        issuer.token("k1", &json!({"nbf": Timestamp::now().as_second() + 600})),
        issuer.token("k1", &json!({"sub": null})),
        issuer.token("k2", &json!({})),
        other.token("k1", &json!({"iss": issuer.url})),
        "no.token.this".to_owned(),
        String::new(),
    ] {
        assert_eq!(call(&wrong).await, Err(Refusal::Unproven), "{wrong}");
    }
    // Signed with what everybody knows, as if the public key were a secret.
    let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
    let claims = json!({"iss": issuer.url, "aud": "me", "sub": "x", "exp": i64::MAX});
    let forged = encode(&header, &claims, &EncodingKey::from_secret(b"k1")).unwrap();
    assert_eq!(call(&forged).await, Err(Refusal::Unproven));
    let shared = json!({"type": "openid", "issuer": issuer.url, "audience": "me",
        "allowed_algorithms": ["HS256"]});
    assert!(matches!(Callers::new(&inbound(&shared)), Err(CallersError::Algorithm(_))));
    let away = json!({"type": "openid", "issuer": "http://127.0.0.1:1", "audience": "me",
        "allowed_algorithms": ["ES256"]});
    let callers = Callers::new(&inbound(&away)).unwrap();
    let token = format!("Bearer {}", issuer.token("k1", &json!({})));
    assert_eq!(told(&callers, &[("authorization", &token)], 1).await, Err(Refusal::NoKeys));
}
