// The services table of the overview, and the restart that it offers.

import { api, ApiError } from "../api/client";
import type { Overview, ServiceState, ServiceStatus } from "../api/types";
import { age, bytes, percent } from "../lib/format";
import { cpuOfServices } from "../state/overview";
import { may } from "../state/session";
import { toast } from "../state/toast";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Button, Link, Status, type Tone } from "../ui/parts";

export function Services({ now }: { now: Overview }) {
  const words = strings.overview;
  const { services } = now;
  const bad = services.filter(needsAttention).length;
  return (
    <section class="card services" aria-labelledby="services-title">
      <div class="card-head">
        <h2 id="services-title">{words.services}</h2>
        <Status tone={bad ? "bad" : "good"}>
          {bad ? words.servicesBad(bad, services.length) : words.servicesGood(services.length)}
        </Status>
      </div>
      <table class="table stack">
        <thead>
          <tr>
            <th scope="col">{words.columns.service}</th>
            <th scope="col">{words.columns.state}</th>
            <th scope="col">{words.columns.since}</th>
            <th scope="col" class="number">
              {words.columns.restarts}
            </th>
            <th scope="col" class="number">
              {words.columns.memory}
            </th>
            <th scope="col" class="number">
              {words.columns.cpu}
            </th>
            <th scope="col">{words.columns.lastExit}</th>
            <th scope="col">
              <span class="hidden">{words.columns.actions}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {services.map((service) => (
            <Service key={service.name} service={service} cpu={cpuOfServices.value.get(service.name)} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Service({ service, cpu }: { service: ServiceStatus; cpu: number | undefined }) {
  const words = strings.overview;
  return (
    <tr data-testid="service-row" data-service={service.name} data-state={service.state}>
      <th scope="row" class="service-name">
        <span>{service.name}</span>
        <span class="muted">{service.status ?? service.description}</span>
      </th>
      <td class="service-state">
        <Status tone={stateTone(service)} title={service.degraded ? words.degraded : undefined}>
          {strings.serviceState[service.state]}
        </Status>
        {service.degraded && <span class="muted small-note">{words.degraded}</span>}
      </td>
      <td data-label={words.columns.since}>{age(service.since_ms)}</td>
      <td class="number" data-label={words.columns.restarts}>
        {service.restarts}
      </td>
      <td class="number" data-label={words.columns.memory}>
        {service.memory_bytes === null ? "–" : bytes(service.memory_bytes)}
      </td>
      <td class="number" data-label={words.columns.cpu}>
        {cpu === undefined ? "–" : percent(cpu)}
      </td>
      <td class={service.last_exit === null ? "service-exit none" : "service-exit"} data-label={words.columns.lastExit}>
        {service.last_exit ?? "–"}
      </td>
      <td class="row-actions">
        <Link to={`/logs?unit=${encodeURIComponent(service.name)}`} class="button quiet small">
          {words.logs}
        </Link>
        <Button
          kind="quiet"
          small
          testid="service-restart"
          disabled={!may("operator")}
          title={may("operator") ? undefined : strings.needsRole("operator")}
          aria-label={`${words.restart} ${service.name}`}
          onClick={() => askRestart(service.name)}
        >
          {words.restart}
        </Button>
      </td>
    </tr>
  );
}

function askRestart(name: string): void {
  const words = strings.overview;
  const text = [words.restartText(name)];
  if (name === "console") text.push(words.restartConsole);
  if (name === "agentd" || name === "inferd") text.push(words.restartAgent);
  confirm({
    title: words.restartTitle(name),
    text,
    action: words.restart,
    busy: words.restarting,
    reason: { initial: "" },
    run: async (why) => {
      try {
        await api.restart(name, why);
      } catch (error) {
        // The console that was to answer is the one that was stopped.
        const cutOff = name === "console" && error instanceof ApiError && error.code === "away";
        if (!cutOff) throw error;
      }
      toast(words.restarted(name));
    },
  });
}

export function needsAttention(service: ServiceStatus): boolean {
  return service.degraded || service.state === "failed" || service.state === "backoff";
}

function stateTone(service: ServiceStatus): Tone {
  if (service.degraded) return "bad";
  const tones: Record<ServiceState, Tone> = {
    waiting: "idle",
    starting: "busy",
    running: "good",
    stopping: "busy",
    stopped: "idle",
    backoff: "warn",
    failed: "bad",
    listening: "idle",
    scheduled: "idle",
  };
  return tones[service.state];
}
