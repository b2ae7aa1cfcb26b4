//! `aios-image`: assembles the quick image.
//!
//! The quick image takes a ready kernel from the distribution's package, so that a checkout boots in
//! minutes; the production image is Buildroot's business (`buildroot-external/`). Both use the files
//! in `image/board`. A part whose inputs are what they were is not built again.

#![forbid(unsafe_code)]

mod cpio;
mod elf;
mod extension;
mod fsck;
mod initramfs;
mod kernel;
mod models;
mod modules;
mod package;
mod recovery;
mod root;
mod stage;
mod stamp;
mod tool;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Assemble the quick image of the appliance.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The checkout.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Fetch the models that come with the image into `target/models`.
    Models,
    /// Build kernel, initramfs, root and models into `target/image`.
    Build {
        /// Another text model (GGUF) than the one that comes with the image.
        #[arg(long)]
        model: Option<PathBuf>,
        /// Another folder for the result.
        #[arg(long)]
        out: Option<PathBuf>,
        /// One more program for `/usr/bin` of the image; may be given several times.
        #[arg(long)]
        program: Vec<PathBuf>,
        /// The public half of the recovery key; without it one is made in `target/cache`.
        #[arg(long)]
        recovery: Option<PathBuf>,
        /// A file with public keys whose extension images the machine takes, besides those of `target/cache`.
        #[arg(long)]
        extension_keys: Option<PathBuf>,
    },
    /// Make a key that signs extension images: the private half in FILE, the public one in FILE.pub.
    Key {
        /// Where the private half goes; it must not be there yet.
        file: PathBuf,
    },
    /// Sign a model or another file: the signature stands in FILE.sig, one line of text.
    Sign {
        /// The file.
        file: PathBuf,
        /// The private half of the key that signs; without it one is made in `target/cache`.
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// Build a signed extension image from a recipe, or from an OCI bundle.
    Extension {
        /// The folder of the recipe, with its `extension.toml`.
        #[arg(required_unless_present = "oci")]
        recipe: Option<PathBuf>,
        /// Instead of a recipe the folder of an OCI bundle, with its `config.json`.
        #[arg(long, conflicts_with = "recipe", requires = "name")]
        oci: Option<PathBuf>,
        /// Name of the extension that the bundle becomes.
        #[arg(long, requires = "oci")]
        name: Option<String>,
        /// Grant the program of the bundle the machine's network.
        #[arg(long, requires = "oci")]
        network: bool,
        /// The program of the bundle is run once on request, and not kept up.
        #[arg(long, requires = "oci")]
        once: bool,
        /// One more package of the distribution, with all that it depends on; may be given several times.
        #[arg(long)]
        deb: Vec<String>,
        /// Another folder whose content goes into the image.
        #[arg(long)]
        from: Option<PathBuf>,
        /// Another version than the recipe's or the package's.
        #[arg(long)]
        version: Option<String>,
        /// The private half of the key that signs; without it one is made in `target/cache`.
        #[arg(long)]
        key: Option<PathBuf>,
        /// Another folder for the result than `target/extensions`.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Where the parts come from and where what is fetched is kept.
pub(crate) struct Checkout {
    /// `image/board`
    pub(crate) board: PathBuf,
    /// The daemons' executables.
    programs: PathBuf,
    /// That of PID 1, which has a profile of its own.
    pid1: PathBuf,
    /// The engine workers' executables.
    pub(crate) engines: PathBuf,
    /// The models that come with the image.
    pub(crate) models: PathBuf,
    /// What was trained for them and is kept with the sources.
    pub(crate) trained: PathBuf,
    /// Packages, and what is needed to know that nothing has changed.
    pub(crate) cache: PathBuf,
}

impl Checkout {
    fn at(root: &Path) -> Self {
        let target = root.join("target");
        Self {
            board: root.join("image/board"),
            programs: target.join("x86_64-unknown-linux-gnu/release"),
            pid1: target.join("x86_64-unknown-linux-gnu/pid1/aios-init"),
            engines: target.join("engines/x86_64-unknown-linux-gnu/release"),
            models: target.join("models"),
            trained: root.join("agentd/inference/trained"),
            cache: target.join("cache"),
        }
    }

    /// The executable with this name.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        match name {
            "aios-init" => self.pid1.clone(),
            _ => self.programs.join(name),
        }
    }
}

fn main() -> std::process::ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aios-image: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let checkout = Checkout::at(&cli.root);
    match &cli.command {
        Verb::Models => models::fetch(&checkout).map(|_| ()),
        Verb::Build { model, out, program, recovery, extension_keys } => {
            let out = out.clone().unwrap_or_else(|| cli.root.join("target/image"));
            let keys = extension::trusted(extension_keys.as_deref(), &checkout.cache)?;
            build(&checkout, model.as_deref(), program, recovery.as_deref(), keys, &out)
        }
        Verb::Key { file } => {
            let public = extension::make_key(file)?;
            println!("image: {} signs, {} is for the machines", file.display(), public.display());
            Ok(())
        }
        Verb::Sign { file, key } => {
            let key = match key {
                Some(key) => key.clone(),
                None => extension::own_key(&checkout.cache)?,
            };
            println!("image: {} signs {}", extension::sign(file, &key)?.display(), file.display());
            Ok(())
        }
        Verb::Extension { recipe, oci, name, network, once, deb, from, version, key, out } => {
            let key = match key {
                Some(key) => key.clone(),
                None => extension::own_key(&checkout.cache)?,
            };
            let out = out.clone().unwrap_or_else(|| cli.root.join("target/extensions"));
            let made = match (oci, name) {
                (Some(bundle), Some(name)) => {
                    let wishes = extension::Wishes {
                        name,
                        version: version.as_deref(),
                        network: *network,
                        once: *once,
                    };
                    Some(extension::recipe_of(bundle, &wishes)?)
                }
                _ => None,
            };
            let recipe = made.as_ref().map(|made| made.folder.path()).or(recipe.as_deref());
            let order = extension::Order {
                recipe: recipe.context("there is neither a recipe nor a bundle")?,
                packages: deb,
                from: from.as_deref(),
                rootfs: made.as_ref().map(|made| made.rootfs.as_path()),
                version: version.as_deref(),
                key: &key,
                out: &out,
            };
            let file = extension::build(&order, &checkout.cache)?;
            let bytes = std::fs::metadata(&file)?.len();
            println!("image: {} {:.1} MiB", file.display(), bytes as f64 / f64::from(1 << 20));
            Ok(())
        }
    }
}

fn build(
    checkout: &Checkout,
    model: Option<&Path>,
    extra: &[PathBuf],
    recovery: Option<&Path>,
    extension_keys: String,
    out: &Path,
) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let begun = Instant::now();
    let content = root::Content {
        kernel: kernel::fetch(&checkout.cache)?,
        fsck: fsck::fetch(&checkout.cache)?,
        lists: modules::Lists::read(&checkout.board)?,
        models: models::choose(checkout, model)?,
        extra: extra.to_vec(),
        recovery: recovery::public(recovery, &checkout.cache)?,
        extension_keys,
    };
    let root::Content { kernel, lists, models, .. } = &content;
    let parts = [
        ("vmlinuz", kernel.copy(&out.join("vmlinuz"))?),
        ("initramfs.cpio", initramfs::build(checkout, kernel, lists, &out.join("initramfs.cpio"))?),
        ("root.erofs", root::build(checkout, &content, &out.join("root.erofs"))?),
        ("models.erofs", models.build(&checkout.cache, &out.join("models.erofs"))?),
    ];
    if parts.iter().all(|(_, built)| !built) {
        println!("image: nothing has changed in {}", out.display());
        return Ok(());
    }
    for (name, built) in parts {
        let bytes = std::fs::metadata(out.join(name))?.len();
        let what = if built { "built" } else { "as it was" };
        println!("image: {name:<15} {:>7.1} MiB  {what}", bytes as f64 / f64::from(1 << 20));
    }
    println!("image: ready in {} after {:.1} s", out.display(), begun.elapsed().as_secs_f64());
    Ok(())
}
