//! What candle computes: sentence embeddings, small text models, and adapters for them.

#![forbid(unsafe_code)]

pub mod adapt;
pub mod encoder;
pub mod minilm;
pub mod text;
pub mod vocabulary;
