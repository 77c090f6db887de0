//! What is piped into a command.

use std::io::Read as _;

use secrecy::{ExposeSecret as _, SecretString};

use super::Terminal;
use crate::fault::Fault;

const BYTES_MAX: u64 = 1024 * 1024;

/// All of standard input.
pub(crate) fn piped() -> Result<String, Fault> {
    let failed = |why: String| Fault::failed(format!("standard input cannot be used: {why}"));
    let mut text = String::new();
    std::io::stdin()
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|it| failed(it.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(failed(format!("it has more than {BYTES_MAX} bytes")));
    }
    Ok(text)
}

// === impl Terminal ===

impl Terminal {
    /// Piped in, or asked for without echo; an empty one is a mistake.
    pub(crate) fn secret(
        &self,
        is_piped: bool,
        question: &str,
        flag: &str,
    ) -> Result<SecretString, Fault> {
        let secret = if is_piped {
            SecretString::from(piped()?.trim_end_matches(['\r', '\n']))
        } else {
            self.ask_secret(question, flag)?
        };
        if secret.expose_secret().is_empty() {
            return Err(Fault::usage("the secret is empty")
                .mend(format!("type it, or pipe it in with {flag}")));
        }
        Ok(secret)
    }
}
