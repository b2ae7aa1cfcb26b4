//! The agent: takes a person's words, finds the tools that are meant, calls them and answers.
//!
//! What a question means is worked out by a pure core without I/O: [`words`] cuts it up, [`order`] reads
//! calls that are written out, [`pattern`] compares it with the sentences that tools declare, [`lexicon`]
//! with the words of these sentences, and [`extract`] finds arguments. Only when all of them are unsure
//! does the [`answer`] ask the models. Text is data on this whole way: what is called is one of the
//! declared tools with arguments that fit its schema, and toold decides whether it may be.

#![forbid(unsafe_code)]

pub mod answer;
pub mod catalog;
pub mod extract;
pub mod lexicon;
pub mod order;
pub mod pattern;
pub mod render;
pub mod schema;
pub mod understand;
pub mod words;
