//! What init is to do with the data disk at the next start, before anybody uses it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Where init looks for it. The folder belongs to root alone.
pub const ORDER: &str = "/data/init/order";
/// The first line of an order to check the disk.
pub const CHECK: &str = "check-data";
/// The first line of an order to erase it; the second is the record that is kept.
pub const RESET: &str = "factory-reset";

/// Write an order so that it is there as a whole or not at all, whenever power goes.
pub fn write(path: &Path, kind: &str, record: &str) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    write!(file, "{kind}\n{record}\n")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}
