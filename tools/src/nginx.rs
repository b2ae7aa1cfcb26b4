//! nginx's configuration, as far as the tools tell of it: read with bounds, includes followed below one directory alone.
//!
//! What a file says is what nginx would take it for (nginx.org, "Beginner's Guide", "Configuration File's Structure"): words
//! that end with `;`, or with a block in braces. Whether nginx is content with it only nginx knows.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::fs::File;
use std::io::Read;
use std::iter::Peekable;
use std::path::{Component, Path, PathBuf};
use std::str::CharIndices;

/// Bytes of all files together.
const MAX_BYTES: usize = 4 << 20;
/// Files.
const MAX_FILES: usize = 200;
/// Directives of all files together.
const MAX_DIRECTIVES: usize = 50_000;
/// Blocks within blocks, and files within files.
const MAX_DEPTH: usize = 16;

/// A line of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name and its arguments, at least the name.
    pub words: Vec<String>,
    /// What is in its braces.
    pub block: Vec<Directive>,
    /// The file that it stands in, and the line.
    pub place: (PathBuf, u32),
}

impl Directive {
    /// Its name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The directives with this name in its block.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.block.iter().filter(move |one| one.name() == name)
    }

    /// The first argument of the last directive with this name in its block: that one counts for nginx.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.named(name).last()?.arguments().first().map(String::as_str)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Config {
    /// The directives of all files.
    pub directives: Vec<Directive>,
    /// What could not be read, one sentence each with its place.
    pub problems: Vec<String>,
}

/// Read the files that match this pattern (`DIRECTORY/*.conf`), and what they include below `within`.
pub fn read(pattern: &Path, within: &Path) -> Config {
    let mut reader = Reader { within, files: 0, bytes: 0, directives: 0, problems: Vec::new() };
    let directives = reader.matching(pattern, 0).unwrap_or_else(|why| {
        reader.problems.push(why);
        Vec::new()
    });
    Config { directives, problems: reader.problems }
}

/// Read a text; no file that it includes is opened.
pub(crate) fn read_text(text: &str) -> Config {
    let mut reader =
        Reader { within: Path::new("/"), files: MAX_FILES, bytes: 0, directives: 0, problems: Vec::new() };
    let directives = reader.text(Path::new("/text"), text, 0).unwrap_or_else(|why| {
        reader.problems.push(why);
        Vec::new()
    });
    Config { directives, problems: reader.problems }
}

struct Reader<'a> {
    within: &'a Path,
    files: usize,
    bytes: usize,
    directives: usize,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The directives of all files that a pattern names, in the order of their names (glob(7), `*` in the last part alone).
    fn matching(&mut self, pattern: &Path, depth: usize) -> Result<Vec<Directive>, String> {
        let shown = pattern.display();
        let (Some(folder), Some(name)) =
            (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
        else {
            return Err(format!("{shown} names no file"));
        };
        let plain = pattern.is_absolute() && pattern.components().all(|part| part != Component::ParentDir);
        if !plain || !pattern.starts_with(self.within) {
            return Err(format!("{shown} is not below {} and is not looked at", self.within.display()));
        }
        if folder.to_string_lossy().contains(['*', '?', '[']) || name.contains(['?', '[']) {
            return Err(format!(
                "{shown} is not looked at: only * in the last part of a path is understood here"
            ));
        }
        let Some((head, tail)) = name.split_once('*') else { return self.file(pattern, depth) };
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let fits = |name: &String| {
            let middle =
                name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail.trim_start_matches('*')));
            middle.is_some() && (head.starts_with('.') || !name.starts_with('.')) && !tail.contains('*')
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(fits).take(MAX_FILES + 1).collect();
        names.sort();
        let mut all = Vec::new();
        for name in names {
            match self.file(&folder.join(name), depth) {
                Ok(directives) => all.extend(directives),
                Err(why) => self.problems.push(why),
            }
        }
        Ok(all)
    }

    fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Directive>, String> {
        let at = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(at(&format_args!("more than {MAX_FILES} files are not looked at")));
        }
        // Whatever has its name: nobody is waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty()).map_err(|e| at(&std::io::Error::from(e)))?;
        let facts = fstat(&file).map_err(|e| at(&std::io::Error::from(e)))?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(at(&"it is no regular file"));
        }
        let mut bytes = Vec::new();
        let left = MAX_BYTES - self.bytes;
        File::from(file).take(left as u64 + 1).read_to_end(&mut bytes).map_err(|e| at(&e))?;
        if bytes.len() > left {
            return Err(at(&format_args!(
                "files of more than {} MiB together are not looked at",
                MAX_BYTES >> 20
            )));
        }
        self.bytes += bytes.len();
        self.text(path, &String::from_utf8_lossy(&bytes), depth)
    }

    fn text(&mut self, path: &Path, text: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let mut tokens = Tokens::new(text).peekable();
        let block = self.block(path, &mut tokens, depth)?;
        match tokens.next() {
            None => Ok(block),
            Some((line, _)) => Err(format!("{}:{line}: a }} that ends nothing", path.display())),
        }
    }

    /// Directives up to a closing brace, which is left, or to the end.
    fn block(
        &mut self,
        path: &Path,
        tokens: &mut Peekable<Tokens<'_>>,
        depth: usize,
    ) -> Result<Vec<Directive>, String> {
        let at = |line: u32, what: &str| format!("{}:{line}: {what}", path.display());
        let mut all = Vec::new();
        while let Some((first, token)) = tokens.next_if(|(_, token)| *token != Token::Close) {
            let Token::Word(name) = token else {
                return Err(at(first, "a ; or { without a word before it"));
            };
            if depth > MAX_DEPTH {
                return Err(at(first, "blocks and includes are too deep"));
            }
            self.directives += 1;
            if self.directives > MAX_DIRECTIVES {
                return Err(at(first, "there are too many directives"));
            }
            let mut directive =
                Directive { words: vec![name], block: Vec::new(), place: (path.into(), first) };
            loop {
                match tokens.next() {
                    Some((_, Token::Word(word))) => directive.words.push(word),
                    Some((_, Token::End)) => break,
                    Some((line, Token::Open)) => {
                        directive.block = self.block(path, tokens, depth + 1)?;
                        match tokens.next() {
                            Some((_, Token::Close)) => break,
                            _ => return Err(at(line, "a { that is not closed")),
                        }
                    }
                    Some((line, Token::Close)) => return Err(at(line, "a } where a ; is missing")),
                    None => return Err(at(first, "the file ends where a ; is missing")),
                }
            }
            match directive.words.as_slice() {
                [name, pattern] if name == "include" && directive.block.is_empty() => {
                    match self.matching(Path::new(pattern), depth + 1) {
                        Ok(directives) => all.extend(directives),
                        Err(why) => self.problems.push(at(first, &why)),
                    }
                }
                _ => all.push(directive),
            }
        }
        Ok(all)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

/// Tokens with their lines.
struct Tokens<'a> {
    text: Peekable<CharIndices<'a>>,
    line: u32,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.char_indices().peekable(), line: 1 }
    }

    fn step(&mut self) -> Option<char> {
        let (_, c) = self.text.next()?;
        self.line += u32::from(c == '\n');
        Some(c)
    }

    fn peek(&mut self) -> Option<char> {
        self.text.peek().map(|(_, c)| *c)
    }

    fn quoted(&mut self, quote: char) -> String {
        let mut word = String::new();
        while let Some(c) = self.step().filter(|c| *c != quote) {
            match (c, self.peek()) {
                ('\\', Some(next)) if next == quote || next == '\\' => word.extend(self.step()),
                _ => word.push(c),
            }
        }
        word
    }

    fn plain(&mut self, first: char) -> String {
        let mut word = String::from(first);
        let mut last = first;
        if first == '\\' {
            word.extend(self.step());
        }
        while let Some(c) = self.peek() {
            let ends = c.is_ascii_whitespace() || c == ';' || c == '{' && last != '$';
            if ends {
                break;
            }
            self.step();
            word.push(c);
            if c == '\\' {
                word.extend(self.step());
            }
            last = c;
        }
        word
    }
}

impl Iterator for Tokens<'_> {
    type Item = (u32, Token);

    fn next(&mut self) -> Option<(u32, Token)> {
        loop {
            let line = self.line;
            let token = match self.step()? {
                c if c.is_ascii_whitespace() => continue,
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.step();
                    }
                    continue;
                }
                ';' => Token::End,
                '{' => Token::Open,
                '}' => Token::Close,
                quote @ ('"' | '\'') => Token::Word(self.quoted(quote)),
                first => Token::Word(self.plain(first)),
            };
            return Some((line, token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_text(files: &[(&str, &str)]) -> (Config, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let text = text.replace("HERE", &folder.path().display().to_string());
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        (read(&folder.path().join("*.conf"), folder.path()), folder)
    }

    fn words(of: &[Directive]) -> Vec<Vec<&str>> {
        of.iter().map(|one| one.words.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn words_quotes_comments_and_blocks_are_told_apart() {
        let text = "# first\nserver { listen 80; # it's\n  server_name \"a b\" 'c\\'d' ~^www\\d+\\.x$ ${host}.y;\n}\nmap;";
        let (config, _folder) = read_text(&[("a.conf", text)]);
        assert_eq!(config.problems, Vec::<String>::new());
        let [server, map] = config.directives.as_slice() else { panic!("{config:?}") };
        assert_eq!((server.name(), map.name(), server.place.1, map.place.1), ("server", "map", 2, 5));
        let expected = ["server_name", "a b", "c'd", r"~^www\d+\.x$", "${host}.y"];
        assert_eq!(words(&server.block), [vec!["listen", "80"], expected.into()]);
        assert_eq!(server.value("listen"), Some("80"));
    }

    #[test]
    fn includes_are_followed_below_the_directory_and_nowhere_else() {
        let (config, _folder) = read_text(&[
            ("a.conf", "server { include HERE/*.inc; include HERE/missing; }\ninclude /etc/passwd;"),
            ("b.conf", "include HERE/../x; include snippets/*; include HERE/b.conf;"),
            ("one.inc", "root /one;"),
            ("two.inc", "root /two;"),
        ]);
        assert_eq!(config.directives.len(), 1);
        assert_eq!(config.directives[0].value("root"), Some("/two"));
        let said = config.problems.join("\n");
        for expected in ["missing: No such file", "/etc/passwd is not below", "../x is not below", "too deep"]
        {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("a\n}", "a.conf:2: a } where a ; is missing"),
            ("a {\n b;", "a.conf:1: a { that is not closed"),
            ("a;\n}", "a.conf:2: a } that ends nothing"),
            ("\n;", "a.conf:2: a ; or { without a word"),
            ("a 'b", "a.conf:1: the file ends where a ; is missing"),
        ] {
            let (config, _folder) = read_text(&[("a.conf", text), ("b.conf", "good;")]);
            assert!(
                config.problems.iter().any(|why| why.contains(expected)),
                "{text}: {:?}",
                config.problems
            );
            assert_eq!(words(&config.directives), [["good"]], "the other files count");
        }
        let deep = "a {".repeat(100_000);
        assert!(read_text(&[("a.conf", &deep)]).0.problems[0].contains("too deep"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_read_to_an_end(text in "([a-z ;{}\"'\\\\#$\n]|include HERE/[*];|\\PC){0,80}") {
            let (config, _folder) = read_text(&[("a.conf", &text)]);
            prop_assert!(config.directives.iter().all(|one| !one.words.is_empty()));
        }

        #[test]
        fn what_is_written_is_what_is_read(lines in prop::collection::vec(prop::collection::vec("[a-z;{}# \"$]{0,6}", 1..4), 0..8)) {
            let quoted = |word: &String| format!("'{}'", word.replace('\\', "\\\\").replace('\'', "\\'"));
            let line = |words: &Vec<String>| format!("x {};\n", words.iter().map(quoted).collect::<Vec<_>>().join(" "));
            let text: String = lines.iter().map(line).collect();
            let (config, _folder) = read_text(&[("a.conf", &text)]);
            let read: Vec<Vec<String>> = config.directives.iter().map(|one| one.arguments().to_vec()).collect();
            prop_assert_eq!(read, lines);
        }
    }
}
