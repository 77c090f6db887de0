//! `webhooks`: who is told what happens to formations.
//!
//! The addresses are the operator's own, so those of this machine and of private networks are
//! fine; nothing that a formation or a caller of the API says ever becomes one.

use std::path::PathBuf;

use muxi_contract::FormationId;
use muxi_contract::events::EventKind;
use serde::{Deserialize, Serialize};

/// One receiver of events.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub id: String,
    /// `https://…`; plain `http://` is for receivers nearby.
    pub url: String,
    /// The environment variable of the manager that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The file that holds the secret; read for each delivery, so that it can be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Empty means all.
    #[serde(default)]
    pub events: Vec<EventKind>,
    /// Empty means all.
    #[serde(default)]
    pub formations: Vec<FormationId>,
    /// Seconds that one attempt may take.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u32,
    /// Attempts before a delivery is given up; twelve take about four hours.
    #[serde(default = "default_max_attempts")]
    pub max_attempts: u32,
}

const WEBHOOKS_MAX: usize = 50;

fn default_timeout_s() -> u32 {
    10
}

fn default_max_attempts() -> u32 {
    12
}

/// Everything that is wrong with the values, without looking for secrets.
pub(super) fn faults(webhooks: &[WebhookConfig]) -> Vec<String> {
    let mut faults = Vec::new();
    if webhooks.len() > WEBHOOKS_MAX {
        faults.push(format!("webhooks has more than {WEBHOOKS_MAX} entries"));
    }
    for (at, webhook) in webhooks.iter().enumerate() {
        let mut check = |fine: bool, fault: &str| {
            if !fine {
                faults.push(format!("webhooks[{at}].{fault}"));
            }
        };
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        check(
            (1..=64).contains(&webhook.id.len()) && webhook.id.bytes().all(inner),
            "id must have 1 to 64 letters, digits, hyphens or underscores",
        );
        check(
            webhooks[..at].iter().all(|it| it.id != webhook.id),
            "id is that of another webhook; every id must be its own",
        );
        let url = reqwest::Url::parse(&webhook.url).ok();
        check(
            url.as_ref().is_some_and(|it| matches!(it.scheme(), "http" | "https") && it.has_host()),
            "url must be an address such as https://example.com/hook",
        );
        check(
            url.is_none_or(|it| it.username().is_empty() && it.password().is_none()),
            "url must not hold a user or a password; deliveries are signed instead",
        );
        let sources =
            [webhook.secret.is_some(), webhook.secret_env.is_some(), webhook.secret_file.is_some()];
        check(
            sources.into_iter().filter(|it| *it).count() == 1,
            "secret is needed: give one of secret_env, secret_file and secret",
        );
        check(
            !webhook.events.contains(&EventKind::Ping),
            "events must not name ping; it is sent by the test of a webhook alone",
        );
        check((1..=120).contains(&webhook.timeout_s), "timeout_s must be 1 to 120");
        check((1..=30).contains(&webhook.max_attempts), "max_attempts must be 1 to 30");
    }
    faults
}

// === impl WebhookConfig ===

impl WebhookConfig {
    /// The secret as it is now, or why there is none.
    pub fn read_secret(&self) -> Result<String, String> {
        let found = match (&self.secret, &self.secret_env, &self.secret_file) {
            (Some(secret), ..) => Ok(secret.clone()),
            (None, Some(name), _) => std::env::var(name)
                .map_err(|_| format!("secret_env: the variable `{name}` is not set")),
            (None, None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
                format!("secret_file: failed to read {}: {error}", path.display())
            }),
            (None, None, None) => Err("no secret is configured".to_owned()),
        }?;
        let secret = found.trim();
        if secret.is_empty() {
            Err("the secret is empty".to_owned())
        } else {
            Ok(secret.to_owned())
        }
    }

    /// Scheme and host: the rest of such an address is often a secret.
    pub fn shown_url(&self) -> String {
        let Ok(url) = reqwest::Url::parse(&self.url) else { return "…".to_owned() };
        let origin = url.origin().ascii_serialization();
        if url.path() == "/" && url.query().is_none() { origin } else { format!("{origin}/…") }
    }

    pub(super) fn mask(&mut self) {
        self.url = self.shown_url();
        if let Some(secret) = &mut self.secret {
            *secret = super::mask(secret);
        }
    }
}

impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("id", &self.id)
            .field("url", &self.shown_url())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(yaml: &str) -> WebhookConfig {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn defaults_are_enough_and_every_fault_is_named_with_its_place() {
        let good = webhook("{id: ops, url: 'https://example.com/hook?k=1', secret_env: S}");
        assert_eq!(faults(std::slice::from_ref(&good)), [""; 0]);
        assert_eq!((good.timeout_s, good.max_attempts), (10, 12));
        assert_eq!(good.shown_url(), "https://example.com/…");
        let bad = webhook(
            "{id: ops, url: 'ftp://u:p@x', events: [ping], timeout_s: 0, max_attempts: 31}",
        );
        let faults = faults(&[good, bad]).join("\n");
        for part in [
            "id is that",
            "url must be",
            "a password",
            "secret is needed",
            "ping",
            "timeout_s",
            "max_attempts",
        ] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
        assert!(faults.lines().all(|line| line.starts_with("webhooks[1].")), "{faults}");
    }

    #[test]
    fn a_secret_is_read_from_where_it_is_and_shown_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_1\n").unwrap();
        let from_file =
            webhook(&format!("{{id: a, url: 'http://[::1]:1/', secret_file: {}}}", path.display()));
        assert_eq!(from_file.read_secret().unwrap(), "whsec_1");
        assert_eq!(from_file.shown_url(), "http://[::1]:1");
        std::fs::write(&path, " \n").unwrap();
        assert!(from_file.read_secret().unwrap_err().contains("empty"));
        let unset = webhook("{id: a, url: 'http://x', secret_env: MUXI_TEST_NOT_SET}");
        assert!(unset.read_secret().unwrap_err().contains("MUXI_TEST_NOT_SET"));
        let mut inline = webhook("{id: a, url: 'http://x', secret: whsec_2}");
        inline.mask();
        assert!(!format!("{inline:?}{}", inline.secret.as_deref().unwrap()).contains("whsec_2"));
    }
}
