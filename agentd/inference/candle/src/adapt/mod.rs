//! Low-rank adaptation of a small GGUF text model and of a [sentence encoder](crate::encoder) (Hu et al., "LoRA", 2021).
//!
//! The model's weights stay as they are; beside each matrix two thin ones are learned, which the worker adds
//! while it computes. What is learned comes out as a file of a few megabytes.

mod average;
mod choice;
#[cfg(test)]
pub(crate) mod derivative;
mod head;
mod lessons;
mod model;
pub(crate) mod ops;
pub mod read;
mod train;

pub use choice::{Course, Learned, Progress, calibrate, learn, measure, vectors};
pub use head::{Head, Score};
pub use lessons::{Lesson, Question};
pub use model::{Adapter, Base};
pub use train::{Outcome, Plan, judge, train};
