//! Grammars: which tokens may come next, and which must (llguidance).

use aios_abi::CallError;
use aios_abi::engine::Grammar;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::Value;
use std::sync::Arc;

/// Bytes of a grammar.
const MAX_BYTES: usize = 256 * 1024;

/// How a model cuts bytes into tokens.
pub type Cut = Box<dyn Fn(&[u8]) -> Vec<u32> + Send + Sync>;

/// What grammars know of a model's vocabulary.
pub struct Tokens {
    /// The bytes of each token; none for one that stands for structure.
    pub pieces: Vec<Vec<u8>>,
    /// The token that ends an answer.
    pub end: u32,
    /// How the model cuts bytes into tokens.
    pub cut: Cut,
}

struct Env {
    trie: TokTrie,
    cut: Cut,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        (self.cut)(bytes)
    }
}

/// Makes constraints for one model.
pub struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// Prepare a vocabulary.
    ///
    /// # Errors
    /// A vocabulary that cannot be used, in a sentence.
    pub fn new(tokens: Tokens) -> Result<Self, String> {
        let size = u32::try_from(tokens.pieces.len()).map_err(|e| e.to_string())?;
        let trie = TokTrie::from(&TokRxInfo::new(size, tokens.end), &tokens.pieces);
        let env: TokEnv = Arc::new(Env { trie, cut: tokens.cut });
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// What an answer under this grammar may be.
    ///
    /// # Errors
    /// A grammar that is none.
    pub fn constrain(&self, grammar: &Grammar) -> Result<Constraint, CallError> {
        let invalid =
            |e: &dyn std::fmt::Display| CallError::invalid(format!("the grammar is not valid: {e}"));
        let (Grammar::Lark(text) | Grammar::Schema(text)) = grammar;
        if text.len() > MAX_BYTES {
            return Err(invalid(&format!("it has {} bytes, at most {MAX_BYTES} are taken", text.len())));
        }
        let grammar = match grammar {
            Grammar::Lark(rules) => TopLevelGrammar::from_lark(rules.clone()),
            Grammar::Schema(schema) => {
                let mut schema: Value = serde_json::from_str(schema).map_err(|e| invalid(&e))?;
                // Where white space may come nothing is forced, and the model is asked for every brace and comma.
                let options = JsonCompileOptions { whitespace_flexible: false, ..Default::default() };
                if let Value::Object(_) = &schema {
                    options.apply_to(&mut schema);
                }
                TopLevelGrammar::from_json_schema(schema)
            }
        };
        let mut matcher = Matcher::new(self.factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(invalid(&error)),
            None => {
                let forced = matcher.consume_ff_tokens();
                Ok(Constraint { matcher, forced })
            }
        }
    }
}

/// An answer under a grammar, as far as it is written.
pub struct Constraint {
    matcher: Matcher,
    forced: Vec<u32>,
}

impl Constraint {
    /// The tokens that must come now, in order; the model need not be asked about them.
    pub fn forced(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.forced)
    }

    /// Whether the answer is complete and nothing can follow.
    pub fn is_done(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// A grammar that grew too large on the way.
    pub fn allowed(&mut self) -> Result<SimpleVob, CallError> {
        self.matcher
            .compute_mask_or_eos()
            .map_err(|e| CallError::failed(format!("the grammar cannot be followed further: {e}")))
    }

    /// The answer goes on with this token.
    ///
    /// # Errors
    /// A token that was not allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), CallError> {
        self.matcher
            .consume_token(token)
            .map_err(|e| CallError::failed(format!("the grammar does not allow a token: {e}")))?;
        self.forced = self.matcher.consume_ff_tokens();
        Ok(())
    }
}
