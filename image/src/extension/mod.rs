//! Signed extension images: from a recipe to one file (`init/extension` has the format).
//!
//! A recipe is a folder: `extension.toml` ([`Recipe`]), `services/*.toml`, and `root/`, which is copied into the image after
//! the packages. The same inputs make the same file: times, owners and order are fixed.

mod oci;
mod packages;

pub(crate) use oci::{Wishes, recipe_of};

use crate::stage::Stage;
use crate::stamp::entries;
use crate::tool::erofs;
use aios_extension::{Manifest, SUFFIX, Seal};
use anyhow::{Context, Error, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories that are there to be mounted on, and `/tmp`.
const PLACES: [&str; 7] = ["proc", "sys", "dev", "run", "tmp", "data", "models"];
/// Nobody reads these on an appliance. What says under which licence a package is stays.
const PRUNED: [&str; 11] = [
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/doc-base",
    "usr/share/bug",
    "usr/share/menu",
    "usr/share/pixmaps",
    "lib/systemd",
    "var",
];
/// A longer `/etc/passwd` of a container is left out.
const MAX_ACCOUNTS: u64 = 256 << 10;
/// Every image has the same: they are told apart by their seals.
const UUID: &str = "a1050000-0000-4000-8000-0000000000ee";

/// `extension.toml` of a recipe: the manifest before its services are in it, and where the files come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    name: String,
    /// Without it that of the first package.
    version: Option<String>,
    description: String,
    #[serde(default = "this_machines")]
    architecture: String,
    least_aios: Option<String>,
    licence: String,
    /// It is made from an OCI bundle.
    #[serde(default)]
    container: bool,
    #[serde(default)]
    users: BTreeMap<String, u32>,
    /// Packages of the distribution, with all that they depend on.
    #[serde(default)]
    packages: Vec<String>,
    /// Packages that they depend on and do without here.
    #[serde(default)]
    without: Vec<String>,
    /// Files and directories that are left out.
    #[serde(default)]
    prune: Vec<PathBuf>,
    /// Symbolic links, and where they lead.
    #[serde(default)]
    links: BTreeMap<String, PathBuf>,
}

fn this_machines() -> String {
    std::env::consts::ARCH.into()
}

/// What is built, and with what.
pub(crate) struct Order<'a> {
    /// The recipe's folder.
    pub(crate) recipe: &'a Path,
    /// More packages of the distribution.
    pub(crate) packages: &'a [String],
    /// Another tree that is copied into the image, after `root/`.
    pub(crate) from: Option<&'a Path>,
    /// The root file system of a container, which comes first.
    pub(crate) rootfs: Option<&'a Path>,
    /// Another version.
    pub(crate) version: Option<&'a str>,
    /// The private half of the key that signs.
    pub(crate) key: &'a Path,
    /// Where the file goes.
    pub(crate) out: &'a Path,
}

/// Make a key: the private half in this file, the public one beside it with `.pub` at the end.
pub(crate) fn make_key(path: &Path) -> Result<PathBuf> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let public = PathBuf::from(format!("{}.pub", path.display()));
    let write = |path: &Path, mode: u32, text: &str| -> Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let file =
            file.as_mut().map_err(|e| Error::msg(format!("{} cannot be made: {e}", path.display())))?;
        Ok(file.write_all(text.as_bytes())?)
    };
    write(path, 0o600, &aios_extension::private_line(&key))?;
    write(&public, 0o644, &aios_extension::public_line(&key))?;
    Ok(public)
}

/// The builder's own key, which is made once in `cache`.
pub(crate) fn own_key(cache: &Path) -> Result<PathBuf> {
    let private = cache.join("extension.key");
    if !private.exists() {
        std::fs::create_dir_all(cache).with_context(|| format!("{} cannot be made", cache.display()))?;
        println!("image: {} is a new key; whoever has it can extend your machines", private.display());
        make_key(&private)?;
    }
    Ok(private)
}

/// Sign a file of any kind: the path of the signature beside it.
pub(crate) fn sign(file: &Path, key: &Path) -> Result<PathBuf> {
    use sha2::Digest;
    let key = aios_extension::read_private(key).map_err(Error::msg)?;
    let mut hasher = sha2::Sha256::new();
    let mut open = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = open.read(&mut piece)?;
        match piece.get(..length) {
            None | Some([]) => break,
            Some(part) => hasher.update(part),
        }
    }
    let mut signature = file.as_os_str().to_owned();
    signature.push(".sig");
    let signature = PathBuf::from(signature);
    std::fs::write(&signature, aios_extension::detached_line(&key, &hasher.finalize().into()))
        .with_context(|| format!("{} cannot be written", signature.display()))?;
    Ok(signature)
}

/// The public keys that an image trusts: the builder's own, and those of the file that was named.
pub(crate) fn trusted(named: Option<&Path>, cache: &Path) -> Result<String> {
    let key = aios_extension::read_private(&own_key(cache)?).map_err(Error::msg)?;
    let mut text =
        format!("# Whose extension images this machine takes.\n{}", aios_extension::public_line(&key));
    if let Some(path) = named {
        let more =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let keys = more.lines().filter(|line| aios_extension::parse_key(line.as_bytes()).is_some()).count();
        ensure!(keys > 0, "{} holds no key; `aios-image key FILE` makes one", path.display());
        text += &more;
    }
    Ok(text)
}

/// Build the file, and say where it is.
pub(crate) fn build(order: &Order<'_>, cache: &Path) -> Result<PathBuf> {
    let key = aios_extension::read_private(order.key).map_err(Error::msg)?;
    let path = order.recipe.join("extension.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let recipe: Recipe = toml::from_str(&text).with_context(|| format!("{} is no recipe", path.display()))?;
    let stage = Stage::new(cache)?;
    let packages = [recipe.packages.as_slice(), order.packages].concat();
    let version = packages::unpack(&packages, &recipe.without, stage.path(), cache)?;
    for name in PRUNED.map(Path::new).into_iter().chain(recipe.prune.iter().map(PathBuf::as_path)) {
        prune(stage.path(), name)?;
    }
    prune_documents(&stage.path().join("usr/share/doc"))?;
    let accounts = order.rootfs.map(|rootfs| lay(&stage, rootfs)).transpose()?.unwrap_or_default();
    fill(&stage, &recipe, &accounts)?;
    for tree in [order.recipe.join("root")].iter().map(PathBuf::as_path).chain(order.from) {
        if tree.exists() {
            stage.tree(tree, "")?;
        }
    }
    let version = order.version.map(str::to_owned).or(recipe.version.clone()).or(version);
    let version = version.context("the recipe has neither a version nor packages")?;
    let manifest = manifest(order.recipe, recipe, version)?;
    std::fs::create_dir_all(order.out).with_context(|| format!("{} cannot be made", order.out.display()))?;
    let result = order.out.join(format!("{}-{}.{SUFFIX}", manifest.name, manifest.version));
    erofs(stage.path(), &result, UUID, true)?;
    seal(&result, &manifest, &key)?;
    Ok(result)
}

/// Users and groups that a container brings, as they stand in its files.
#[derive(Debug, Default)]
struct Accounts {
    passwd: String,
    group: String,
}

/// Lay down the root file system of a container, before anything of ours is written: no link of it may stand where that goes.
fn lay(stage: &Stage, rootfs: &Path) -> Result<Accounts> {
    stage.tree_without(rootfs, "", &PLACES)?;
    let etc = stage.path().join("etc");
    ensure!(!etc.is_symlink(), "the container's /etc is a link; lay a folder in its place");
    let text = |name: &str| -> Result<String> {
        let path = etc.join(name);
        match path.symlink_metadata() {
            // Its own, and as long as such files are.
            Ok(found) if found.is_file() && found.len() <= MAX_ACCOUNTS => {
                Ok(std::fs::read_to_string(&path)?)
            }
            _ => Ok(String::new()),
        }
    };
    let accounts = Accounts { passwd: text("passwd")?, group: text("group")? };
    for name in ["passwd", "group", "nsswitch.conf", "hosts", "resolv.conf"] {
        prune(stage.path(), &Path::new("etc").join(name))?;
    }
    Ok(accounts)
}

/// The lines of these accounts whose names are not taken.
fn others(lines: &str, taken: &str) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let taken: Vec<String> = taken.lines().map(name).collect();
    let free = lines.lines().filter(|line| line.contains(':') && !taken.contains(&name(line)));
    free.map(|line| format!("{line}\n")).collect()
}

/// What every image has beside its programs: places to mount on, its users, and name service by files alone.
fn fill(stage: &Stage, recipe: &Recipe, accounts: &Accounts) -> Result<()> {
    PLACES.iter().try_for_each(|name| stage.directory(name))?;
    let mut passwd = String::from("root:x:0:0:root:/:/sbin/nologin\n");
    let mut group = String::from("root:x:0:\n");
    for (name, uid) in &recipe.users {
        passwd += &format!("{name}:x:{uid}:{uid}:{name}:/data/{}:/sbin/nologin\n", recipe.name);
        group += &format!("{name}:x:{uid}:\n");
    }
    // A server that asks who is at its socket (unix(7), SO_PEERCRED) looks for the name of the machine's tools here.
    let worker = aios_abi::who::uid::WORKER;
    passwd += &format!("aios-worker:x:{worker}:{worker}:a tool call:/:/sbin/nologin\n");
    group += &format!("aios-worker:x:{worker}:\n");
    passwd += "nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
    group += "nogroup:x:65534:\n";
    passwd += &others(&accounts.passwd, &passwd);
    group += &others(&accounts.group, &group);
    stage.write("etc/passwd", passwd.as_bytes())?;
    stage.write("etc/group", group.as_bytes())?;
    stage.write("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")?;
    stage.write("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n")?;
    let names = ("etc/resolv.conf".to_owned(), PathBuf::from("/run/aios-netd/resolv.conf"));
    for (link, to) in std::iter::once(&names).map(|(link, to)| (link, to)).chain(&recipe.links) {
        if let Some((folder, _)) = link.rsplit_once('/') {
            stage.directory(folder)?;
        }
        prune(stage.path(), Path::new(link))?;
        symlink(to, stage.path().join(link)).with_context(|| format!("the link {link} cannot be made"))?;
    }
    Ok(())
}

fn prune(root: &Path, name: &Path) -> Result<()> {
    ensure!(
        name.components().all(|part| matches!(part, std::path::Component::Normal(_))),
        "{} is no path in an image; write it without / at the beginning and without ..",
        name.display()
    );
    let path = root.join(name);
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => Ok(std::fs::remove_dir_all(path)?),
        Ok(_) => Ok(std::fs::remove_file(path)?),
    }
}

/// Of each package's documents its licence stays.
fn prune_documents(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for package in entries(folder)?.iter().filter(|path| !path.is_symlink() && path.is_dir()) {
        for path in entries(package)? {
            if path.file_name().is_some_and(|name| name != "copyright") {
                prune(package, Path::new(path.file_name().context("a file without a name")?))?;
            }
        }
    }
    Ok(())
}

fn manifest(folder: &Path, recipe: Recipe, version: String) -> Result<Manifest> {
    let mut services = BTreeMap::new();
    let files = folder.join("services");
    for path in if files.is_dir() { entries(&files)? } else { Vec::new() } {
        let name = path.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
        services.insert(name, std::fs::read_to_string(&path)?);
    }
    let Recipe { name, description, architecture, least_aios, licence, container, users, .. } = recipe;
    let manifest = Manifest {
        name,
        version,
        description,
        architecture,
        least_aios,
        licence,
        container,
        users,
        services,
    };
    // As the appliance will read it.
    let text = manifest.text().map_err(Error::msg)?;
    Manifest::parse(&text).map_err(Error::msg).with_context(|| format!("the recipe {}", folder.display()))
}

/// Put manifest and seal behind the file system.
fn seal(file: &Path, manifest: &Manifest, key: &ed25519_dalek::SigningKey) -> Result<()> {
    let text = manifest.text().map_err(Error::msg)?;
    let bytes = std::fs::read(file)?;
    let seal = Seal::sign(bytes.len() as u64, *blake3::hash(&bytes).as_bytes(), text.as_bytes(), key);
    let mut file = OpenOptions::new().append(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.write_all(&seal.to_bytes())?;
    Ok(file.sync_all()?)
}
