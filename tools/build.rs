//! Finds the tools: each file `src/tool/<family>/<verb>.rs` becomes a module and a row of the table,
//! so that a new tool is one new file and nothing else is edited.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let own = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let mut roots = vec![own.join("src/tool")];
    // Laid out alike, with families of its own.
    roots.extend(std::env::var_os("CARGO_FEATURE_SAMPLE").map(|_| own.join("tests/sample")));
    let mut modules = String::new();
    let mut table = String::new();
    for root in roots {
        println!("cargo::rerun-if-changed={}", root.display());
        for family in sorted(&root)?.into_iter().filter(|p| p.is_dir()) {
            add(&family, &mut modules, &mut table)?;
        }
    }
    let text =
        format!("{modules}\n/// Every tool, by file name.\nstatic TABLE: &[&Declaration] = &[\n{table}];\n");
    std::fs::write(PathBuf::from(var("OUT_DIR")).join("tools.rs"), text)
}

fn add(family: &Path, modules: &mut String, table: &mut String) -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={}", family.display());
    let name = stem(family);
    // A family may hold one file of that name with what its tools share: `fs/fs.rs`.
    let mut inner = String::new();
    for file in sorted(family)?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let verb = stem(&file);
        // A verb may be a word of the language: `move`.
        let visible = if verb == name { "pub mod shared" } else { &format!("pub mod r#{verb}") };
        let _ = writeln!(inner, "    #[path = {:?}]\n    {visible};", file.display().to_string());
        if verb != name {
            let _ = writeln!(table, "    {name}::r#{verb}::TOOL,");
        }
    }
    let _ = writeln!(modules, "/// The `{name}` tools.\npub mod {name} {{\n{inner}}}");
    Ok(())
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn sorted(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
