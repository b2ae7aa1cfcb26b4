//! What runs on the machine.

use super::Machine;
use crate::api::decode;
use crate::error::Outcome;
use crate::output::{Output, Tone, bytes, clean, span};
use aios_abi::service::{ServiceState, ServiceStatus};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct List {
    services: Vec<ServiceStatus>,
    refused: Vec<String>,
}

pub(super) async fn list(machine: &Machine, output: &Output) -> Outcome {
    let json = machine.api.get(&["services"]).await?;
    if output.is_json() {
        return output.json(&json);
    }
    let list: List = decode(&json)?;
    table(&list.services, output)?;
    refused(&list.refused, output)
}

/// Services as a table.
pub(super) fn table(services: &[ServiceStatus], output: &Output) -> Outcome {
    let number = |number: Option<u32>| number.map_or_else(|| "-".into(), |number| number.to_string());
    let rows = services.iter().map(|service| {
        vec![
            service.name.clone(),
            state(service),
            span(service.since_ms),
            number(service.pid),
            service.memory_bytes.map_or_else(|| "-".into(), bytes),
            service.restarts.to_string(),
            note(service),
        ]
    });
    output.table(&["SERVICE", "STATE", "SINCE", "PID", "MEMORY", "RESTARTS", "NOTE"], rows)
}

fn state(service: &ServiceStatus) -> String {
    let word = service.state.as_str();
    if service.degraded { format!("{word}, degraded") } else { word.to_owned() }
}

/// What the service says of itself; why it ended last, when it does not run as it should. An end that was
/// asked for (a restart, a stop) is no news.
fn note(service: &ServiceStatus) -> String {
    let ill = service.degraded || matches!(service.state, ServiceState::Backoff | ServiceState::Failed);
    let end = service.last_exit.as_ref().filter(|_| ill || service.restarts > 0);
    let up = matches!(service.state, ServiceState::Running | ServiceState::Starting);
    let (first, second) = match up {
        true => (service.status.as_ref(), end),
        false => (end, service.status.as_ref()),
    };
    first.or(second).cloned().unwrap_or_default()
}

/// Service files that init did not take, below the table.
pub(super) fn refused(refused: &[String], output: &Output) -> Outcome {
    if !refused.is_empty() {
        output.text("\n")?;
    }
    refused.iter().try_for_each(|sentence| output.line(output.tone(Tone::Warning, clean(sentence))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netd() -> ServiceStatus {
        ServiceStatus {
            name: "netd".into(),
            description: "d".into(),
            state: ServiceState::Backoff,
            pid: None,
            since_ms: 1,
            restarts: 3,
            degraded: true,
            last_exit: Some("killed by SIGKILL".into()),
            status: Some("address 10.0.2.15".into()),
            memory_bytes: None,
            cpu_usec: None,
            processes: None,
            next_run_ms: None,
        }
    }

    #[test]
    fn a_service_that_died_is_noted_with_its_death_and_a_running_one_with_its_own_words() {
        let mut service = netd();
        assert_eq!(
            (state(&service).as_str(), note(&service).as_str()),
            ("backoff, degraded", "killed by SIGKILL")
        );
        service.state = ServiceState::Running;
        assert_eq!(note(&service), "address 10.0.2.15");
        service.status = None;
        assert_eq!(note(&service), "killed by SIGKILL");
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_news() {
        let mut service = netd();
        service.last_exit = Some("killed by SIGTERM".into());
        for state in [ServiceState::Running, ServiceState::Stopped, ServiceState::Starting] {
            (service.state, service.restarts, service.degraded, service.status) = (state, 0, false, None);
            assert_eq!(note(&service), "", "{state:?}");
        }
        service.state = ServiceState::Failed;
        assert_eq!(note(&service), "killed by SIGTERM");
    }
}
