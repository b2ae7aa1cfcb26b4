//! What the network tools share: one question to the kernel over rtnetlink(7).

use crate::ctx::Ctx;
use aios_abi::CallError;
use futures_util::{Stream, TryStreamExt};
use rtnetlink::Handle;

/// Messages in one answer of the kernel.
const MAX: usize = 10_000;

/// Ask the kernel for a list.
pub(crate) fn dump<T, S>(ctx: &Ctx, ask: impl FnOnce(Handle) -> S) -> Result<Vec<T>, CallError>
where
    S: Stream<Item = Result<T, rtnetlink::Error>>,
{
    ctx.wait(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        // The connection ends with the last handle, whether or not the whole answer was read.
        let _open = handle.clone();
        let mut messages = std::pin::pin!(ask(handle));
        let mut all = Vec::new();
        while let Some(message) = messages.try_next().await.map_err(failed)? {
            all.push(message);
            if all.len() >= MAX {
                break;
            }
        }
        Ok(all)
    })?
}

fn failed(error: rtnetlink::Error) -> CallError {
    CallError::failed(format!("the kernel did not tell of the network: {error}"))
}

/// netd answered something else than was asked.
pub(crate) fn unexpected() -> CallError {
    CallError::failed("netd answered something else than was asked; use programs of one release")
}

/// The hardware address as people write it: `52:54:00:12:34:56`.
pub(crate) fn hardware(bytes: &[u8]) -> Option<String> {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.iter().any(|byte| *byte != 0).then(|| digits.join(":"))
}
