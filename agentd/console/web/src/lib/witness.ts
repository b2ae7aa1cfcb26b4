// A browser as a witness: it remembers a proved end of the audit chain and notices when the chain later
// does not contain it. The chain alone cannot show that its newest records were cut off together with its head.

import type { Head } from "../api/types";

export type Memory = { seq: number; hash: string; public_key: string };

export type Verdict =
  | { kind: "proved"; head: Head; before: number | null }
  | { kind: "other_key"; head: Head }
  | { kind: "shorter"; head: Head; seen: number }
  | { kind: "replaced"; head: Head; seen: number };

/** `hashThere` is the hash that the chain now holds at the remembered position. */
export function compare(head: Head, memory: Memory | null, hashThere: string | null): Verdict {
  if (!memory) return { kind: "proved", head, before: null };
  if (memory.public_key !== head.public_key) return { kind: "other_key", head };
  if (head.seq < memory.seq) return { kind: "shorter", head, seen: memory.seq };
  if (hashThere !== memory.hash) return { kind: "replaced", head, seen: memory.seq };
  return { kind: "proved", head, before: memory.seq };
}
