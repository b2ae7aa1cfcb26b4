//! One message a line over a local socket: the framing of the protocol's stdio.

use crate::House;
use crate::server::{Server, Who};
use aios_abi::who::Person;
use rmcp::transport::async_rw::AsyncRwTransport;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a message.
const LONGEST: usize = 256 * 1024;

/// Serve one client, whom the caller knows, until it goes.
pub async fn serve<H: House>(
    house: Arc<H>,
    person: Person,
    reads: impl AsyncRead + Send + Unpin + 'static,
    writes: impl AsyncWrite + Send + Unpin + 'static,
) {
    let transport = AsyncRwTransport::new_server(reads, writes).with_max_line_length(LONGEST);
    let server = Server::new(house, Who::Always(person));
    match rmcp::serve_server(server, transport).await {
        Ok(running) => {
            // How it ended concerns the client alone.
            let _ = running.waiting().await;
        }
        Err(error) => tracing::debug!("a local client said nothing that is understood: {error}"),
    }
}
