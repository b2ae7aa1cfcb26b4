//! The kernel's command line: what the boot loader says about disks.

/// What of the command line concerns us.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Cmdline {
    /// `root=`: the root file system; without it the initramfs is the system.
    pub(crate) root: Option<Disk>,
    /// `rootfstype=`, erofs if not given.
    pub(crate) root_type: Option<String>,
    /// `aios.models=`: mounted read-only on /models.
    pub(crate) models: Option<Disk>,
    /// `aios.data=`: mounted on /data.
    pub(crate) data: Option<Disk>,
    /// `aios.rescue`: recovery mode.
    pub(crate) recovery: bool,
    /// Specifications that were not understood: one sentence each.
    pub(crate) faults: Vec<String>,
}

/// How a disk or a partition is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disk {
    /// `/dev/vda1`: the kernel's name.
    Name(String),
    /// `SERIAL=aios-root`: the serial number that the disk reports.
    Serial(String),
    /// `PARTLABEL=root-a`: the partition's name in the GPT.
    Label(String),
}

impl Disk {
    fn parse(text: &str) -> Option<Self> {
        let (kind, name) = match text.split_once('=') {
            Some((kind, name)) => (kind, name),
            None => ("/dev/", text.strip_prefix("/dev/")?),
        };
        if name.is_empty() || name.contains('/') {
            return None;
        }
        match kind {
            "/dev/" => Some(Self::Name(name.to_owned())),
            "SERIAL" => Some(Self::Serial(name.to_owned())),
            "PARTLABEL" => Some(Self::Label(name.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "/dev/{name}"),
            Self::Serial(serial) => write!(f, "SERIAL={serial}"),
            Self::Label(label) => write!(f, "PARTLABEL={label}"),
        }
    }
}

/// Read the text of `/proc/cmdline`. What is not ours is skipped; the last of two counts.
pub(crate) fn parse(text: &str) -> Cmdline {
    let mut found = Cmdline::default();
    for word in text.split_ascii_whitespace() {
        found.recovery |= word == "aios.rescue";
        let Some((key, value)) = word.split_once('=') else { continue };
        let target = match key {
            "root" => &mut found.root,
            "aios.models" => &mut found.models,
            "aios.data" => &mut found.data,
            "rootfstype" => {
                found.root_type = Some(value.to_owned());
                continue;
            }
            _ => continue,
        };
        match Disk::parse(value) {
            Some(disk) => *target = Some(disk),
            None => found.faults.push(format!(
                "kernel command line: {word} names no disk; write /dev/NAME, SERIAL=… or PARTLABEL=… after {key}="
            )),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_found_by_name_serial_or_label() {
        let found = parse(
            "console=ttyS0 root=SERIAL=aios-root aios.models=/dev/vdb aios.data=PARTLABEL=data quiet\n",
        );
        assert_eq!(found.root, Some(Disk::Serial("aios-root".into())));
        assert_eq!(found.models, Some(Disk::Name("vdb".into())));
        assert_eq!(found.data, Some(Disk::Label("data".into())));
        assert!(found.faults.is_empty());
    }

    #[test]
    fn recovery_mode_is_a_word_of_its_own() {
        assert!(parse("quiet aios.rescue panic=10").recovery);
        assert!(!parse("quiet xaios.rescue aios.rescue=0 --aios.rescue").recovery);
    }

    #[test]
    fn a_specification_that_names_no_disk_is_said_and_nothing_else_is_lost() {
        let found = parse("root=UUID=1 aios.data=SERIAL= aios.models=/dev/../x root=/dev/vda");
        assert_eq!(found.root, Some(Disk::Name("vda".into())));
        assert_eq!(found.faults.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_makes_it_panic(text in "\\PC*") {
            parse(&text);
        }
    }
}
