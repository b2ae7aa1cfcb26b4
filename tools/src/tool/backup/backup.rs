//! What the backup tools share.

use crate::reach::Needs;
use crate::snapshot::{name_of, whole};
use crate::tool::fs::shared::CHANGES;
use aios_abi::CallError;
use std::path::{Path, PathBuf};

/// What writing and bringing back takes. A file with two names is compared with those that hold secrets.
pub(crate) const NEEDS: Needs = CHANGES.list(&["/data/toold", "/data/console", "/data/agentd"]);

/// Where snapshots are, unless somebody says otherwise.
pub(crate) fn default_folder() -> String {
    aios_abi::paths::BACKUP.into()
}

/// The directory in which a path that is brought back is written first: on the same disk, if that can be told.
pub(crate) fn staging(folder: &str, path: &Path) -> PathBuf {
    let own = |folder: &Path| {
        folder.parent().is_some_and(|beside| beside != Path::new("/") && path.starts_with(beside))
    };
    let folder = whole(Path::new(folder)).ok().filter(|folder| own(folder));
    folder.unwrap_or_else(|| aios_abi::paths::BACKUP.into()).join("undo")
}

/// The names of all snapshots in a directory, in order, at most so many.
pub(crate) fn names(place: &Path, most: usize) -> Result<Vec<String>, CallError> {
    let entries = std::fs::read_dir(place).map_err(|e| crate::file::named(place, &e))?;
    let name = |entry: std::fs::DirEntry| name_of(entry.file_name().to_str()?).map(str::to_owned);
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort_unstable();
    names.truncate(most);
    Ok(names)
}
