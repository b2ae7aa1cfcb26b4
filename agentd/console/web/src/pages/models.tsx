// The models of this machine: what is there, what each tier uses, and how another one gets here. Sending a file is the only thing
// that is no tool; all else are calls of the tools model.*: decided, recorded and undone like any other.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, sentence } from "../api/client";
import type { Found, JsonObject, Learned, Model, Models, Upload } from "../api/types";
import { bytes, count, moment, percent, share } from "../lib/format";
import { plainName, sendFile } from "../lib/upload";
import { may } from "../state/session";
import { toast } from "../state/toast";
import { strings } from "../strings";
import { confirm } from "../ui/dialog";
import { Badge, Button, Failure, Loading, Meter, Notice, PageHead, Status } from "../ui/parts";

type Sending = { name: string; sent: number; size: number; problem: string | null; file: File };

export function ModelsPage() {
  const words = strings.models;
  const found = useSignal<Models | null>(null);
  const uploads = useSignal<Upload[]>([]);
  const stick = useSignal<Found[]>([]);
  const problem = useSignal<string | null>(null);
  const checked = useSignal<{ name: string; good: boolean; text: string } | null>(null);
  const busy = useSignal<string | null>(null);

  async function load(): Promise<void> {
    try {
      found.value = (await api.call("model.list", {}, words.looked)).result as Models;
      if (may("operator")) {
        uploads.value = (await api.uploads()).uploads;
        stick.value = await onStick();
      }
      problem.value = null;
    } catch (error) {
      problem.value = sentence(error);
    }
  }

  /** The models on the stick that is plugged in; none where there is no stick. */
  async function onStick(): Promise<Found[]> {
    try {
      const found = await api.call("fs.find", { path: "/run/usb", name: "*.gguf", kind: "file" }, words.looked);
      return (found.result as { entries: Found[] }).entries;
    } catch {
      return [];
    }
  }

  useEffect(() => {
    void load();
  }, []);

  /** Says what would change, asks for the reason, and does it. */
  async function ask(title: string, action: string, tool: string, args: JsonObject, danger = false): Promise<void> {
    busy.value = title;
    let would: string;
    try {
      const done = await api.call(tool, args, words.looked, { dryRun: true });
      would = words.would((done.result as { would: string }).would);
    } catch (error) {
      toast(sentence(error), "bad");
      return;
    } finally {
      busy.value = null;
    }
    confirm({
      title,
      text: [would],
      action,
      danger,
      busy: words.busy,
      reason: { initial: "" },
      run: async (why) => {
        const done = await api.call(tool, args, why);
        toast(done.summary);
        await load();
      },
    });
  }

  async function verify(name: string): Promise<void> {
    busy.value = name;
    checked.value = null;
    try {
      const done = await api.call("model.verify", { name }, words.looked);
      checked.value = { name, good: (done.result as { good: boolean }).good, text: done.summary };
    } catch (error) {
      checked.value = { name, good: false, text: sentence(error) };
    } finally {
      busy.value = null;
    }
  }

  return (
    <>
      <PageHead title={words.title} lead={words.lead} />
      {found.value?.tiers
        .filter((tier) => tier.note)
        .map((tier) => (
          <Notice key={tier.tier} tone="warn" title={words.tier(tier.tier)} testid="model-note">
            <p>{tier.note}</p>
          </Notice>
        ))}
      {checked.value && (
        <Notice tone={checked.value.good ? "good" : "bad"} title={words.checked(checked.value.name)} testid="model-checked" alert>
          <p>{checked.value.text}</p>
        </Notice>
      )}
      <section class="card services models" aria-labelledby="models-title">
        <div class="card-head">
          <h2 id="models-title">{words.here}</h2>
          {found.value?.tiers.some((tier) => tier.before) && (
            <Button
              small
              icon="undo"
              testid="model-rollback"
              disabled={!may("admin")}
              title={may("admin") ? undefined : strings.needsRole("admin")}
              onClick={() => {
                const changed = found.value?.tiers.filter((tier) => tier.before) ?? [];
                const tier = changed.find((one) => one.on_trial) ?? changed[0];
                if (tier) void ask(words.rollbackTitle(tier.tier), words.rollback, "model.rollback", { tier: tier.tier });
              }}
            >
              {words.rollback}
            </Button>
          )}
        </div>
        {problem.value !== null && <Failure why={problem.value} retry={() => void load()} />}
        {found.value === null && problem.value === null && <Loading />}
        {found.value && (
          <table class="table stack">
            <thead>
              <tr>
                <th scope="col">{words.columns.name}</th>
                <th scope="col">{words.columns.use}</th>
                <th scope="col" class="number">
                  {words.columns.size}
                </th>
                <th scope="col" class="number">
                  {words.columns.memory}
                </th>
                <th scope="col">{words.columns.trust}</th>
                <th scope="col">
                  <span class="hidden">{strings.overview.columns.actions}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {found.value.models.map((model) => (
                <Row
                  key={model.name}
                  model={model}
                  whole={found.value?.memory.total ?? 0}
                  trial={found.value?.tiers.some((tier) => tier.on_trial && tier.model === model.name) ?? false}
                  busy={busy.value !== null}
                  verify={() => void verify(model.name)}
                  activate={() => void ask(words.activateTitle(model.name), words.activate, "model.activate", { name: model.name })}
                  remove={() => void ask(words.removeTitle(model.name), words.remove, "model.remove", { name: model.name }, true)}
                />
              ))}
            </tbody>
          </table>
        )}
      </section>
      {found.value?.learned && (
        <LearnedCard
          learned={found.value.learned}
          busy={busy.value !== null}
          learn={() => void ask(words.learnTitle, words.learn, "model.learn", {})}
          forget={() => void ask(words.forgetTitle, words.forget, "model.forget", {})}
        />
      )}
      {may("operator") && (
        <Uploads
          uploads={uploads.value}
          stick={stick.value}
          changed={() => void load()}
          take={(name, path) => void ask(words.importTitle(name), words.import, "model.import", { path })}
        />
      )}
    </>
  );
}

type RowProps = {
  model: Model;
  whole: number;
  trial: boolean;
  busy: boolean;
  verify: () => void;
  activate: () => void;
  remove: () => void;
};

function Row({ model, whole, trial, busy, verify, activate, remove }: RowProps) {
  const words = strings.models;
  const { name, used_by: used } = model;
  const action = (text: string, testid: string, run: () => void, role: "viewer" | "admin", off = false) => (
    <Button
      kind="quiet"
      small
      testid={testid}
      disabled={busy || off || !may(role)}
      title={may(role) ? undefined : strings.needsRole(role)}
      aria-label={`${text}: ${name}`}
      onClick={run}
    >
      {text}
    </Button>
  );
  const about = [model.architecture, model.parameters > 0 && words.parameters(count(Math.round(model.parameters / 1e6))), model.quantisation];
  return (
    <tr data-testid="model-row" data-model={name}>
      <th scope="row" class="service-name model-name">
        <span>{name}</span>
        <span class="muted">{model.problem ?? about.filter(Boolean).join(" · ")}</span>
      </th>
      <td class="model-use" data-label={words.columns.use}>
        {used.length === 0 ? (
          <span class="muted">{words.unused}</span>
        ) : (
          <Status tone={trial ? "busy" : "good"}>{used.join(", ") + (trial ? words.trial : "")}</Status>
        )}
      </td>
      <td class="number" data-label={words.columns.size}>
        {bytes(model.bytes)}
      </td>
      <td class="number" data-label={words.columns.memory} title={percent(share(model.memory, whole))}>
        {model.memory > 0 ? words.about(bytes(model.memory)) : "–"}
      </td>
      <td data-label={words.columns.trust} title={model.from ?? undefined}>
        <Badge tone={model.problem ? "bad" : model.verified ? "good" : "warn"}>
          {model.problem ? words.damaged : words.trust[model.trust]}
        </Badge>
        {model.imported_ms !== null && <span class="muted model-when">{moment(model.imported_ms)}</span>}
      </td>
      <td class="row-actions">
        {action(words.verify, "model-verify", verify, "viewer")}
        {action(words.activate, "model-activate", activate, "admin", used.length > 0 || model.problem !== null)}
        {model.origin === "imported" && action(words.remove, "model-remove", remove, "admin", used.length > 0)}
      </td>
    </tr>
  );
}

type LearnedProps = { learned: Learned; busy: boolean; learn: () => void; forget: () => void };

function LearnedCard({ learned, busy, learn, forget }: LearnedProps) {
  const words = strings.models;
  const off = busy || !may("admin");
  const title = may("admin") ? undefined : strings.needsRole("admin");
  const { current, last, note } = learned;
  return (
    <section class="card learned" aria-labelledby="learned-title" data-testid="learned">
      <div class="card-head">
        <h2 id="learned-title">{words.learned}</h2>
        <span class="row-actions">
          {current !== null && (
            <Button small icon="undo" testid="learned-forget" disabled={off} title={title} onClick={forget}>
              {words.forget}
            </Button>
          )}
          <Button small testid="learned-learn" disabled={off} title={title} onClick={learn}>
            {words.learn}
          </Button>
        </span>
      </div>
      <p class="muted">{words.learnedHint}</p>
      <p>{current === null ? words.learnedNot : words.learnedIs(current)}</p>
      {last && (
        <p class="muted">
          {moment(last.at_ms)}: {words.learnedLast(last)}
        </p>
      )}
      {note && <p class="muted">{note}</p>}
    </section>
  );
}

type UploadsProps = { uploads: Upload[]; stick: Found[]; changed: () => void; take: (name: string, path: string) => void };

function Uploads({ uploads, stick, changed, take }: UploadsProps) {
  const words = strings.models;
  const sending = useSignal<Sending | null>(null);
  const stop = useRef<AbortController | null>(null);

  useEffect(() => () => stop.current?.abort(), []);

  async function send(file: File, from: number): Promise<boolean> {
    const name = plainName(file.name);
    const abort = new AbortController();
    stop.current = abort;
    const tell = (sent: number, problem: string | null = null): void => {
      sending.value = { name, sent, size: file.size, problem, file };
    };
    tell(from);
    try {
      await sendFile(file, name, from, tell, abort.signal);
      sending.value = null;
      toast(words.sent(name));
      return true;
    } catch (error) {
      const sent = sending.value?.sent ?? from;
      if (abort.signal.aborted) sending.value = null;
      else tell(sent, sentence(error));
      return false;
    } finally {
      changed();
    }
  }

  async function sendAll(files: File[]): Promise<void> {
    for (const file of files) if (!(await send(file, 0))) return;
  }

  async function drop(name: string): Promise<void> {
    try {
      await api.removeUpload(name);
    } catch (error) {
      toast(sentence(error), "bad");
    }
    changed();
  }

  const now = sending.value;
  return (
    <section class="card uploads" aria-labelledby="uploads-title">
      <div class="card-head">
        <h2 id="uploads-title">{words.another}</h2>
      </div>
      <p class="muted">{words.anotherHint}</p>
      {!now && (
        <label class="upload-file">
          <span>{words.choose}</span>
          <input
            type="file"
            multiple
            accept=".gguf,.sig"
            data-testid="upload-file"
            onChange={(event) => {
              const files = [...(event.currentTarget.files ?? [])];
              event.currentTarget.value = "";
              void sendAll(files);
            }}
          />
        </label>
      )}
      {now && (
        <div class="upload-now" data-testid="upload-now">
          <div class="upload-line">
            <strong>{now.name}</strong>
            <span class="muted">{words.sentOf(bytes(now.sent), bytes(now.size))}</span>
          </div>
          <Meter percent={share(now.sent, now.size)} label={words.progress(now.name)} tone={now.problem ? "bad" : "accent"} />
          {now.problem && <p class="upload-problem">{now.problem}</p>}
          <div class="upload-line">
            {now.problem && (
              <Button small icon="restart" testid="upload-on" onClick={() => void send(now.file, now.sent)}>
                {words.goOn}
              </Button>
            )}
            <Button
              small
              icon="stop"
              testid="upload-stop"
              onClick={() => {
                stop.current?.abort();
                sending.value = null;
              }}
            >
              {words.stop}
            </Button>
          </div>
        </div>
      )}
      {uploads.length > 0 && (
        <ul class="upload-list">
          {uploads.map((upload) => (
            <li key={`${upload.name}${upload.complete}`} data-testid="upload-row">
              <span class="upload-name">{upload.name}</span>
              <span class="muted">{upload.complete ? bytes(upload.bytes) : words.partial(bytes(upload.bytes))}</span>
              <span class="row-actions">
                {upload.complete && upload.name.toLowerCase().endsWith(".gguf") && (
                  <Button small testid="upload-import" onClick={() => take(upload.name, upload.path)}>
                    {words.import}
                  </Button>
                )}
                <Button
                  kind="quiet"
                  small
                  icon="trash"
                  disabled={now?.name === upload.name}
                  aria-label={`${words.drop}: ${upload.name}`}
                  onClick={() => void drop(upload.name)}
                >
                  {words.drop}
                </Button>
              </span>
            </li>
          ))}
        </ul>
      )}
      {stick.length > 0 && (
        <ul class="upload-list" aria-label={words.stick}>
          {stick.map(({ path, size }) => (
            <li key={path} data-testid="stick-row">
              <span class="upload-name">{path}</span>
              <span class="muted">{`${bytes(size)}, ${words.stick}`}</span>
              <span class="row-actions">
                <Button small testid="stick-import" onClick={() => take(path.slice(path.lastIndexOf("/") + 1), path)}>
                  {words.import}
                </Button>
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
