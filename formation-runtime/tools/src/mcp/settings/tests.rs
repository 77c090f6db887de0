use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::super::config::{MissingCredential, OAuth};
use super::*;

/// Knows one credential of alice.
#[derive(Debug)]
struct OfAlice;

impl UserCredentials for OfAlice {
    fn fill<'a>(
        &'a self,
        user: &'a UserId,
        template: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, MissingCredential>> {
        let filled = if user.as_str() == "alice" {
            Ok(SecretString::from(template.replace("{}", "secret-of-alice")))
        } else {
            Err(MissingCredential { service: "github".to_owned() })
        };
        std::future::ready(filled).boxed()
    }

    fn wanted(&self, service: &str) -> crate::Outcome {
        crate::Outcome::refused(format!("{service} is wanted"))
    }
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn http(auth: Auth) -> ServerConfig {
    let transport =
        Transport::Http { url: "https://example.com/mcp".to_owned(), headers: [].into() };
    ServerConfig { auth, ..ServerConfig::new("hub", transport) }
}

#[tokio::test]
async fn each_kind_of_auth_becomes_its_header() {
    let table = [
        (Auth::Bearer("t".into()), "authorization", "Bearer t"),
        (
            Auth::Basic { username: "u".into(), password: "p:w".into() },
            "authorization",
            "Basic dTpwOnc=",
        ),
        (Auth::ApiKey { header: "x-key".to_owned(), key: "k".into() }, "x-key", "k"),
    ];
    for (auth, header, expected) in table {
        let settings = Settings::resolve(&http(auth), None, &OfAlice).await.unwrap();
        assert_eq!(settings.headers[header].expose_secret(), expected);
    }
}

#[tokio::test]
async fn callers_share_a_connection_only_with_the_same_credential() {
    let own = http(Auth::Bearer(Secret::OfUser("Bearer {}".to_owned())));
    let shared = http(Auth::Bearer("t".into()));
    let key = async |config: &ServerConfig, name: &str| {
        Settings::resolve(config, Some(&user(name)), &OfAlice).await.unwrap().key(&config.id)
    };
    assert_eq!(key(&shared, "alice").await, key(&shared, "bob").await);
    assert_ne!(key(&own, "alice").await, key(&shared, "alice").await);
    let oauth = http(Auth::OAuth(OAuth::default()));
    assert_ne!(key(&oauth, "alice").await, key(&oauth, "bob").await);
    let missing = Settings::resolve(&own, Some(&user("bob")), &OfAlice).await.unwrap_err();
    let expected =
        McpError::NeedsCredential { server: "hub".to_owned(), service: "github".to_owned() };
    assert_eq!(missing, expected);
}

#[tokio::test]
async fn a_users_grant_needs_a_user_and_a_formations_does_not() {
    let client_secret = Some(SecretString::from("s"));
    let of_formation = http(Auth::OAuth(OAuth { client_secret, ..OAuth::default() }));
    let settings = Settings::resolve(&of_formation, None, &OfAlice).await.unwrap();
    assert_eq!(settings.grant, Some(Grant::OfFormation));
    let of_user = http(Auth::OAuth(OAuth::default()));
    let refused = Settings::resolve(&of_user, None, &OfAlice).await.unwrap_err();
    assert_eq!(refused, McpError::NeedsAuthorization { server: "hub".to_owned() });
}

#[tokio::test]
async fn parameters_of_users_are_filled_in() {
    let config = ServerConfig {
        parameters: BTreeMap::from([
            ("limit".to_owned(), Parameter::Fixed(json!(5))),
            ("token".to_owned(), Parameter::OfUser("{}".to_owned())),
        ]),
        ..http(Auth::None)
    };
    let filled = parameters(&config, Some(&user("alice")), &OfAlice).await.unwrap();
    assert_eq!(filled["limit"], json!(5));
    assert_eq!(filled["token"], json!("secret-of-alice"));
    assert!(parameters(&config, Some(&user("bob")), &OfAlice).await.is_err());
}
