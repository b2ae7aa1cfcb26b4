//! An OCI bundle (`config.json` and a root file system, runtime-spec) as a recipe: what it asks for becomes a service file.
//!
//! There is no container runtime on the appliance: PID 1 runs the program, in the sandbox of every extension. What
//! that sandbox does not have is refused here with the place that asks for it, or left out with a note when the
//! program does without.

mod config;

use aios_extension::{USERS, name_is_plain};
use anyhow::{Context, Result, bail, ensure};
use config::{Capabilities, Config, Process, Resources};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use toml::{Table, Value};

/// A longer `config.json` is none.
const MAX_CONFIG: u64 = 1 << 20;
/// Numbers that users of containers get, from their names; below it are those that people give.
const FIRST_USER: u32 = 10_000;
/// Where a program is looked for whose path is not said, unless the bundle says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the sandbox has anyhow, or does without.
const USUAL_MOUNTS: [&str; 10] = [
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/tmp",
    "/run",
    "/run/lock",
];
/// Directories of a root that every service may read; others are named in its service file.
const READABLE: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib64", "etc", "tmp"];
/// And those that are mounted over.
const COVERED: [&str; 6] = ["proc", "sys", "dev", "run", "data", "models"];

/// What the one who builds says beside the bundle.
#[derive(Debug, Default)]
pub(crate) struct Wishes<'a> {
    /// Name of the extension and its service.
    pub(crate) name: &'a str,
    /// Its version, if the bundle has no annotation of it.
    pub(crate) version: Option<&'a str>,
    /// It sees the machine's network.
    pub(crate) network: bool,
    /// It is run once on request, and not kept up.
    pub(crate) once: bool,
}

/// A bundle as a recipe.
#[derive(Debug)]
pub(crate) struct Translated {
    /// `extension.toml`
    pub(crate) recipe: String,
    /// The service file.
    pub(crate) service: String,
    /// The root file system.
    pub(crate) rootfs: PathBuf,
    /// What was left out because the program does without it.
    pub(crate) notes: Vec<String>,
}

/// `extension.toml` of the recipe.
#[derive(Serialize)]
struct Recipe<'a> {
    name: &'a str,
    version: &'a str,
    description: &'a str,
    licence: &'a str,
    container: bool,
    users: BTreeMap<&'a str, u32>,
}

/// The number of a container's user: the same whenever it is built.
fn user_of(name: &str) -> u32 {
    let hash = blake3::hash(name.as_bytes());
    let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    FIRST_USER + number % (USERS.end() - FIRST_USER + 1)
}

/// Read a bundle. The error names the place in `config.json`.
pub(crate) fn translate(bundle: &Path, wishes: &Wishes<'_>) -> Result<Translated> {
    let path = bundle.join("config.json");
    let mut text = String::new();
    let file = std::fs::File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let length = file.take(MAX_CONFIG + 1).read_to_string(&mut text)?;
    ensure!(length as u64 <= MAX_CONFIG, "{} is longer than {MAX_CONFIG} bytes", path.display());
    let config = parse(&text).with_context(|| format!("{}", path.display()))?;
    let relative = config.root.as_ref().map(|root| root.path.as_path()).unwrap_or(Path::new(""));
    let below = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(below && relative != Path::new(""), "root.path: {} is not below the bundle", relative.display());
    let rootfs = bundle.join(relative);
    let real =
        rootfs.canonicalize().with_context(|| format!("root.path: {} is not there", rootfs.display()))?;
    ensure!(
        real.starts_with(bundle.canonicalize()?),
        "root.path: {} leads out of the bundle",
        rootfs.display()
    );
    let mut translated = as_recipe(&config, &real, wishes).with_context(|| format!("{}", path.display()))?;
    translated.rootfs = real;
    Ok(translated)
}

fn parse(text: &str) -> Result<Config> {
    let config: Config = serde_json::from_str(text)?;
    ensure!(config.oci_version.starts_with("1."), "ociVersion: \"{}\" is not one of 1.x", config.oci_version);
    Ok(config)
}

fn as_recipe(config: &Config, rootfs: &Path, wishes: &Wishes<'_>) -> Result<Translated> {
    let name = wishes.name;
    ensure!(name_is_plain(name), "\"{name}\" is no name; use up to 32 of a-z, 0-9 and -");
    let process = config.process.as_ref().context("process: is missing, so there is nothing to run")?;
    let mut notes = Vec::new();
    let mut service = Table::new();
    let user = user_of(name);
    let said =
        |key: &str| config.annotations.get(&format!("org.opencontainers.image.{key}")).map(String::as_str);
    let description = said("title").or(said("description")).unwrap_or("A container");
    let description: String = description.chars().filter(|c| !c.is_control()).take(100).collect();
    service.insert("description".into(), Value::String(description.clone()));
    service.insert("exec".into(), list(program(process, rootfs)?));
    service.insert("user".into(), Value::String(user.to_string()));
    service.insert("root_image".into(), Value::String(aios_extension::IMAGE.into()));
    service.insert("state_directory".into(), Value::String(format!("/data/{name}")));
    service.insert("runtime_directory".into(), Value::String(format!("/run/{name}")));
    if wishes.once {
        service.insert("kind".into(), Value::String("oneshot".into()));
        service.insert("start".into(), Value::String("manual".into()));
    }
    if !matches!(process.cwd.as_str(), "" | "/") {
        service.insert("working_directory".into(), Value::String(process.cwd.clone()));
    }
    service.insert("environment".into(), Value::Table(environment(&process.env, &mut notes)?));
    refuse_outside(config, name, wishes, &mut notes)?;
    service.insert("resources".into(), Value::Table(resources(config, process, &mut notes)?));
    service.insert("sandbox".into(), Value::Table(sandbox(process, rootfs, wishes, &mut notes)?));
    if process.terminal {
        notes.push("process.terminal: it gets no terminal; its output is its log".into());
    }
    if !config.hostname.is_empty() {
        notes.push(format!("hostname: it sees the machine's name, not \"{}\"", config.hostname));
    }
    if !config.root.as_ref().is_some_and(|root| root.readonly) {
        notes.push(format!("root.readonly: its root is read-only; what it keeps belongs into /data/{name}"));
    }
    let recipe = Recipe {
        name,
        version: wishes.version.or(said("version")).unwrap_or("1"),
        description: &description,
        licence: said("licenses").unwrap_or("NOASSERTION"),
        container: true,
        users: BTreeMap::from([(name, user)]),
    };
    let text = toml::to_string(&recipe)?;
    Ok(Translated { recipe: text, service: toml::to_string(&service)?, rootfs: PathBuf::new(), notes })
}

fn list(words: Vec<String>) -> Value {
    Value::Array(words.into_iter().map(Value::String).collect())
}

/// Its words, with the path of the program written out.
fn program(process: &Process, rootfs: &Path) -> Result<Vec<String>> {
    let first = process.args.first().context("process.args: is empty, so there is nothing to run")?;
    let is_there = |path: &str| {
        // A link leads to another place in the image, which is not followed here.
        let inside = rootfs.join(path.trim_start_matches('/'));
        inside.symlink_metadata().is_ok_and(|found| !found.is_dir())
    };
    let place = if first.starts_with('/') {
        is_there(first).then(|| first.clone())
    } else if first.contains('/') {
        bail!("process.args: \"{first}\" depends on where it is started; write its absolute path");
    } else {
        let path = process.env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
        path.split(':').map(|folder| format!("{folder}/{first}")).find(|path| is_there(path))
    };
    let place =
        place.with_context(|| format!("process.args: there is no program \"{first}\" in the bundle"))?;
    Ok(std::iter::once(place).chain(process.args.iter().skip(1).cloned()).collect())
}

fn environment(variables: &[String], notes: &mut Vec<String>) -> Result<Table> {
    let mut table = Table::new();
    for variable in variables {
        let (name, value) = variable
            .split_once('=')
            .with_context(|| format!("process.env: \"{variable}\" is no NAME=VALUE"))?;
        match name {
            "TERM" | "HOSTNAME" => notes.push(format!("process.env: {name} is left out")),
            _ => drop(table.insert(name.into(), Value::String(value.into()))),
        }
    }
    Ok(table)
}

/// Everything that would reach out of the sandbox.
fn refuse_outside(config: &Config, name: &str, wishes: &Wishes<'_>, notes: &mut Vec<String>) -> Result<()> {
    let Config { mounts, hooks, linux, .. } = config;
    if let Some(hook) = hooks.iter().flatten().next() {
        bail!("hooks.{}: hooks are programs outside of the container; remove them", hook.0);
    }
    if let Some(device) = linux.devices.first() {
        bail!("linux.devices: {} cannot be had; an extension gets no device", device.path.display());
    }
    if let Some((name, _)) = linux.sysctl.first_key_value() {
        bail!("linux.sysctl: {name} is the machine's; remove it");
    }
    if !matches!(linux.rootfs_propagation.as_str(), "" | "private" | "rprivate" | "slave" | "rslave") {
        bail!("linux.rootfsPropagation: \"{}\" shows its mounts to the machine", linux.rootfs_propagation);
    }
    for (at, namespace) in linux.namespaces.iter().enumerate() {
        if let Some(path) = namespace.path.as_deref().filter(|path| !path.is_empty()) {
            bail!("linux.namespaces[{at}]: the {} namespace {path} is another's", namespace.kind);
        }
    }
    let has = |kind: &str| linux.namespaces.iter().any(|namespace| namespace.kind == kind);
    for kind in ["pid", "ipc", "mount"] {
        ensure!(has(kind), "linux.namespaces: without a {kind} namespace it would have the machine's");
    }
    if !has("network") && !wishes.network {
        bail!(
            "linux.namespaces: without a network namespace it has the machine's network; grant it with --network"
        );
    }
    if has("network") && !wishes.network {
        notes.push("linux.namespaces: its network is empty; --network grants it the machine's".into());
    }
    let own = [PathBuf::from(format!("/data/{name}")), PathBuf::from(format!("/run/{name}"))];
    for (at, mount) in mounts.iter().enumerate() {
        let to = &mount.destination;
        let shown = to.display();
        let usual = USUAL_MOUNTS.iter().any(|usual| to == Path::new(usual));
        let kernels = matches!(
            mount.kind.as_str(),
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2"
        );
        match own.iter().any(|place| to.starts_with(place)) {
            _ if usual && kernels => {}
            true if matches!(mount.kind.as_str(), "" | "bind" | "none" | "tmpfs") => {
                notes.push(format!(
                    "mounts[{at}]: {shown} begins empty; what {} holds is not brought",
                    mount.source
                ));
            }
            _ => bail!(
                "mounts[{at}]: {} {} at {shown} is not possible; it may keep things in /data/{name} and /run/{name} alone",
                mount.kind,
                mount.source
            ),
        }
    }
    Ok(())
}

fn resources(config: &Config, process: &Process, notes: &mut Vec<String>) -> Result<Table> {
    let Resources { memory, pids, cpu } = &config.linux.resources;
    let mut table = Table::new();
    // A negative number is no limit.
    let limit = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
    let mut put = |key: &str, value: Value| drop(table.insert(key.into(), value));
    if let Some(bytes) = limit(memory.limit) {
        ensure!(bytes > 0, "linux.resources.memory.limit: 0 is no limit that a program could live with");
        put("memory_max", size(bytes));
        // In the bundle it is both together.
        if let Some(swap) =
            limit(memory.swap).and_then(|both| both.checked_sub(bytes)).filter(|swap| *swap > 0)
        {
            put("swap_max", size(swap));
        }
    }
    if let Some(most) = limit(pids.limit).filter(|most| *most > 0) {
        put("pids_max", Value::Integer(i64::try_from(most.min(1 << 22))?));
    }
    if let Some(quota) = limit(cpu.quota).filter(|quota| *quota > 0) {
        let period = cpu.period.unwrap_or(100_000).max(1);
        put("cpu_max", Value::String(format!("{}%", (quota.saturating_mul(100) / period).max(1))));
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
        // 2 to 262144 become 1 to 10000, as runtimes do it (cgroup-v2.rst, "cpu.weight").
        let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
        put("cpu_weight", Value::Integer(i64::try_from(weight)?));
    }
    for rlimit in &process.rlimits {
        match rlimit.kind.as_str() {
            "RLIMIT_NOFILE" => {
                put("open_files", Value::Integer(i64::try_from(rlimit.hard.clamp(16, 1 << 20))?));
            }
            other => notes.push(format!("process.rlimits: {other} is left out")),
        }
    }
    match process.oom_score_adj {
        score @ 1..=1000 => put("oom_score", Value::Integer(score.into())),
        0 => {}
        score => notes.push(format!("process.oomScoreAdj: {score} is left out; no extension is preferred")),
    }
    Ok(table)
}

/// Sizes are written in whole KiB.
fn size(bytes: u64) -> Value {
    Value::String(format!("{}K", bytes.div_ceil(1024)))
}

fn sandbox(process: &Process, rootfs: &Path, wishes: &Wishes<'_>, notes: &mut Vec<String>) -> Result<Table> {
    let mut table = Table::new();
    table.insert("network".into(), Value::Boolean(wishes.network));
    let Capabilities { bounding, effective, ambient } = &process.capabilities;
    let mut kept = Vec::new();
    for capability in bounding.union(effective).chain(ambient).collect::<BTreeSet<_>>() {
        let used = effective.contains(capability) || ambient.contains(capability);
        match standing(capability) {
            Standing::Out => {
                bail!("process.capabilities: {capability} leads out of the container; remove it")
            }
            Standing::May if used => kept.push(capability.clone()),
            Standing::Without if used => {
                notes.push(format!("process.capabilities: {capability} is left out"))
            }
            Standing::May | Standing::Without => {}
        }
    }
    let has = |any: &[&str]| kept.iter().any(|capability| any.contains(&capability.as_str()));
    if has(&["CAP_CHOWN", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID"]) {
        table.insert("syscalls".into(), list(vec!["ownership".into()]));
    }
    if !kept.is_empty() {
        table.insert("capabilities".into(), list(kept));
    }
    let mut read = Vec::new();
    for path in crate::stamp::entries(rootfs)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !READABLE.contains(&name.as_str()) && !COVERED.contains(&name.as_str()) {
            read.push(format!("/{name}"));
        }
    }
    if !read.is_empty() {
        table.insert("read".into(), list(read));
    }
    Ok(table)
}

/// What becomes of a capability.
enum Standing {
    /// An extension may have it.
    May,
    /// Runtimes grant it to everybody, and hardly a program needs it.
    Without,
    /// Who asks for it wants more than a sandbox.
    Out,
}

fn standing(capability: &str) -> Standing {
    match capability {
        _ if aios_extension::may_have(capability) => Standing::May,
        "CAP_FSETID" | "CAP_MKNOD" | "CAP_SETFCAP" | "CAP_SETPCAP" | "CAP_SYS_CHROOT" | "CAP_AUDIT_WRITE" => {
            Standing::Without
        }
        _ => Standing::Out,
    }
}

/// The recipe of a bundle, in a folder that is gone when this value is.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) rootfs: PathBuf,
}

/// Read a bundle and write its recipe. What is left out is said.
pub(crate) fn recipe_of(bundle: &Path, wishes: &Wishes<'_>) -> Result<Made> {
    let Translated { recipe, service, rootfs, notes } = translate(bundle, wishes)?;
    notes.iter().for_each(|note| println!("image: {note}"));
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("extension.toml"), recipe)?;
    std::fs::create_dir(folder.path().join("services"))?;
    std::fs::write(folder.path().join(format!("services/{}.toml", wishes.name)), service)?;
    Ok(Made { folder, rootfs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aios_extension::Manifest;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    /// As `runc spec` writes it, in short.
    fn config() -> Json {
        json!({
            "ociVersion": "1.2.0",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": ["web", "--port", "80"],
                "env": ["PATH=/usr/bin:/bin", "TERM=xterm", "MODE=fast"],
                "cwd": "/srv",
                "capabilities": {
                    "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                    "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
                },
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
                "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": true },
            "hostname": "web",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] },
                { "destination": "/data/web/files", "type": "bind", "source": "/var/lib/volumes/1" }
            ],
            "linux": {
                "resources": {
                    "devices": [{ "allow": false, "access": "rwm" }],
                    "memory": { "limit": 67_108_864, "swap": 100_663_296 },
                    "pids": { "limit": 32 },
                    "cpu": { "quota": 50_000, "period": 100_000, "shares": 1024 }
                },
                "namespaces": [
                    { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
                ]
            },
            "annotations": { "org.opencontainers.image.version": "3.1", "org.opencontainers.image.title": "Web" }
        })
    }

    fn bundle(config: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("rootfs/usr/bin")).expect("made");
        std::fs::create_dir_all(folder.path().join("rootfs/srv")).expect("made");
        std::fs::write(folder.path().join("rootfs/usr/bin/web"), "x").expect("written");
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        folder
    }

    const WISHES: Wishes<'static> = Wishes { name: "web", version: None, network: false, once: false };

    fn read(config: &str) -> Result<Translated, String> {
        translate(bundle(config).path(), &WISHES).map_err(|e| format!("{e:#}"))
    }

    /// What the appliance makes of it.
    fn unit(translated: &Translated) -> Result<aios_unit::Unit, String> {
        let mut manifest: Table = toml::from_str(&translated.recipe).expect("is TOML");
        let services = Table::from_iter([("web".to_owned(), Value::String(translated.service.clone()))]);
        manifest.insert("services".into(), services.into());
        manifest.insert("architecture".into(), std::env::consts::ARCH.into());
        let manifest = Manifest::parse(&toml::to_string(&manifest).expect("is TOML"))?;
        assert!(manifest.container);
        Ok(manifest.units(Path::new("/data/extensions/web.aiosx"))?.remove(0))
    }

    #[test]
    fn what_a_bundle_asks_for_becomes_a_service_file() {
        let translated = read(&config().to_string()).expect("is good");
        let unit = unit(&translated).expect("is a service");
        assert_eq!(unit.exec, ["/usr/bin/web", "--port", "80"]);
        assert_eq!(unit.working_directory.as_deref(), Some(Path::new("/srv")));
        assert_eq!(unit.environment.len(), 2, "{:?}", unit.environment);
        let limits = &unit.resources;
        assert_eq!(
            (limits.memory_max, limits.swap_max, limits.pids_max),
            (Some(64 << 20), Some(32 << 20), Some(32))
        );
        assert_eq!((limits.cpu_max, limits.cpu_weight, limits.open_files), (Some(50), Some(39), Some(1024)));
        assert!(!unit.sandbox.network && unit.sandbox.read == [Path::new("/srv")]);
        assert!(USERS.contains(&unit.user.uid) && unit.user.uid >= FIRST_USER);
        assert_eq!(unit.sandbox.capabilities.iter().count(), 2);
        assert!(translated.recipe.contains("version = \"3.1\""));
        let noted = |what: &str| translated.notes.iter().any(|note| note.contains(what));
        assert!(noted("CAP_AUDIT_WRITE is left out") && noted("hostname") && noted("its network is empty"));
        assert!(noted("/data/web/files begins empty") && !noted("root.readonly"));
    }

    #[test]
    fn what_would_reach_out_is_refused_with_its_place() {
        let refused = |pointer: &str, value: Json, place: &str| {
            let mut config = config();
            let (above, key) = pointer.rsplit_once('/').expect("a pointer");
            let above = config.pointer_mut(above).expect("is there");
            match key.parse::<usize>() {
                Ok(at) => above.as_array_mut().expect("a list").insert(at, value),
                Err(_) => drop(above.as_object_mut().expect("an object").insert(key.into(), value)),
            }
            let said = read(&config.to_string()).expect_err(place);
            assert!(said.contains(place), "{pointer}: {said}");
        };
        let socket =
            json!({ "destination": "/run/docker.sock", "type": "bind", "source": "/run/docker.sock" });
        refused("/mounts/0", socket, "mounts[0]: bind /run/docker.sock at /run/docker.sock is not possible");
        let root = json!({ "destination": "/proc", "type": "bind", "source": "/" });
        refused("/mounts/1", root, "mounts[1]");
        refused("/process/capabilities/bounding/0", json!("CAP_SYS_ADMIN"), "CAP_SYS_ADMIN leads out");
        refused("/process/capabilities/ambient", json!(["CAP_NET_ADMIN"]), "CAP_NET_ADMIN leads out");
        refused("/process/args", json!([]), "process.args: is empty");
        refused("/process/args", json!(["sh", "-c", "x"]), "there is no program \"sh\"");
        refused("/process/args", json!(["./web"]), "write its absolute path");
        refused("/process/env/0", json!("x"), "process.env: \"x\" is no NAME=VALUE");
        refused("/linux/devices", json!([{ "path": "/dev/kvm" }]), "linux.devices: /dev/kvm");
        refused("/linux/namespaces/0", json!({ "type": "pid", "path": "/proc/1/ns/pid" }), "namespaces[0]");
        refused("/linux/namespaces", json!([{ "type": "mount" }]), "without a pid namespace");
        let hosts = json!([{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }]);
        refused("/linux/namespaces", hosts, "grant it with --network");
        refused("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }), "linux.sysctl: net.ipv4.ip_forward");
        refused("/linux/rootfsPropagation", json!("shared"), "linux.rootfsPropagation");
        refused("/hooks", json!({ "prestart": [{ "path": "/bin/x" }] }), "hooks.prestart");
        refused("/root", json!({ "path": "../../etc" }), "root.path");
        refused("/root", json!({ "path": "/etc" }), "root.path");
        refused("/ociVersion", json!("2.0"), "ociVersion");
    }

    #[test]
    fn a_link_does_not_lead_out_of_the_bundle() {
        let mut config = config();
        config["root"]["path"] = "link".into();
        let folder = bundle(&config.to_string());
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).expect("made");
        let said = translate(folder.path(), &WISHES).expect_err("leads out");
        assert!(format!("{said:#}").contains("leads out of the bundle"), "{said:#}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What is taken is never more than an extension may have: the appliance reads it, or it is refused.
        #[test]
        fn whatever_stands_in_a_field_it_is_taken_whole_or_refused(
            field in 0_usize..9, text in "\\PC{0,40}", number in any::<i64>()
        ) {
            let mut config = config();
            let (pointer, value) = match field {
                0 => ("/process/cwd", json!(text)),
                1 => ("/process/env/2", json!(format!("{text}=x"))),
                2 => ("/linux/resources/memory/limit", json!(number)),
                3 => ("/linux/resources/cpu/quota", json!(number)),
                4 => ("/linux/resources/pids/limit", json!(number)),
                5 => ("/mounts/2/destination", json!(format!("/data/web/{text}"))),
                6 => ("/process/args/1", json!(text)),
                7 => ("/annotations/org.opencontainers.image.title", json!(text)),
                _ => ("/process/rlimits/0/hard", json!(number)),
            };
            *config.pointer_mut(pointer).expect("is there") = value;
            if let Ok(translated) = read(&config.to_string())
                && let Ok(unit) = unit(&translated)
            {
                prop_assert!(!unit.sandbox.privileged && unit.sandbox.write.is_empty());
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = read(&text);
        }
    }
}
