//! Properties of the frame codecs: nothing that arrives makes them panic, all that is sent arrives.

use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::engine::{self, Decoder, EngineEvent, EngineRequest, WorkerState};
use aios_abi::service::{InitEvent, InitReply, InitRequest};
use aios_abi::tool::{ToolReply, ToolRequest};
use aios_abi::{agent, audit, frame, infer};
use proptest::prelude::*;

proptest! {
    #[test]
    fn hostile_bytes_never_panic_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut packet = vec![frame::VERSION];
        packet.extend_from_slice(&bytes);
        let _ = frame::decode::<ClientFrame<ToolRequest>>(&packet);
        let _ = frame::decode::<ClientFrame<InitRequest>>(&packet);
        let _ = frame::decode::<ClientFrame<infer::InferRequest>>(&packet);
        let _ = frame::decode::<ClientFrame<agent::AgentRequest>>(&packet);
        let _ = frame::decode::<ServerFrame<InitEvent, InitReply>>(&packet);
        let _ = frame::decode::<ServerFrame<(), ToolReply>>(&packet);
        let _ = frame::decode::<audit::Record>(&packet);
        Decoder::default().feed::<EngineEvent>(&bytes, |_| {});
    }

    #[test]
    fn what_is_sent_arrives(id in any::<u64>(), why in ".*", tool in any::<u16>(), args in ".*") {
        let sent = ClientFrame::Request(Request {
            id,
            meta: Meta::why(why).deadline_ms(7),
            body: ToolRequest::Call { tool, args, dry_run: true },
        });
        let packet = frame::encode(&sent).expect("encodes");
        prop_assert_eq!(frame::decode::<ClientFrame<ToolRequest>>(&packet).expect("decodes"), sent);
        let mut longer = packet.clone();
        longer.push(0);
        prop_assert!(frame::decode::<ClientFrame<ToolRequest>>(&longer).is_err());
    }

    /// Whatever a dead predecessor left in the stream, the frames after it are found.
    #[test]
    fn an_engine_stream_recovers_after_garbage(
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        texts in proptest::collection::vec(".{0,40}", 1..5),
        cut in 1usize..50,
    ) {
        let mut stream = garbage;
        stream.push(0);
        let sent: Vec<_> = texts.into_iter().enumerate()
            .map(|(id, text)| EngineEvent::Text { id: id as u64, text }).collect();
        for event in &sent {
            stream.extend(engine::encode(event).expect("encodes"));
        }
        let mut decoder = Decoder::default();
        let mut got = Vec::new();
        for part in stream.chunks(cut) {
            decoder.feed::<EngineEvent>(part, |frame| got.extend(frame.ok()));
        }
        prop_assert!(got.ends_with(&sent));
    }
}

#[test]
fn an_endless_engine_frame_is_refused_once_and_skipped() {
    let mut decoder = Decoder::default();
    let mut errors = 0;
    for _ in 0..100 {
        decoder.feed::<EngineEvent>(&vec![1; engine::MAX_FRAME / 10], |f| errors += usize::from(f.is_err()));
    }
    assert_eq!(errors, 1);
    let state = EngineEvent::State(WorkerState::Loading { percent: 3 });
    let mut bytes = vec![0];
    bytes.extend(engine::encode(&state).expect("encodes"));
    let mut got = Vec::new();
    decoder.feed::<EngineEvent>(&bytes, |f| got.extend(f.ok()));
    assert_eq!(got, [state]);
}

/// The layout of the wire. When this changes, `frame::VERSION` must change with it.
#[test]
fn the_layout_of_the_wire_is_pinned() {
    let hex = |bytes: Vec<u8>| audit::hex(&bytes);
    let request = |body| {
        hex(frame::encode(&ClientFrame::Request(Request { id: 1, meta: Meta::why("w"), body }))
            .expect("encodes"))
    };
    let lines = [
        request(ToolRequest::List),
        request(ToolRequest::Call { tool: 3, args: "{}".into(), dry_run: false }),
        request(ToolRequest::Undo { audit: 300 }),
        request(ToolRequest::Audit { from: 0, limit: 10 }),
        request(ToolRequest::AuditVerify),
        hex(frame::encode(&ClientFrame::<ToolRequest>::Cancel { id: 1 }).expect("encodes")),
        hex(engine::encode(&EngineRequest::Hello { nonce: 1, version: 1 }).expect("encodes")),
        hex(engine::encode(&EngineRequest::Cancel { id: 0 }).expect("encodes")),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}
