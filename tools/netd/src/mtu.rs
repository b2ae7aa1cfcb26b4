//! The size of a link's largest packets. The kernel does not say what a card had before it was told otherwise, so that is
//! remembered until the next boot, beside resolv.conf.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::{Handle, LinkUnspec};
use std::path::PathBuf;

/// What links had before.
#[derive(Debug)]
pub(crate) struct Before(pub(crate) PathBuf);

impl Before {
    /// Give a link this size, or that which it had before.
    pub(crate) async fn set(&self, handle: &Handle, link: u32, wanted: Option<u32>) -> Result<(), String> {
        let file = self.0.join(format!("mtu-{link}"));
        let before = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let Some(size) = wanted.or(before) else { return Ok(()) };
        let now = now(handle, link).await?;
        if before.is_none() && size != now {
            std::fs::write(&file, now.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        if size != now {
            let message = LinkUnspec::new_with_index(link).mtu(size).build();
            let set = handle.link().set(message).execute().await;
            set.map_err(|e| format!("packets of {size} bytes (MTU) are not possible: {e}"))?;
        }
        if wanted.is_none() {
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }
}

async fn now(handle: &Handle, link: u32) -> Result<u32, String> {
    let found = handle.link().get().match_index(link).execute().try_next().await;
    let found = found.map_err(|e| format!("the kernel does not tell of the link: {e}"))?;
    let attributes = found.into_iter().flat_map(|link| link.attributes);
    let mtu = attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(mtu),
        _ => None,
    });
    mtu.ok_or_else(|| "the kernel does not tell the link's MTU".into())
}
