//! Reads little-endian values, never past the end and never more than it may keep.

use std::io::Read;

/// Arrays in arrays; real files have none.
const MAX_NESTING: u32 = 4;

pub(crate) struct Reader<R> {
    source: R,
    position: u64,
    length: u64,
    /// What is read meanwhile, when somebody wants it.
    copied: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(source: R, length: u64) -> Self {
        Self { source, position: 0, length, copied: None }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    fn left(&self) -> u64 {
        self.length - self.position
    }

    fn truncated(&self, what: &str) -> String {
        format!("is truncated: the file ends at byte {} in the middle of {what}; copy it again", self.length)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), String> {
        if bytes.len() as u64 > self.left() {
            return Err(self.truncated(what));
        }
        self.source
            .read_exact(bytes)
            .map_err(|e| format!("cannot be read at byte {}: {e}", self.position))?;
        self.position += bytes.len() as u64;
        if let Some(copied) = &mut self.copied {
            copied.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn skip(&mut self, count: u64, what: &str) -> Result<(), String> {
        if count > self.left() {
            return Err(self.truncated(what));
        }
        let mut source = (&mut self.source).take(count);
        let skipped = match &mut self.copied {
            Some(copied) => std::io::copy(&mut source, copied),
            None => std::io::copy(&mut source, &mut std::io::sink()),
        };
        let skipped = skipped.map_err(|e| format!("cannot be read at byte {}: {e}", self.position))?;
        self.position += skipped;
        if skipped < count { Err(self.truncated(what)) } else { Ok(()) }
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn count(&mut self, what: &str, most: u64) -> Result<u64, String> {
        match self.u64(what)? {
            count if count <= most => Ok(count),
            count => {
                Err(format!("{what} is {count}, more than the {most} that are possible; the file is damaged"))
            }
        }
    }

    /// A string of at most `most` bytes.
    pub(crate) fn text(&mut self, what: &str, most: u64) -> Result<String, String> {
        let length = self.count(&format!("the length of {what}"), most)?;
        if length > self.left() {
            return Err(self.truncated(what));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|e| e.to_string())?];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_| format!("{what} before byte {} is no UTF-8 text", self.position))
    }

    /// A value with its type, byte by byte.
    pub(crate) fn copy(&mut self, key: &str) -> Result<Vec<u8>, String> {
        self.copied = Some(Vec::new());
        let read = self.u32(key).and_then(|kind| self.value(kind, key, u64::MAX));
        let copied = self.copied.take().unwrap_or_default();
        read.map(|_| copied)
    }

    /// A value of this type; its text when it is a number, a truth value or a string of at most `kept` bytes.
    pub(crate) fn value(&mut self, kind: u32, key: &str, kept: u64) -> Result<Option<String>, String> {
        Ok(match kind {
            0 => Some(self.array::<1>(key)?[0].to_string()),
            1 => Some(i8::from_le_bytes(self.array(key)?).to_string()),
            2 => Some(u16::from_le_bytes(self.array(key)?).to_string()),
            3 => Some(i16::from_le_bytes(self.array(key)?).to_string()),
            4 => Some(self.u32(key)?.to_string()),
            5 => Some(i32::from_le_bytes(self.array(key)?).to_string()),
            6 => Some(f32::from_le_bytes(self.array(key)?).to_string()),
            7 => Some((self.array::<1>(key)?[0] != 0).to_string()),
            8 => {
                let length = self.u64(key)?;
                if length > kept {
                    self.skip(length, key)?;
                    return Ok(None);
                }
                let mut bytes = vec![0; usize::try_from(length).map_err(|e| e.to_string())?];
                self.fill(&mut bytes, key)?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            9 => {
                self.list(key, 0)?;
                None
            }
            10 => Some(self.u64(key)?.to_string()),
            11 => Some(i64::from_le_bytes(self.array(key)?).to_string()),
            12 => Some(f64::from_le_bytes(self.array(key)?).to_string()),
            _ => {
                return Err(format!(
                    "the key {key} has the unknown type {kind}; the file is damaged or too new"
                ));
            }
        })
    }

    /// An array, which is walked over but not kept.
    fn list(&mut self, key: &str, depth: u32) -> Result<(), String> {
        let kind = self.u32(key)?;
        let count = self.u64(key)?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 | 9 => 0,
            _ => {
                return Err(format!(
                    "the list {key} has the unknown type {kind}; the file is damaged or too new"
                ));
            }
        };
        if size > 0 {
            let bytes = count.checked_mul(size).ok_or_else(|| self.truncated(key))?;
            return self.skip(bytes, key);
        }
        // Each element takes eight bytes at least, so a lying count ends at the end of the file.
        if count > self.left() / 8 {
            return Err(self.truncated(key));
        }
        for _ in 0..count {
            if kind == 9 {
                if depth >= MAX_NESTING {
                    return Err(format!("the list {key} is nested too deeply; the file is damaged"));
                }
                self.list(key, depth + 1)?;
            } else {
                let length = self.u64(key)?;
                self.skip(length, key)?;
            }
        }
        Ok(())
    }
}
