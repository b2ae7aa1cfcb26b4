//! What the policy tools share.

use crate::ctx::Ctx;
use crate::judge::{PolicyAnswer, PolicyQuestion};
use aios_abi::CallError;

/// The document that counts.
pub(crate) fn document(ctx: &Ctx) -> Result<String, CallError> {
    match ctx.policy(PolicyQuestion::Show)? {
        PolicyAnswer::Present { document, .. } => Ok(document),
        _ => Err(unexpected()),
    }
}

pub(crate) fn unexpected() -> CallError {
    CallError::failed("the broker answered something else than was asked; use programs of one release")
}
