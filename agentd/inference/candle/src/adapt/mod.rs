//! Low-rank adaptation of a small GGUF text model (Hu et al., "LoRA", 2021).
//!
//! The model's weights stay as they are; beside each matrix two thin ones are learned, which llama.cpp adds
//! while it computes. What is learned comes out as a GGUF adapter of a few megabytes.

mod head;
mod lessons;
mod model;
mod ops;
mod train;

pub use head::Head;
pub use lessons::{Lesson, Question};
pub use model::{Adapter, Base, RANK};
pub use train::{Outcome, Plan, judge, train};
