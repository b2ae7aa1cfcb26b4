//! The root file system.

use crate::Checkout;
use crate::fsck::Fsck;
use crate::kernel::Kernel;
use crate::models::Models;
use crate::modules::Lists;
use crate::stage::Stage;
use crate::stamp::Inputs;
use crate::tool::{erofs, sha256};
use aios_abi::tool::Component;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const LICENCE: &str = "MIT OR Apache-2.0";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The daemons: program and place in the image.
const PROGRAMS: [(&str, &str); 10] = [
    ("aios-init", "sbin/init"),
    ("aios-toold", "usr/bin/aios-toold"),
    ("aios-netd", "usr/bin/aios-netd"),
    ("aios-inferd", "usr/bin/aios-inferd"),
    // A worker that is a service: it has the network, which inferd has not.
    ("aios-engine-remote", "usr/bin/aios-engine-remote"),
    ("aios-agentd", "usr/bin/aios-agentd"),
    ("aios-console", "usr/bin/aios-console"),
    ("aios-rescue", "usr/bin/aios-rescue"),
    ("aios-zram", "usr/bin/aios-zram"),
    ("aios-usb", "usr/bin/aios-usb"),
];

/// The engine workers. The one for text chooses among those whose names go on after its own.
const ENGINES: [(&str, &str); 6] = [
    ("aios-engine-llama", "usr/lib/aios/engines/llama"),
    ("aios-engine-llama-avx-vnni", "usr/lib/aios/engines/llama-avx-vnni"),
    ("aios-engine-llama-avx512", "usr/lib/aios/engines/llama-avx512"),
    ("aios-engine-llama-avx512-vnni", "usr/lib/aios/engines/llama-avx512-vnni"),
    ("aios-engine-candle", "usr/lib/aios/engines/candle"),
    // What learns on a machine.
    ("aios-adapt", "usr/lib/aios/engines/adapt"),
];

/// Mount points, which a read-only root must have from the start.
const EMPTY: [&str; 7] = ["proc", "sys", "dev", "run", "tmp", "data", "models"];

/// One executable of the image.
struct Program {
    from: PathBuf,
    name: String,
    place: String,
    version: String,
    licence: &'static str,
}

/// What goes into the root besides our own programs and `board/rootfs`.
pub(crate) struct Content {
    pub(crate) kernel: Kernel,
    pub(crate) fsck: Fsck,
    pub(crate) lists: Lists,
    pub(crate) models: Models,
    /// More programs for `/usr/bin`.
    pub(crate) extra: Vec<PathBuf>,
    /// The line of `/etc/aios/recovery.pub`.
    pub(crate) recovery: String,
    /// The text of `/etc/aios/extension-keys`.
    pub(crate) extension_keys: String,
}

/// Build it unless it is what it would be. True when it was built.
pub(crate) fn build(checkout: &Checkout, content: &Content, image: &Path) -> Result<bool> {
    let Content { kernel, fsck, lists, models, extra, recovery, extension_keys } = content;
    let programs = programs(checkout, fsck, extra)?;
    let mut inputs = Inputs::new()?;
    for program in &programs {
        inputs.file(&program.from)?;
    }
    inputs.tree(&checkout.board)?;
    inputs.file(&kernel.image)?;
    inputs.text(&serde_json::to_string(&models.components)?);
    inputs.text(recovery);
    inputs.text(extension_keys);
    let stamp = inputs.stamp(image, &checkout.cache)?;
    if stamp.holds() {
        return Ok(false);
    }
    println!("image: building the root");
    let stage = Stage::new(&checkout.cache)?;
    EMPTY.iter().try_for_each(|name| stage.directory(name))?;
    stage.tree(&checkout.board.join("rootfs"), "")?;
    let mut components = models.components.clone();
    for Program { from, name, place, version, licence } in &programs {
        stage.program(from, place)?;
        components.push(component(from, name, version, "program", licence)?);
    }
    kernel.install(&stage, &lists.all(), &lists.load)?;
    components.push(component(&kernel.image, "linux", &kernel.version, "kernel", "GPL-2.0-only")?);
    components.sort_by(|a, b| a.name.cmp(&b.name));
    let manifest = aios_abi::paths::MANIFEST.trim_start_matches('/');
    stage.write(manifest, &serde_json::to_vec_pretty(&components)?)?;
    stage.write(aios_rescue::key::BUILDERS.trim_start_matches('/'), recovery.as_bytes())?;
    stage.write(aios_extension::KEY_FILES[0].trim_start_matches('/'), extension_keys.as_bytes())?;
    let release = format!("NAME=aiOS\nID=aios\nVERSION_ID={VERSION}\nPRETTY_NAME=\"aiOS {VERSION}\"\n");
    stage.write("etc/os-release", release.as_bytes())?;
    erofs(stage.path(), image, "a1050000-0000-4000-8000-00000000000a", true)?;
    stamp.set()?;
    Ok(true)
}

fn programs(checkout: &Checkout, fsck: &Fsck, extra: &[PathBuf]) -> Result<Vec<Program>> {
    let ours = |from: PathBuf, name: &str, place: &str| Program {
        from,
        name: name.to_owned(),
        place: place.to_owned(),
        version: VERSION.to_owned(),
        licence: LICENCE,
    };
    let daemons = PROGRAMS.iter().map(|(name, place)| ours(checkout.program(name), name, place));
    let engines = ENGINES.iter().map(|(name, place)| ours(checkout.engines.join(name), name, place));
    let mut programs: Vec<Program> = daemons.chain(engines).collect();
    programs.push(Program {
        from: fsck.program.clone(),
        name: "e2fsck".to_owned(),
        place: "usr/sbin/e2fsck".to_owned(),
        version: fsck.version.clone(),
        licence: "GPL-2.0-only",
    });
    for path in extra {
        let name = path.file_name().context("a program without a name")?.to_string_lossy().into_owned();
        programs.push(ours(path.clone(), &name, &format!("usr/bin/{name}")));
    }
    Ok(programs)
}

fn component(file: &Path, name: &str, version: &str, kind: &str, licence: &str) -> Result<Component> {
    Ok(Component {
        name: name.into(),
        version: version.into(),
        kind: kind.into(),
        licence: licence.into(),
        bytes: std::fs::metadata(file)?.len(),
        sha256: sha256(file)?,
    })
}
