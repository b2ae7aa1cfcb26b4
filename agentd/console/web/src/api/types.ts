// What the console's API says, as JSON. The names are those of the ABI (tools/abi); enums without a tag
// attribute arrive externally tagged: {"Done": {...}} or "Interrupted".

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Rust's `Result` in JSON. */
export type Outcome<T> = { Ok: T } | { Err: string };

export const ROLES = ["viewer", "operator", "approver", "admin"] as const;
export type Role = (typeof ROLES)[number];

export type Person = { name: string; role: Role };

export type Session = {
  claimed: boolean;
  user: Person | null;
  hostname: string;
  version: string;
  /** SHA-256 of the certificate, `AA:BB:…`. */
  fingerprint: string;
};

/** A person's account, as `users.list` says. */
export type Account = {
  name: string;
  role: Role;
  disabled: boolean;
  password_due: boolean;
  sessions: number;
  tokens: number;
  keys: { kind: string; fingerprint: string; comment: string; options: string[] }[];
};

export type ApiErrorBody = { code: string; message: string };

export type ServiceState = "waiting" | "starting" | "running" | "stopping" | "stopped" | "backoff" | "failed" | "listening" | "scheduled";

export type ServiceStatus = {
  name: string;
  description: string;
  state: ServiceState;
  pid: number | null;
  since_ms: number;
  restarts: number;
  degraded: boolean;
  last_exit: string | null;
  status: string | null;
  memory_bytes: number | null;
  cpu_usec: number | null;
  processes: number | null;
};

export type MachineStatus = {
  hostname: string;
  version: string;
  kernel: string;
  boot_id: string;
  uptime_ms: number;
  init_started_ms: number;
  console_ready_ms: number | null;
  /** `disk` or `memory`. */
  data: string;
};

export type EngineState = "absent" | "loading" | "ready" | "failed";
export type Place = "machine" | "outside";

export type EngineHealth = {
  state: EngineState;
  detail: string;
  model: string | null;
  place: Place;
  restarts: number;
};

export type Tier = "operational" | "tactical" | "strategic";

/** What a tier did since inferd was started. */
export type TierAccount = {
  requests: number;
  failed: number;
  prompt_tokens: number;
  reused_tokens: number;
  generated_tokens: number;
  p95_ms: number;
  /** Millionths of the budget's currency. */
  price_micro: number;
};

export type TierStatus = { tier: Tier; engine: EngineHealth; done: TierAccount };
export type InferStatus = { tiers: TierStatus[]; embed: EngineHealth; queued: number };
export type AgentStatus = { inference: Outcome<InferStatus>; tools: number };

export type Disk = { mount: string; total: number; available: number; read_only: boolean };

export type Overview = {
  time_ms: number;
  machine: MachineStatus;
  cpu: { percent: number; load1: number; cores: number };
  memory: { total: number; available: number };
  disks: Disk[];
  services: ServiceStatus[];
  refused: string[];
  inference: Outcome<InferStatus>;
  agent: Outcome<AgentStatus>;
};

export type Effect = "read" | "reversible" | "irreversible";

export type Tool = {
  number: number;
  name: string;
  summary: string;
  effect: Effect;
  touches: string[];
  role: Role;
  timeout_ms: number;
  args_schema: Json;
  result_schema: Json;
  examples: { ask: string; args: Json }[];
};

export type CallDone = { result: Json; summary: string; audit: number; undoable: boolean; repeated: boolean };

export type LogLine = { seq: number; time_ms: number; unit: string; priority: number; text: string };

export type Scored = { name: string; score: number };

export type AskEvent =
  | { type: "note"; text: string }
  | { type: "considering"; tools: Scored[] }
  | { type: "call"; index: number; tool: string; args: Json; why: string }
  | {
      type: "result";
      index: number;
      result: Json;
      summary: string;
      failed: boolean;
      audit: number | null;
      undoable: boolean;
      ms: number;
    }
  | { type: "proposal"; tool: string; args: Json; why: string }
  | { type: "text"; text: string };

export type Decider = "rules" | "retrieval" | "model" | "nobody";
export type Usage = { prompt_tokens: number; reused_tokens: number; generated_tokens: number; ms: number; price_micro: number };
export type Answer = { text: string; decider: Decider; usage: Usage; ms: number };

export type CallOutcome =
  | { Done: { summary: string } }
  | { Denied: { reason: string } }
  | { Failed: { error: string } }
  | "Interrupted";

export type CallRecord = {
  tool: string;
  effect: Effect;
  args: Json;
  why: string;
  incident: string | null;
  by: string;
  person: Person | null;
};

export type Entry =
  | { Opened: { version: string; boot_id: string } }
  | { Call: { call: CallRecord; outcome: CallOutcome } }
  | { Begin: { call: CallRecord; undoable: boolean } }
  | { End: { of: number; outcome: CallOutcome } }
  | { Undone: { of: number; call: CallRecord; outcome: CallOutcome } };

export type AuditRecord = { seq: number; time_ms: number; previous: string; entry: Entry; hash: string };
export type Head = { seq: number; hash: string; public_key: string; signature: string };
export type AuditPage = { records: AuditRecord[]; head: Head };

/** A language model on the machine, as `model.list` shows it. */
export type Model = {
  name: string;
  used_by: string[];
  origin: "image" | "imported";
  bytes: number;
  title: string;
  architecture: string;
  parameters: number;
  quantisation: string;
  context: number;
  chat_template: boolean;
  memory: number;
  verified: boolean;
  trust: "image" | "signature" | "hash" | "nobody";
  imported_ms: number | null;
  from: string | null;
  problem: string | null;
};

/** A tier of this machine and its model. */
export type TierInUse = { tier: string; model: string | null; before: string | null; on_trial: boolean; note: string | null };

/** What came of learning from approved calls. */
export type Lessons = {
  at_ms: number;
  lessons: number;
  held: number;
  knew: number;
  knows: number;
  old: number;
  old_knew: number;
  old_knows: number;
  kept: boolean;
};

/** What was learned on this machine, and what of it is used. */
export type Learned = { current: string | null; before: string | null; last: Lessons | null; note: string | null };

export type Models = {
  models: Model[];
  tiers: TierInUse[];
  learned: Learned | null;
  memory: { total: number; available: number };
};

/** A file that was sent to the machine, or a part of one. */
/** What `fs.find` found. */
export type Found = { path: string; size: number };
export type Upload = { name: string; path: string; bytes: number; complete: boolean };
