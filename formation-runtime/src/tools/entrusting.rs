//! What happens when an agent needs a credential that the user has not entrusted: nothing is asked for in the
//! conversation, the user is shown where to entrust it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use muxi_formation::Manifest;
use muxi_formation::manifest::Link;
use muxi_llm::ToolSpec;
use muxi_tools::{Call, Content, Danger, Origin, Outcome, Tool};
use serde_json::json;

/// Where users entrust their credentials, as `user_credentials.redirect_message` and `links` say.
#[derive(Debug, Clone, Default)]
pub struct Entrusting {
    message: Option<String>,
    links: BTreeMap<String, Link>,
}

/// Stands for the tools of a server that shows none without the user's own credential.
#[derive(Debug)]
pub(super) struct Connect {
    spec: ToolSpec,
    shown: Outcome,
}

/// The link for every service that has none of its own.
const PORTAL: &str = "credential_portal";
/// Leaves room for the prefix within the 64 characters that providers take.
const NAME_CHARS_MAX: usize = 54;

// === impl Entrusting ===

impl Entrusting {
    pub fn of(manifest: &Manifest) -> Self {
        let message = manifest.user_credentials.redirect_message.clone();
        Self { message, links: manifest.links.clone() }
    }

    /// What the model is told and the user is shown. The words are this formation's, so they are trusted.
    pub(super) fn wanted(&self, service: &str) -> Outcome {
        let link = self.links.get(service).or_else(|| self.links.get(PORTAL));
        let words = self.message.clone().unwrap_or_else(|| {
            let place = if link.is_some() { " with the link below" } else { "" };
            format!(
                "For this I need your own credential for {service}. Please add it to your account{place} and ask \
                 me again; do not write it into this conversation."
            )
        });
        let hint = link.and_then(|it| it.hint.as_deref());
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let mut outcome = Outcome::refused(format!(
            "Nothing was done: the user has entrusted no credential for `{service}`. Never ask for it here. Tell \
             the user: {words}{hint}"
        ));
        outcome.content.extend(link.map(|link| {
            Content::Widget(json!({
                "type": "action_link",
                "url": link.url,
                "label": link.label.as_deref().unwrap_or(service),
            }))
        }));
        outcome
    }
}

// === impl Connect ===

impl Connect {
    pub(super) fn name(server: &str) -> String {
        let name: String = server.chars().take(NAME_CHARS_MAX).collect();
        format!("connect_{}", name.replace('.', "_"))
    }

    pub(super) fn new(server: &str, description: &str, wanted: Outcome) -> Self {
        let description = format!(
            "{description} The tools of `{server}` can only be used with the user's own credential, which is not \
             there. Call this as soon as the user wants something that needs them: it shows the user where to \
             entrust the credential.",
        );
        Self {
            spec: ToolSpec {
                name: Self::name(server),
                description: description.trim_start().to_owned(),
                parameters: Arc::new(json!({
                    "type": "object", "properties": {}, "additionalProperties": false,
                })),
            },
            // Showing it is what was asked for.
            shown: Outcome { is_error: false, ..wanted },
        }
    }
}

impl Tool for Connect {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn origin(&self) -> &Origin {
        &Origin::Builtin
    }

    fn danger(&self) -> Danger {
        Danger::ReadOnly
    }

    fn call(&self, _: Call) -> BoxFuture<'_, Outcome> {
        async { self.shown.clone() }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entrusting() -> Entrusting {
        let link = |url: &str| Link { url: url.to_owned(), label: None, hint: None };
        let links = [("github", "https://a.example/github"), (PORTAL, "https://a.example")];
        Entrusting {
            message: Some("Please visit your account.".to_owned()),
            links: links.map(|(name, url)| (name.to_owned(), link(url))).into(),
        }
    }

    fn url(outcome: &Outcome) -> Option<String> {
        outcome.content.iter().find_map(|content| match content {
            Content::Widget(widget) => widget["url"].as_str().map(str::to_owned),
            Content::Text(_) | Content::File { .. } => None,
        })
    }

    #[test]
    fn a_service_has_its_own_link_or_that_of_the_portal() {
        let entrusting = entrusting();
        let github = entrusting.wanted("github");
        assert!(github.text().ends_with("Please visit your account."), "{}", github.text());
        assert_eq!(url(&github).as_deref(), Some("https://a.example/github"));
        assert_eq!(url(&entrusting.wanted("hub")).as_deref(), Some("https://a.example"));
    }

    #[test]
    fn without_words_and_links_of_the_bundle_there_are_own_words() {
        let wanted = Entrusting::default().wanted("github");
        assert!(wanted.text().contains("credential for github") && wanted.is_trusted);
        assert_eq!(url(&wanted), None);
    }
}
