//! Assistants on the machine itself: the tools over a local socket, one message a line.
//!
//! The console serves it because it vouches for callers towards toold anyway, and because the broker, which holds the
//! machine's power, shall not read a format as rich as this one.

use crate::api::mcp::Served;
use crate::state::Shared;
use aios_abi::who::{Person, Role, uid};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

/// Clients at once; the next one waits in the kernel's queue.
const MAX_CLIENTS: usize = 16;

/// Who a process is, by the rule by which toold knows those that ask it themselves (`tools/src/caller.rs`); `own` is the
/// user of this process, an administrator where it was started by hand. The agent is not among them: it asks the broker
/// itself, which knows it by its process and holds it to its autonomy.
fn person(own: u32, user: u32) -> Option<Person> {
    let (name, role) = match user {
        uid::ROOT => ("root".to_owned(), Role::Admin),
        uid::CONSOLE => ("console".to_owned(), Role::Viewer),
        user if user == own => (format!("uid {user}"), Role::Admin),
        _ => return None,
    };
    Some(Person { name, role })
}

/// Serve until the listener fails.
pub async fn serve(listener: UnixListener, app: Shared) -> std::io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let house = Arc::new(Served(app));
    let room = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let place = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                // Descriptors are short: another try is worth it when somebody has gone.
                tracing::warn!("a local client could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // One that the kernel does not name is a stranger too.
        let Ok(credentials) = stream.peer_cred() else { continue };
        let Some(person) = person(own, credentials.uid()) else {
            tracing::warn!("a process of user {} was turned away from the tools", credentials.uid());
            continue;
        };
        let house = house.clone();
        tokio::spawn(async move {
            let (reads, writes) = stream.into_split();
            aios_mcp::local::serve(house, person, reads, writes).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_who_its_user_is_and_strangers_are_nobody() {
        let role = |own, user| person(own, user).map(|person| person.role);
        assert_eq!(role(uid::CONSOLE, uid::ROOT), Some(Role::Admin));
        assert_eq!(role(uid::CONSOLE, uid::CONSOLE), Some(Role::Viewer));
        for stranger in [uid::AGENTD, uid::INFERD, uid::NETD, uid::WORKER, 1000] {
            assert_eq!(role(uid::CONSOLE, stranger), None, "{stranger}");
        }
        assert_eq!(role(1000, 1000), Some(Role::Admin));
    }
}
