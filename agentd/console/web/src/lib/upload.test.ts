import { afterEach, expect, it, vi } from "vitest";
import { PIECE, plainName, sendFile } from "./upload";

afterEach(() => {
  vi.unstubAllGlobals();
});

it("a file's name becomes one that the machine takes", () => {
  expect(plainName("Qwen 2.5 (Q4_K).gguf")).toBe("Qwen-2.5-Q4_K-.gguf");
  expect(plainName("../../etc/passwd")).toBe("etc-passwd");
  expect(plainName("…")).toBe("file");
  expect(plainName("a.part")).toBe("a");
});

it("a file is sent in pieces, and goes on where the machine says it is", async () => {
  const asked: string[] = [];
  const answer = (status: number, body: unknown) => new Response(JSON.stringify(body), { status });
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    asked.push(path);
    const offset = Number(new URLSearchParams(path.split("?")[1]).get("offset"));
    if (asked.length === 2) return answer(409, { code: "conflict", message: "5 bytes of it have arrived; send it from there on (offset=5)" });
    const bytes = offset + (init.body as Blob).size;
    return answer(200, { name: "a", path: "/data/upload/a", bytes, complete: bytes === PIECE + 2 });
  });
  const told: number[] = [];
  const file = new Blob([new Uint8Array(PIECE + 2)]);
  await sendFile(file, "a", 0, (sent) => told.push(sent), new AbortController().signal);
  expect(told).toEqual([PIECE, 5, PIECE + 2]);
  expect(asked).toHaveLength(3);
});
