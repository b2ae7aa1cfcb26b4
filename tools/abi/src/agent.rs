//! What agentd serves: questions and commands in plain words.

use crate::{call::Protocol, infer::Scored, infer::Usage};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value};

/// The protocol of `/run/aios/agentd.sock`.
pub struct Agent;

impl Protocol for Agent {
    type Request = AgentRequest;
    type Event = AskEvent;
    type Reply = AgentReply;
    const SOCKET: &'static str = crate::paths::AGENTD_SOCKET;
    const SERVER: &'static str = "agentd";
}

/// A request to the agent. Only the console and `aiosctl` through it send these; the person is in the
/// request's [`Meta`](crate::call::Meta).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentRequest {
    /// How the agent and its models are.
    Status,
    /// Answer a question or carry out a command.
    Ask {
        /// The person's words.
        text: String,
    },
    /// Say which calls these words mean, and make none of them.
    Understand {
        /// The person's words.
        text: String,
    },
}

/// What happens on the way to an answer, in this order. In JSON the variant is the member `type`; on the
/// wire it is an ordinary enum, because postcard does not describe itself and cannot read a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum AskEvent {
    /// A sentence about what is being done, or why something is done another way.
    Note {
        /// The sentence.
        text: String,
    },
    /// The tools that are considered.
    Considering {
        /// Best first.
        tools: Vec<Scored>,
    },
    /// A tool is being called.
    Call {
        /// Counts the calls of this answer, from 0.
        index: u32,
        /// The tool's name.
        tool: String,
        /// Its arguments, a JSON object.
        args: String,
        /// Why this call.
        why: String,
    },
    /// A call came back.
    Result {
        /// Index of the call.
        index: u32,
        /// The result, a JSON value; empty after an error.
        result: String,
        /// The result in a few words, or the error.
        summary: String,
        /// Whether it failed.
        failed: bool,
        /// Its audit record.
        audit: Option<u64>,
        /// Whether it can be taken back.
        undoable: bool,
        /// Milliseconds that it took.
        ms: u32,
    },
    /// A change that was understood from the words but not ordered in so many words: nothing is done
    /// until the person calls the tool with exactly these arguments.
    Proposal {
        /// The tool's name.
        tool: String,
        /// Its arguments, a JSON object.
        args: String,
        /// Why it would be called.
        why: String,
    },
    /// The next piece of the answer.
    Text {
        /// The piece.
        text: String,
    },
}

// `remote = "Self"` makes the derived code inherent functions, which these two call.
impl Serialize for AskEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        let tree = Self::serialize(self, serde_json::value::Serializer).map_err(ser::Error::custom)?;
        let mut flat = Map::new();
        if let Value::Object(variant) = tree {
            for (name, members) in variant {
                flat.insert("type".to_owned(), Value::String(name));
                flat.extend(members.as_object().cloned().unwrap_or_default());
            }
        }
        flat.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AskEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let mut flat = Map::deserialize(deserializer)?;
        let Some(Value::String(name)) = flat.remove("type") else {
            return Err(de::Error::missing_field("type"));
        };
        let variant = Map::from_iter([(name, Value::Object(flat))]);
        Self::deserialize(Value::Object(variant)).map_err(de::Error::custom)
    }
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentReply {
    /// To [`AgentRequest::Status`].
    Status(AgentStatus),
    /// To [`AgentRequest::Ask`].
    Answer(Answer),
    /// To [`AgentRequest::Understand`].
    Understood(Understood),
}

/// How the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// How its models are, or why it does not know.
    pub inference: Result<crate::infer::InferStatus, String>,
    /// Tools that it knows.
    pub tools: u32,
}

/// Who worked out an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// Fixed patterns: no model was asked.
    Rules,
    /// The embedding model chose the tool, fixed code found the arguments.
    Retrieval,
    /// The language model chose among the shortlist or filled in arguments.
    Model,
    /// Nobody: no tool fits.
    Nobody,
}

/// What words mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// The calls, in their order; none where no tool fits.
    pub calls: Vec<Meant>,
    /// Why nothing, or not all of it, can be called, in one sentence.
    pub problem: Option<String>,
    /// Who worked it out.
    pub decider: Decider,
    /// What the models cost.
    pub usage: Usage,
    /// Milliseconds from words to calls.
    pub ms: u32,
}

/// A call that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meant {
    /// The tool's name.
    pub tool: String,
    /// Its arguments, a JSON object.
    pub args: String,
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The whole text.
    pub text: String,
    /// Who worked it out.
    pub decider: Decider,
    /// What the models cost.
    pub usage: Usage,
    /// Milliseconds from question to answer.
    pub ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn every_event_arrives_over_the_wire_and_through_json() {
        let events = [
            AskEvent::Note { text: "n".into() },
            AskEvent::Considering { tools: vec![Scored { name: "fs.read".into(), score: 0.5 }] },
            AskEvent::Call { index: 1, tool: "fs.read".into(), args: "{}".into(), why: "w".into() },
            AskEvent::Result {
                index: 1,
                result: "1".into(),
                summary: "s".into(),
                failed: false,
                audit: Some(7),
                undoable: true,
                ms: 3,
            },
            AskEvent::Proposal { tool: "fs.write".into(), args: "{}".into(), why: "w".into() },
            AskEvent::Text { text: "t".into() },
        ];
        for event in events {
            let packet = frame::encode(&event).expect("encodes");
            assert_eq!(frame::decode::<AskEvent>(&packet).as_ref(), Ok(&event));
            let json = serde_json::to_string(&event).expect("JSON");
            assert_eq!(serde_json::from_str::<AskEvent>(&json).expect("reads"), event);
        }
        let note = serde_json::to_value(AskEvent::Note { text: "n".into() }).expect("JSON");
        assert_eq!(note, serde_json::json!({"type": "note", "text": "n"}));
        assert!(serde_json::from_str::<AskEvent>(r#"{"text":"n"}"#).is_err());
    }
}
