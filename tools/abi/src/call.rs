//! The envelope of every call: who serves it, why, until when, and how progress and the end come back.

use crate::{error::CallError, who::Person};
use serde::{Deserialize, Serialize};

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClientFrame<Q> {
    /// Do this.
    Request(Request<Q>),
    /// Stop doing the request with this id; it is answered with
    /// [`ErrorCode::Cancelled`](crate::ErrorCode::Cancelled) unless it was already done.
    Cancel {
        /// Id of the request.
        id: u64,
    },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request<Q> {
    /// Chosen by the client, unique among its open requests on this connection.
    pub id: u64,
    /// Who asks, for what reason, until when.
    pub meta: Meta,
    /// What is asked.
    pub body: Q,
}

/// The [incident](Meta::incident) of a call that a person confirmed after they had asked for it in words: [`why`](Meta::why) are
/// these words then, and the machine may learn from them.
pub const ASKED: &str = "ask";

/// What accompanies every request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Milliseconds that the answer may take, from its arrival; 0 leaves it to the server.
    pub deadline_ms: u32,
    /// The incident or the conversation that this call serves.
    pub incident: Option<String>,
    /// The reason, for the audit log. Tools that change something refuse an empty one.
    pub why: String,
    /// The person on whose behalf the peer acts.
    pub person: Option<Person>,
    /// What the client calls this request, whether it sends it once or, not having heard an answer, again: a change is made
    /// once under one key, and asked for again it is answered as the first time. Up to [`MAX_KEY`] visible ASCII characters;
    /// remembered for a day (draft-ietf-httpapi-idempotency-key-header).
    pub key: Option<String>,
}

/// Characters of a request's key.
pub const MAX_KEY: usize = 64;

impl Meta {
    /// A request for this reason and nothing else.
    pub fn why(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    /// Whether there is a reason.
    pub fn has_reason(&self) -> bool {
        !self.why.trim().is_empty()
    }

    /// The same, with a time limit in milliseconds.
    pub fn deadline_ms(mut self, milliseconds: u32) -> Self {
        self.deadline_ms = milliseconds;
        self
    }

    /// The same, on behalf of a person.
    pub fn on_behalf_of(mut self, person: Option<Person>) -> Self {
        self.person = person;
        self
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ServerFrame<E, P> {
    /// Something on the way to the answer.
    Event {
        /// Id of the request.
        id: u64,
        /// What happened.
        event: E,
    },
    /// The answer; nothing follows it.
    Reply {
        /// Id of the request.
        id: u64,
        /// What came of it.
        result: Result<P, CallError>,
    },
    /// The answer is too long for a packet: this packet carries one descriptor, a sealed memfd, that
    /// holds the packet of a [`ServerFrame::Reply`].
    Large {
        /// Id of the request.
        id: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// The last packet was not understood; it belongs to no request.
    Refused {
        /// What was wrong with it.
        error: CallError,
    },
}

/// A protocol: the three types that one socket speaks.
pub trait Protocol: Send + Sync + 'static {
    /// What clients ask.
    type Request: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static;
    /// What happens on the way.
    type Event: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static;
    /// What comes of it.
    type Reply: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static;
    /// The socket's path.
    const SOCKET: &'static str;
    /// The server's name for people.
    const SERVER: &'static str;
}
