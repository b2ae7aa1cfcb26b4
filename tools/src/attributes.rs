//! What a file carries besides content, owner and mode: its extended attributes, access lists among them (xattr(7)).

use crate::tool::fs::shared::{base64, unbase64};
use aios_abi::CallError;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// Bytes of all values of a file together.
const MAX: usize = 64 * 1024;
/// Bytes of all names (`XATTR_LIST_MAX` of linux/limits.h).
const MAX_NAMES: usize = 64 * 1024;
/// Power that a program gets by being started (capabilities(7)).
const POWER: &str = "security.capability";
/// What a security module keeps at a file is its own: it is carried along, but never taken away.
const MODULES: &str = "security.";
/// The access list: its mask is the group's part of the mode.
const ACCESS: &str = "system.posix_acl_access";

/// Extended attributes: name, and value as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Those of an open file. One whose attributes could not be put back is refused.
    pub fn of(file: impl AsFd, path: &Path) -> Result<Self, CallError> {
        let refused =
            |what: &str| CallError::denied(format!("{} {what}; it is not changed here", path.display()));
        let failed = |e: Errno| {
            let e = std::io::Error::from(e);
            CallError::failed(format!("{}: its extended attributes cannot be read: {e}", path.display()))
        };
        let mut names = vec![0; MAX_NAMES];
        let length = match flistxattr(&file, &mut names[..]) {
            Ok(length) => length,
            // A file system without them.
            Err(Errno::NOTSUP) => 0,
            Err(e) => return Err(failed(e)),
        };
        names.truncate(length);
        let mut all = BTreeMap::new();
        let (mut value, mut bytes) = (Vec::new(), 0);
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name = std::str::from_utf8(name)
                .map_err(|_| refused("has an extended attribute whose name is no text"))?;
            if name == POWER {
                return Err(refused("gives whoever starts it power of root's (security.capability)"));
            }
            value.resize(MAX + 1, 0);
            let length = match fgetxattr(&file, name, &mut value[..]) {
                Ok(length) => length,
                // Removed in between.
                Err(Errno::NODATA) => continue,
                Err(Errno::RANGE) => MAX + 1,
                Err(e) => return Err(failed(e)),
            };
            bytes += length;
            if bytes > MAX {
                return Err(refused(&format!("has more than {MAX} bytes of extended attributes")));
            }
            all.insert(name.to_owned(), base64(value.get(..length).unwrap_or_default()));
        }
        Ok(Self(all))
    }

    /// Give an open file these and no others.
    pub fn put(&self, file: impl AsFd, path: &Path) -> Result<(), CallError> {
        let now = Self::of(&file, path)?;
        let failed = |name: &str, e: Errno| {
            let e = std::io::Error::from(e);
            CallError::failed(format!("{}: its attribute {name} cannot be kept: {e}", path.display()))
        };
        for name in now.0.keys().filter(|name| !self.0.contains_key(*name) && !name.starts_with(MODULES)) {
            fremovexattr(&file, name.as_str()).map_err(|e| failed(name, e))?;
        }
        for (name, value) in self.0.iter().filter(|(name, value)| now.0.get(*name) != Some(value)) {
            let value = unbase64(value)?;
            fsetxattr(&file, name.as_str(), &value, XattrFlags::empty()).map_err(|e| failed(name, e))?;
        }
        Ok(())
    }

    /// Names and values.
    pub(crate) fn all(&self) -> Result<Vec<(&str, Vec<u8>)>, CallError> {
        self.0.iter().map(|(name, value)| Ok((name.as_str(), unbase64(value)?))).collect()
    }

    /// Attributes of elsewhere. Power that whoever starts a file would get by them is refused, and so is too much.
    pub(crate) fn from_all<'a>(
        all: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, CallError> {
        let (mut own, mut bytes) = (BTreeMap::new(), 0_usize);
        for (name, value) in all {
            bytes = bytes.saturating_add(value.len());
            if name == POWER || bytes > MAX {
                return Err(CallError::denied(format!("the extended attribute {name} is not restored")));
            }
            own.insert(name.to_owned(), base64(value));
        }
        Ok(Self(own))
    }

    /// Whether these differ in more than what follows from the mode.
    pub fn differ(&self, other: &Self) -> bool {
        let own = |all: &Self| -> BTreeMap<String, String> {
            all.0.iter().filter(|(name, _)| *name != ACCESS).map(|(n, v)| (n.clone(), v.clone())).collect()
        };
        own(self) != own(other)
    }
}
