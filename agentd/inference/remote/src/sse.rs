//! Server-sent events (WHATWG HTML, section 9.2) of a server that nobody vouches for: bytes come in pieces of any size, the
//! data of whole events goes out, and what is held is bounded.

/// The longest event, in bytes. Pieces of an answer are a few hundred.
pub const LONGEST: usize = 1 << 20;

/// An event was longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Holds what has arrived of the next event.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The line before ended with a carriage return: a line feed after it belongs to it.
    after_return: bool,
}

impl Parser {
    /// Take in a piece and give the data of each whole event to `on_event`, until it says that it has seen enough.
    pub fn push<E: From<TooLong>>(
        &mut self,
        piece: &[u8],
        mut on_event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for byte in piece {
            let feeds_after_return = std::mem::take(&mut self.after_return) && *byte == b'\n';
            match byte {
                b'\n' if feeds_after_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    let result = self.take_line(&line, &mut on_event);
                    // The room is used again.
                    self.line = line;
                    self.line.clear();
                    result?;
                }
                _ if self.line.len() + self.data.len() >= LONGEST => return Err(TooLong.into()),
                _ => self.line.push(*byte),
            }
        }
        Ok(())
    }

    fn take_line<E>(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return if std::mem::take(&mut self.has_data) { on_event(&data) } else { Ok(()) };
        }
        // Names of events say what their data says again; comments keep the connection open.
        if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [] => value,
                [b':', b' ', rest @ ..] | [b':', rest @ ..] => rest,
                _ => return Ok(()),
            };
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(stream: &[u8], size: usize) -> Result<Vec<String>, TooLong> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in stream.chunks(size.max(1)) {
            parser.push(piece, |data| {
                events.push(String::from_utf8_lossy(data).into_owned());
                Ok(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let stream = "event: a\ndata: {\"a\":\"ä\"}\n\n: beat\n\ndata:x\r\ndata: y\r\n\r\ndata\n\ndataset: no\n\ndata: cut\rdata: too\r\rdata: lost\n";
        for size in 1..stream.len() {
            let found = events(stream.as_bytes(), size).expect("short enough");
            assert_eq!(found, ["{\"a\":\"ä\"}", "x\ny", "", "cut\ntoo"], "in pieces of {size}");
        }
    }

    #[test]
    fn what_has_no_end_is_given_up() {
        assert_eq!(events(&vec![b'x'; LONGEST + 1], 4096), Err(TooLong));
        assert_eq!(events(&b"data: and more\n".repeat(LONGEST / 8), 4096), Err(TooLong));
        // Lines that say nothing are not held.
        assert_eq!(events(&b": beat\n\n".repeat(LONGEST), 4096), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_any_bytes_are_cut(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), Just(b':'), any::<u8>()], 0..200),
            size in 1_usize..50,
        ) {
            prop_assert_eq!(events(&stream, size), events(&stream, stream.len()));
        }
    }
}
