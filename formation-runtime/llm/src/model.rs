//! The providers that are known by name.

use std::sync::Arc;

use crate::{Anthropic, Endpoint, HttpClients, OpenAi, Provider, SetupError};

/// Sets up the provider with the given name: Anthropic's own wire for `anthropic`, the `OpenAI` wire for
/// every other. Without a base URL the name must be a known one.
pub fn connect(
    provider: &str,
    endpoint: Endpoint,
    clients: &HttpClients,
) -> Result<Arc<dyn Provider>, SetupError> {
    if provider == "anthropic" {
        Ok(Arc::new(Anthropic::new(endpoint, clients)?))
    } else {
        Ok(Arc::new(OpenAi::new(provider, endpoint, clients)?))
    }
}

// === private helpers ===

pub(crate) struct Known {
    name: &'static str,
    pub(crate) base_url: &'static str,
    pub(crate) needs_key: bool,
}

pub(crate) fn known(provider: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == provider)
}

const KNOWN: &[Known] = &[
    remote("anthropic", "https://api.anthropic.com/v1"),
    remote("openai", "https://api.openai.com/v1"),
    remote("google", "https://generativelanguage.googleapis.com/v1beta/openai"),
    remote("mistral", "https://api.mistral.ai/v1"),
    remote("groq", "https://api.groq.com/openai/v1"),
    remote("openrouter", "https://openrouter.ai/api/v1"),
    remote("deepseek", "https://api.deepseek.com/v1"),
    remote("together", "https://api.together.xyz/v1"),
    remote("xai", "https://api.x.ai/v1"),
    remote("cohere", "https://api.cohere.ai/compatibility/v1"),
    remote("fireworks", "https://api.fireworks.ai/inference/v1"),
    remote("perplexity", "https://api.perplexity.ai"),
    Known { name: "ollama", base_url: "http://localhost:11434/v1", needs_key: false },
];

const fn remote(name: &'static str, base_url: &'static str) -> Known {
    Known { name, base_url, needs_key: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_without_a_url_or_a_key_are_refused_with_the_mend() {
        let clients = HttpClients::default();
        let unknown = connect("acme", Endpoint::default(), &clients).unwrap_err();
        assert!(unknown.to_string().contains("llm.base_urls.acme"), "{unknown}");
        let keyless = connect("groq", Endpoint::default(), &clients).unwrap_err();
        assert!(keyless.to_string().contains("llm.api_keys.groq"), "{keyless}");
        let elsewhere = Endpoint::at("http://127.0.0.1:1/v1");
        assert_eq!(connect("groq", elsewhere, &clients).unwrap().name(), "groq");
        assert_eq!(connect("ollama", Endpoint::default(), &clients).unwrap().name(), "ollama");
        let bad = Endpoint::at("ftp://example.org");
        assert!(connect("acme", bad, &clients).is_err());
    }
}
