//! Model strings, and the providers that are known by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Anthropic, Endpoint, HttpClients, OpenAi, Provider, SetupError};

/// A parsed `provider/model`; the model's own name may hold further slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelRef {
    pub provider: String,
    pub model: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a model string; write `provider/model`, for example `openai/gpt-4o`")]
pub struct InvalidModelRef {
    given: String,
}

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

/// Where the provider with this name lives unless the formation says otherwise.
pub fn default_base_url(provider: &str) -> Option<&'static str> {
    known(provider).map(|known| known.base_url)
}

// === impl ModelRef ===

impl FromStr for ModelRef {
    type Err = InvalidModelRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidModelRef { given: text.chars().take(200).collect() };
        let (provider, model) = text.split_once('/').ok_or_else(invalid)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if provider.is_empty() || !provider.chars().all(plain) {
            return Err(invalid());
        }
        if model.is_empty() || model.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid());
        }
        Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.provider, self.model)
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
    fn model_strings() {
        let cases = [
            ("openai/gpt-4o", Some(("openai", "gpt-4o"))),
            ("openrouter/meta-llama/llama-3", Some(("openrouter", "meta-llama/llama-3"))),
            ("ollama/llama3.2:1b", Some(("ollama", "llama3.2:1b"))),
            ("llama_cpp/x.gguf", Some(("llama_cpp", "x.gguf"))),
            ("gpt-4o", None),
            ("/gpt-4o", None),
            ("openai/", None),
            ("", None),
            ("OpenAI/gpt-4o", None),
            ("http://host/v1/model", None),
            ("openai/gpt 4o", None),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<ModelRef>().ok();
            let parts = parsed.as_ref().map(|it| (it.provider.as_str(), it.model.as_str()));
            assert_eq!(parts, expected, "{text}");
            if let Some(parsed) = &parsed {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }

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
