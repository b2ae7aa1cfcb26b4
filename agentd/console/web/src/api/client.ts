// The one door to the console's API. Everything that fails comes out as an ApiError with a sentence.

import { strings } from "../strings";
import { SseParser, type SseEvent } from "./sse";
import type {
  AuditPage,
  CallDone,
  Head,
  Json,
  JsonObject,
  LogLine,
  ServiceStatus,
  Session,
  Tool,
  Upload,
} from "./types";

/** A failure that the API reported, or `away` when the machine could not be reached at all. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 0,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** The sentence to show for anything that was thrown. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let onUnauthenticated: () => void = () => {};

/** Says what happens when the API no longer knows the login. */
export function whenUnauthenticated(handler: () => void): void {
  onUnauthenticated = handler;
}

async function send(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("away", strings.errors.away);
  }
  if (response.ok) return response;
  const failure = await failureOf(response);
  if (response.status === 401 && !path.endsWith("/login") && !path.endsWith("/claim") && !path.endsWith("/password")) onUnauthenticated();
  throw failure;
}

async function failureOf(response: Response): Promise<ApiError> {
  try {
    const body: unknown = await response.json();
    if (isErrorBody(body)) return new ApiError(body.code, body.message, response.status);
  } catch {
    // Not JSON: something in between answered; the status is all there is.
  }
  return new ApiError("failed", strings.errors.status(response.status), response.status);
}

function isErrorBody(body: unknown): body is { code: string; message: string } {
  return (
    typeof body === "object" &&
    body !== null &&
    typeof (body as Record<string, unknown>)["code"] === "string" &&
    typeof (body as Record<string, unknown>)["message"] === "string"
  );
}

async function json<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError("failed", strings.errors.notJson);
  }
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return json<T>(await send(path, signal ? { signal } : {}));
}

function posting(body: unknown, signal?: AbortSignal): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  };
}

async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return json<T>(await send(path, posting(body, signal)));
}

/**
 * Reads an event stream to its end. Resolves when the server closes it; rejects when the connection breaks.
 * `heard` is called for whatever arrives, also for the comments that keep a quiet stream alive.
 */
async function events(response: Response, take: (event: SseEvent) => void, heard?: () => void): Promise<void> {
  if (!response.body) throw new ApiError("failed", strings.errors.notJson);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard?.();
      for (const event of parser.push(value)) take(event);
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("away", strings.errors.cutOff);
  } finally {
    reader.cancel().catch(() => {});
  }
}

function query(values: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

export const api = {
  session: () => get<Session>("/api/v1/session"),
  claim: (code: string, name: string, password: string) =>
    post<Session>("/api/v1/claim", { code, name, password }),
  login: (name: string, password: string) => post<Session>("/api/v1/login", { name, password }),
  password: (name: string, password: string, chosen: string) =>
    post<Session>("/api/v1/password", { name, password, new: chosen }),
  logout: async () => void (await send("/api/v1/logout", posting({}))),
  tools: () => get<Tool[]>("/api/v1/tools"),
  /** `asked`: the reason is what the person asked for in words, and the machine may learn from it. */
  call: (tool: string, args: JsonObject, why: string, how: { dryRun?: boolean; asked?: boolean } = {}) =>
    post<CallDone>(`/api/v1/tools/${encodeURIComponent(tool)}`, {
      args,
      why,
      ...(how.dryRun ? { dry_run: true } : {}),
      ...(how.asked ? { asked: true } : {}),
    }),
  undo: (audit: number, why: string) => post<CallDone>(`/api/v1/undo/${audit}`, { why }),
  services: () => get<{ services: ServiceStatus[]; refused: string[] }>("/api/v1/services"),
  restart: (service: string, why: string) =>
    post<Json>(`/api/v1/services/${encodeURIComponent(service)}/restart`, { why }),
  logs: (unit: string, contains: string, limit: number, signal?: AbortSignal) =>
    get<{ lines: LogLine[]; dropped: number }>(`/api/v1/logs${query({ unit, contains, limit })}`, signal),
  audit: (from: number, limit: number) => get<AuditPage>(`/api/v1/audit${query({ from, limit })}`),
  verify: () => post<Head>("/api/v1/audit/verify", {}),
  uploads: () => get<{ uploads: Upload[] }>("/api/v1/uploads"),
  upload: async (name: string, size: number, offset: number, body: Blob, signal: AbortSignal) =>
    json<Upload>(await send(`/api/v1/uploads/${encodeURIComponent(name)}${query({ size, offset })}`, { method: "PUT", body, signal })),
  removeUpload: async (name: string) => void (await send(`/api/v1/uploads/${encodeURIComponent(name)}`, { method: "DELETE" })),
  exportUrl: "/api/v1/audit/export",
  /** Opens a stream that the caller keeps open with `follow`. */
  stream: async (
    path: string,
    take: (event: SseEvent) => void,
    signal: AbortSignal,
    opened: () => void,
    heard: () => void,
  ) => {
    const response = await send(path, { signal, headers: { accept: "text/event-stream" } });
    opened();
    await events(response, take, heard);
  },
  ask: async (text: string, take: (event: SseEvent) => void, signal: AbortSignal) => {
    await events(await send("/api/v1/ask", posting({ text }, signal)), take);
  },
  logStreamPath: (unit: string, contains: string) => `/api/v1/logs/stream${query({ unit, contains })}`,
};
