//! gRPC over a Unix socket: a unary call with tonic, its service written by hand so that no protoc is needed.

use crate::{ANSWERED, ASKED, Peer, WARM_UP, eventually, micros};
use anyhow::{Result, ensure};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::task::Poll;
use std::time::Instant;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

#[derive(Clone)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "peers.Echo";
}

struct Call;

impl tonic::server::UnaryService<Text> for Call {
    type Response = Text;
    type Future = Ready<Result<Response<Text>, Status>>;

    fn call(&mut self, _request: Request<Text>) -> Self::Future {
        ready(Ok(Response::new(Text { text: "x".repeat(ANSWERED) })))
    }
}

impl Service<http::Request<tonic::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let codec = ProstCodec::<Text, Text>::default();
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec).unary(Call, request).await) })
    }
}

/// Serve at this socket until the process is ended.
pub(crate) async fn serve(socket: &Path) -> Result<()> {
    let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
    Ok(Server::builder().add_service(Echo).serve_with_incoming(incoming).await?)
}

pub(crate) async fn measure(count: usize, folder: &Path) -> Result<Vec<f64>> {
    let socket = folder.join("grpc");
    let _ = std::fs::remove_file(&socket);
    let _service = Peer::serve(&["grpc", &socket.to_string_lossy()])?;
    let connect = || {
        let socket = socket.clone();
        tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        })
    };
    // The address is not used: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://peer");
    let channel = eventually(async || Ok(endpoint.connect_with_connector(connect()).await?)).await?;
    let mut client = tonic::client::Grpc::new(channel);
    let mut times = Vec::with_capacity(count);
    for number in 0..WARM_UP + count {
        let begun = Instant::now();
        client.ready().await?;
        let path = http::uri::PathAndQuery::from_static("/peers.Echo/Call");
        let asked = Request::new(Text { text: "x".repeat(ASKED) });
        let answer: Response<Text> = client.unary(asked, path, ProstCodec::<Text, Text>::default()).await?;
        ensure!(answer.get_ref().text.len() == ANSWERED, "{answer:?}");
        if number >= WARM_UP {
            times.push(micros(begun));
        }
    }
    Ok(times)
}
