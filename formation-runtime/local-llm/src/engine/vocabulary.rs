//! The vocabulary of a GGUF: how text becomes tokens, and which bytes a token stands for.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::tokenizer::Tokenizer;

pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    /// The bytes of all tokens one after the other; control tokens have none.
    bytes: Vec<u8>,
    /// Where the bytes of each token end.
    ends: Vec<usize>,
    control: Vec<String>,
    ends_turn: Vec<u32>,
    longest_token: usize,
}

/// Tokens that end an answer, besides the one that the file names.
const END_TOKENS: [&str; 6] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>"];

// The token types of the format that matter here.
const TYPE_CONTROL: i64 = 3;
const TYPE_USER_DEFINED: i64 = 4;

// === impl Vocabulary ===

impl Vocabulary {
    /// Changes the tokenizer section of `content` where the library reads it otherwise than the
    /// makers of the models meant it.
    pub(super) fn read(content: &mut Content) -> Result<Self, String> {
        let pre = string(content, "tokenizer.ggml.pre").unwrap_or_else(|| "default".to_owned());
        let splitter = splitter(&pre, content)?;
        let mut tokenizer = Tokenizer::from_gguf(content).map_err(|error| error.to_string())?;
        if let Some(splitter) = splitter {
            tokenizer.with_pre_tokenizer(Some(splitter));
        }

        let tokens = array(content, "tokenizer.ggml.tokens").ok_or("it has no list of tokens")?;
        let types = array(content, "tokenizer.ggml.token_type").unwrap_or_default();
        let byte_of = bytes_by_character();
        let mut vocabulary = Self {
            tokenizer,
            bytes: Vec::new(),
            ends: Vec::with_capacity(tokens.len()),
            control: Vec::new(),
            ends_turn: Vec::new(),
            longest_token: 1,
        };
        for (id, token) in (0_u32..).zip(tokens) {
            let token = token.to_string().map_err(|error| error.to_string())?;
            let kind = types.get(id as usize).and_then(integer);
            match kind {
                Some(TYPE_CONTROL) if !token.is_empty() => vocabulary.control.push(token.clone()),
                Some(TYPE_CONTROL) => {}
                Some(TYPE_USER_DEFINED) => vocabulary.bytes.extend_from_slice(token.as_bytes()),
                _ => vocabulary
                    .bytes
                    .extend(token.chars().filter_map(|character| byte_of.get(&character))),
            }
            vocabulary.ends.push(vocabulary.bytes.len());
            vocabulary.longest_token = vocabulary.longest_token.max(token.len());
            if END_TOKENS.contains(&token.as_str()) {
                vocabulary.ends_turn.push(id);
            }
        }
        if let Some(end) = content.metadata.get("tokenizer.ggml.eos_token_id").and_then(integer) {
            vocabulary.ends_turn.extend(u32::try_from(end).ok());
        }
        if vocabulary.ends_turn.is_empty() {
            return Err("it names no token that ends an answer".to_owned());
        }
        Ok(vocabulary)
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        // The template writes the special tokens itself.
        Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec())
    }

    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn ends_turn(&self, token: u32) -> bool {
        self.ends_turn.contains(&token)
    }

    /// Fewer tokens than this cannot express a text of so many bytes.
    pub(super) fn tokens_at_least(&self, text_bytes: usize) -> usize {
        text_bytes.div_ceil(self.longest_token)
    }

    /// The texts that steer the model when they appear in a prompt.
    pub(super) fn control(&self) -> &[String] {
        &self.control
    }
}

// === private helpers ===

/// How text is split before it is encoded. The library knows the family of Llama 3 and of Qwen 2
/// under these names only and takes everything else for GPT-2 with a space put before it.
fn splitter(pre: &str, content: &mut Content) -> Result<Option<PreTokenizerWrapper>, String> {
    let words = ByteLevel::new(false, false, true);
    match pre {
        "qwen2" | "llama3" | "smaug-bpe" | "lfm2" => Ok(None),
        "llama-bpe" | "llama-v3" => {
            let metadata = &mut content.metadata;
            metadata.insert("tokenizer.ggml.pre".to_owned(), Value::String("llama3".to_owned()));
            metadata.insert("tokenizer.ggml.ignore_merges".to_owned(), Value::Bool(true));
            Ok(None)
        }
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Ok(Some(Sequence::new(vec![Digits::new(true).into(), words.into()]).into()))
        }
        "default" | "gpt2" | "gpt-2" | "mpt" | "olmo" | "jais" => Ok(Some(words.into())),
        other => Err(format!("its way of splitting text, `{other}`, is not known")),
    }
}

/// Byte-level vocabularies write each byte as a printable character: itself where it is one, the
/// next free character from U+0100 on otherwise.
fn bytes_by_character() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=u8::MAX)
        .map(|byte| {
            let character = match byte {
                b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
                _ => {
                    next += 1;
                    char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            };
            (character, byte)
        })
        .collect()
}

fn string(content: &Content, key: &str) -> Option<String> {
    content.metadata.get(key)?.to_string().ok().cloned()
}

fn array(content: &Content, key: &str) -> Option<Vec<Value>> {
    content.metadata.get(key)?.to_vec().ok().cloned()
}

fn integer(value: &Value) -> Option<i64> {
    let signed = value.to_i32().map(i64::from).ok();
    signed.or_else(|| value.to_u64().ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let bytes = bytes_by_character();
        assert_eq!(bytes.len(), 256);
        // U+0120 and U+010A are how these vocabularies write space and newline.
        assert_eq!(bytes[&'\u{120}'], b' ');
        assert_eq!(bytes[&'\u{10a}'], b'\n');
        assert_eq!(bytes[&'a'], b'a');
    }
}
