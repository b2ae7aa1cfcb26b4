//! Server-sent events (WHATWG HTML, section 9.2) as a pure parser: bytes come in pieces of any size, whole
//! events go out.

/// The longest event that is taken in, in bytes; a server that sends more is not ours.
const LONGEST: usize = 16 * 1024 * 1024;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its name; `message` when the server gave none.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// Holds what has arrived of the next event.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    name: String,
    data: Option<String>,
}

impl Parser {
    /// Take in a piece. `None` when the event in it is too long.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Option<Vec<Event>> {
        self.rest.extend_from_slice(piece);
        let held = self.rest.len() + self.data.as_ref().map_or(0, String::len);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(length) = self.rest.get(from..)?.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(self.rest.get(from..from + length)?).into_owned();
            from += length + 1;
            events.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
        }
        self.rest.drain(..from);
        (held <= LONGEST).then_some(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return self.data.take().map(|data| Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // A comment (which keeps the connection open), or a field that nobody here uses.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let text = "event: line\ndata: {\"a\":\"ä\"}\n\n:beat\n\ndata:x\r\ndata: y\r\n\r\nevent: lost\n\n";
        let expected = vec![event("line", "{\"a\":\"ä\"}"), event("message", "x\ny")];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| parser.push(piece).expect("short enough"))
                .collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; LONGEST / 2 + 1];
        assert!(parser.push(&piece).is_some());
        assert!(parser.push(&piece).is_none());
    }
}
