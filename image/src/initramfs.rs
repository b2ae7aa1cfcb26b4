//! The initramfs: PID 1 and the modules that lead to the root.

use crate::Checkout;
use crate::cpio::Archive;
use crate::elf::require_static;
use crate::kernel::Kernel;
use crate::modules::Lists;
use crate::stage::Stage;
use crate::stamp::{Inputs, entries};
use anyhow::{Context, Result};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Build it unless it is what it would be. True when it was built.
pub(crate) fn build(checkout: &Checkout, kernel: &Kernel, lists: &Lists, archive: &Path) -> Result<bool> {
    let init = checkout.program("aios-init");
    require_static(&init)?;
    let mut inputs = Inputs::new()?;
    inputs.file(&init)?;
    inputs.text(&kernel.release);
    inputs.text(&lists.initramfs.join(" "));
    let stamp = inputs.stamp(archive, &checkout.cache)?;
    if stamp.holds() {
        return Ok(false);
    }
    let stage = Stage::new(&checkout.cache)?;
    kernel.install(&stage, &lists.initramfs, &lists.initramfs)?;
    let part = archive.with_extension("part");
    let file = std::fs::File::create(&part).with_context(|| format!("{} cannot be made", part.display()))?;
    let mut cpio = Archive::new(BufWriter::new(file));
    for folder in ["dev", "proc", "sys", "newroot"] {
        cpio.directory(folder)?;
    }
    // The kernel opens the console for PID 1 before anything is mounted.
    cpio.character_device("dev/console", 5, 1)?;
    cpio.program("init", &std::fs::read(init)?)?;
    add(&mut cpio, stage.path(), stage.path())?;
    cpio.finish()?;
    std::fs::rename(part, archive)?;
    stamp.set()?;
    Ok(true)
}

fn add<W: Write>(cpio: &mut Archive<W>, base: &Path, folder: &Path) -> Result<()> {
    for path in entries(folder)? {
        let name = path.strip_prefix(base)?.to_string_lossy().into_owned();
        if path.is_dir() {
            cpio.directory(&name)?;
            add(cpio, base, &path)?;
        } else {
            cpio.file(&name, &std::fs::read(&path)?)?;
        }
    }
    Ok(())
}
