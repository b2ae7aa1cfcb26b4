//! A GGUF model's tokenizer, from its own metadata.

use aios_abi::engine::Message;
use candle_core::quantized::gguf_file::{Content, Value};
use std::collections::HashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

/// The kind of token that stands for structure, never for words (`LLAMA_TOKEN_TYPE_CONTROL`).
const CONTROL: i64 = 3;

/// Words to tokens and back, as the model was trained.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    /// The bytes of each token; none for one that stands for structure.
    pieces: Vec<Vec<u8>>,
    end: Vec<u32>,
}

impl Vocabulary {
    /// Read it from a model's metadata. Known are byte-level BPE vocabularies that split words as `smollm` does.
    ///
    /// # Errors
    /// One sentence that says which key is missing or unknown.
    pub fn of(content: &Content) -> Result<Self, String> {
        let get = |key: &str| {
            content
                .metadata
                .get(key)
                .ok_or_else(|| format!("the key {key} is not there; it is no text model"))
        };
        let text = |value: &Value| value.to_string().cloned().map_err(|e| e.to_string());
        for (key, known) in [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "smollm")] {
            let is = text(get(key)?)?;
            if is != known {
                return Err(format!("the tokenizer is {is} ({key}); candle is given models with {known}"));
            }
        }
        let texts = |key: &str| -> Result<Vec<String>, String> {
            get(key)?.to_vec().map_err(|e| e.to_string())?.iter().map(text).collect()
        };
        let tokens = texts("tokenizer.ggml.tokens")?;
        let merges = texts("tokenizer.ggml.merges")?
            .into_iter()
            .map(|pair| match pair.split_once(' ') {
                Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
                None => Err(format!("the merge `{pair}` is no pair")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let control = get("tokenizer.ggml.token_type")?.to_vec().map_err(|e| e.to_string())?;
        let is_control = |kind: &Value| kind.to_i32().is_ok_and(|kind| i64::from(kind) == CONTROL);
        let bytes = bytes_of_characters();
        let pieces = tokens.iter().zip(control).map(|(token, kind)| match is_control(kind) {
            true => Vec::new(),
            false => token.chars().filter_map(|c| bytes.get(&c).copied()).collect(),
        });
        let pieces = pieces.collect();
        let control = tokens.iter().zip(control).filter(|(_, kind)| is_control(kind));
        let control: Vec<AddedToken> =
            control.map(|(token, _)| AddedToken::from(token.clone(), true)).collect();
        let ids: ahash::AHashMap<String, u32> = tokens.iter().cloned().zip(0u32..).collect();
        let model = BPE::builder().vocab_and_merges(ids, merges).build().map_err(|e| e.to_string())?;
        let mut tokenizer = Tokenizer::new(model);
        let split: Vec<PreTokenizerWrapper> =
            vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(split))).with_decoder(Some(ByteLevel::default()));
        tokenizer.add_special_tokens(control).map_err(|e| e.to_string())?;
        // Words are words, also those that look like structure.
        tokenizer.set_encode_special_tokens(true);
        let end = ["<|endoftext|>", "<|im_end|>"];
        let end = end.iter().filter_map(|token| tokenizer.token_to_id(token)).collect();
        Ok(Self { tokenizer, pieces, end })
    }

    /// The tokens of words; nothing in them is taken for structure.
    ///
    /// # Errors
    /// The tokenizer's own, which real vocabularies have no reason for.
    pub fn words(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(self.tokenizer.encode(text, false).map_err(|e| e.to_string())?.get_ids().to_vec())
    }

    /// A conversation in ChatML that the assistant goes on with.
    ///
    /// # Errors
    /// A vocabulary without ChatML's marks.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>, String> {
        let start = self.control("<|im_start|>")?;
        let mut tokens = Vec::new();
        for message in messages {
            tokens.push(start);
            tokens.extend(self.words(&format!("{}\n", message.role))?);
            tokens.extend(self.words(&message.content)?);
            tokens.push(self.end_of_turn()?);
            tokens.extend(self.words("\n")?);
        }
        tokens.push(start);
        tokens.extend(self.words("assistant\n")?);
        Ok(tokens)
    }

    /// The token that ends an answer.
    ///
    /// # Errors
    /// A vocabulary without ChatML's marks.
    pub fn end_of_turn(&self) -> Result<u32, String> {
        self.control("<|im_end|>")
    }

    /// The bytes of each token; none for one that stands for structure.
    pub fn all(&self) -> &[Vec<u8>] {
        &self.pieces
    }

    /// The bytes of a token.
    pub fn bytes(&self, token: u32) -> &[u8] {
        usize::try_from(token).ok().and_then(|n| self.pieces.get(n)).map_or(&[], Vec::as_slice)
    }

    /// Whether this token ends a text.
    pub fn ends(&self, token: u32) -> bool {
        self.end.contains(&token)
    }

    fn control(&self, token: &str) -> Result<u32, String> {
        self.tokenizer
            .token_to_id(token)
            .ok_or_else(|| format!("the vocabulary has no {token}; it is no ChatML"))
    }
}

/// Byte-level vocabularies write each byte as a character that can be seen (Radford et al., GPT-2's
/// `bytes_to_unicode`): those of Latin-1 that can are themselves, the others follow from U+0100 on.
fn bytes_of_characters() -> HashMap<char, u8> {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let unseen = (0..=255).filter(|byte| !is_seen(*byte));
    let substitutes = (0x100..).filter_map(char::from_u32).zip(unseen);
    (0..=255).filter(|byte| is_seen(*byte)).map(|byte| (char::from(byte), byte)).chain(substitutes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_one_character() {
        let bytes = bytes_of_characters();
        assert_eq!(bytes.len(), 256);
        assert_eq!((bytes[&'a'], bytes[&'Ġ'], bytes[&'Ċ']), (b'a', b' ', b'\n'));
    }
}
