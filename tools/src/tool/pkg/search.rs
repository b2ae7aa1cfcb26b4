//! `pkg.search`

use super::shared::LOOKS;
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use crate::shelf::Shelf;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files that are looked at.
const MAX_FILES: usize = 1_000;

/// Find extensions in a folder: an upload, a USB stick.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the folder with the image files.
    directory: String,
    /// Only extensions whose name or description contains this text.
    #[serde(default)]
    contains: Option<String>,
}

/// What is in the folder.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Found {
    /// Extensions, by name and then the newest first.
    packages: Vec<Package>,
    /// Image files that cannot be installed, and why.
    refused: Vec<String>,
    /// There are more files than were looked at.
    truncated: bool,
}

/// One extension.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Package {
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// What it is.
    description: String,
    /// The processor that it is for.
    architecture: String,
    /// Its services.
    services: Vec<String>,
    /// Bytes of the file.
    bytes: u64,
    /// The file.
    path: String,
    /// The version that is installed, if one is.
    installed: Option<String>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 71,
    name: "pkg.search",
    summary: "Find signed extension images in a folder, such as an upload or a USB stick",
    effect: Effect::Read,
    touches: &["the folder named", "/data/extensions"],
    role: Role::Viewer,
    timeout_ms: 30_000,
    examples: &[
        ("which extensions are in /data/upload?", r#"{"directory":"/data/upload"}"#),
        ("search /run/usb for packages", r#"{"directory":"/run/usb"}"#),
        (
            "is there a postgresql image in /data/upload?",
            r#"{"directory":"/data/upload","contains":"postgresql"}"#,
        ),
        ("find installable packages in /data/upload", r#"{"directory":"/data/upload"}"#),
        ("look for nginx among the images in /run/usb", r#"{"directory":"/run/usb","contains":"nginx"}"#),
    ],
    needs: Needs::NOTHING.read(LOOKS),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::Read, args.directory.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Found, CallError> {
    let shelf = Shelf::of(ctx);
    let folder = file::find(&args.directory, true)?;
    ctx.may_see(&folder.path)?;
    let entries = std::fs::read_dir(&folder.path)
        .map_err(|e| CallError::failed(format!("{}: {e}", folder.path.display())))?;
    let wanted = args.contains.map(|text| text.to_lowercase());
    let mut paths: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == aios_extension::SUFFIX))
        .take(MAX_FILES + 1)
        .collect();
    paths.sort();
    let truncated = paths.len() > MAX_FILES;
    paths.truncate(MAX_FILES);
    let (mut packages, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        ctx.check()?;
        let path = path.display().to_string();
        let read =
            file::open_for_reading(ctx, &path).and_then(|(open, found)| shelf.image(&open, &found.path));
        let image = match read {
            Ok(image) => image,
            Err(e) => {
                refused.push(e.message);
                continue;
            }
        };
        let bytes = image.seal.file_bytes();
        let manifest = image.manifest;
        let text = format!("{} {}", manifest.name, manifest.description).to_lowercase();
        if wanted.as_ref().is_some_and(|wanted| !text.contains(wanted)) {
            continue;
        }
        let current = shelf.state(&manifest.name)?.record.current;
        let installed =
            current.and_then(|file| shelf.stored(&file).ok()).map(|(_, image)| image.manifest.version);
        packages.push(Package {
            services: manifest.services.into_keys().collect(),
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            architecture: manifest.architecture,
            bytes,
            path,
            installed,
        });
    }
    packages.sort_by(|one, other| {
        one.name.cmp(&other.name).then_with(|| aios_extension::compare(&other.version, &one.version))
    });
    Ok(Found { packages, refused, truncated })
}

fn summary(found: &Found) -> String {
    let refused = match found.refused.len() {
        0 => String::new(),
        count => format!("; {count} files cannot be installed"),
    };
    match found.packages.as_slice() {
        [] => format!("no extension is there{refused}"),
        [only] => format!("{} {}{refused}", only.name, only.version),
        all => format!("{} extensions{refused}", all.len()),
    }
}
