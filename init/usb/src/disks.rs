//! What is plugged in, as sysfs shows it.

use std::path::Path;

/// A disk or partition that is plugged in by USB.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Plugged {
    /// Of the disk: the kernel gives each number once, also when the same stick comes back (`diskseq`).
    pub(crate) number: u64,
    /// Name in `/dev`.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What the stick calls itself.
    pub(crate) model: String,
}

/// All of them, in the order in which they came; of a disk with partitions the partitions.
pub(crate) fn plugged_in(sys: &Path) -> Vec<Plugged> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(sys.join("class/block")).into_iter().flatten().flatten() {
        let Ok(at) = entry.path().canonicalize() else { continue };
        let below = at.strip_prefix(sys.canonicalize().as_deref().unwrap_or(sys)).unwrap_or(&at);
        if !by_usb(below) {
            continue;
        }
        let partition = at.join("partition").exists();
        let Some(disk) = (if partition { at.parent() } else { Some(&*at) }) else { continue };
        let (Some(number), Some(blocks)) = (number(&disk.join("diskseq")), number(&at.join("size"))) else {
            continue;
        };
        // No medium is in a reader of cards, or the partitions are what counts.
        if blocks == 0 || (!partition && has_partitions(disk)) {
            continue;
        }
        found.push(Plugged {
            number,
            name: entry.file_name().to_string_lossy().into_owned(),
            size: blocks.saturating_mul(512),
            model: model(disk),
        });
    }
    found.sort();
    found
}

/// Whether the way to this device leads through a USB controller, as in `devices/pci0000:00/0000:00:04.0/usb1/1-1/…`.
fn by_usb(path: &Path) -> bool {
    path.components().any(|part| {
        let number = part.as_os_str().to_str().and_then(|part| part.strip_prefix("usb"));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

fn has_partitions(disk: &Path) -> bool {
    let entries = std::fs::read_dir(disk).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().join("partition").exists())
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Text from outside the machine, for a line of a log.
fn model(disk: &Path) -> String {
    let text = std::fs::read_to_string(disk.join("device/model")).unwrap_or_default();
    let plain: String = text.trim().chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(40).collect();
    if plain.is_empty() { "a stick".into() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A device in a tree like sysfs.
    fn add(sys: &Path, at: &str, files: &[(&str, &str)]) {
        let folder = sys.join("devices").join(at);
        std::fs::create_dir_all(&folder).expect("made");
        for (name, text) in files {
            let file = folder.join(name);
            std::fs::create_dir_all(file.parent().expect("has one")).expect("made");
            std::fs::write(file, text).expect("written");
        }
        let class = sys.join("class/block");
        std::fs::create_dir_all(&class).expect("made");
        symlink(&folder, class.join(folder.file_name().expect("has one"))).expect("linked");
    }

    #[test]
    fn partitions_stand_for_their_disk_and_only_what_came_by_usb_counts() {
        let folder = tempfile::tempdir().expect("made");
        let sys = folder.path();
        add(sys, "pci0/virtio1/block/vda", &[("diskseq", "1\n"), ("size", "8\n")]);
        let stick = "pci0/0000:00:04.0/usb1/1-1/1-1:1.0/host0/block/sda";
        add(
            sys,
            stick,
            &[("diskseq", "9\n"), ("size", "4096\n"), ("device/model", "Flash\u{1b}[1m Drive  \n")],
        );
        add(sys, &format!("{stick}/sda1"), &[("partition", "1\n"), ("size", "2048\n")]);
        add(sys, "pci0/usb2/2-1/block/sdb", &[("diskseq", "7\n"), ("size", "16\n")]);
        add(sys, "pci0/usb2/2-2/block/sdc", &[("diskseq", "8\n"), ("size", "0\n")]);
        add(sys, "pci0/usbhub/block/sdd", &[("diskseq", "3\n"), ("size", "16\n")]);
        let plugged = |number, name: &str, size, model: &str| Plugged {
            number,
            name: name.into(),
            size,
            model: model.into(),
        };
        let expected = [plugged(7, "sdb", 8192, "a stick"), plugged(9, "sda1", 1 << 20, "Flash[1m Drive")];
        assert_eq!(plugged_in(sys), expected);
    }

    #[test]
    fn without_disks_nothing_is_plugged_in() {
        let folder = tempfile::tempdir().expect("made");
        assert!(plugged_in(folder.path()).is_empty());
    }
}
