// Sends a file in pieces, so that one whose connection broke goes on where it was.

import { api, ApiError } from "../api/client";

/** Bytes of a piece: small enough that the bar moves, large enough that the way there and back does not count. */
export const PIECE = 8 * 1024 * 1024;
/** Letters of a name in the upload area. */
const LONGEST = 128;

/** The name that a file gets on the machine: letters, digits, dots, dashes. */
export function plainName(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[.-]+/, "");
  return (plain.endsWith(".part") ? plain.slice(0, -5) : plain).slice(-LONGEST) || "file";
}

/** Where the machine says a file goes on, if that is what it says. */
export function goesOn(error: unknown): number | null {
  if (!(error instanceof ApiError) || error.code !== "conflict") return null;
  const found = /offset=(\d+)/.exec(error.message);
  return found ? Number(found[1]) : null;
}

/** Sends it from there on. `tell` hears how much has arrived. */
export async function sendFile(
  file: Blob,
  name: string,
  from: number,
  tell: (sent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let offset = from;
  let asked = false;
  do {
    const piece = file.slice(offset, offset + PIECE);
    try {
      const there = await api.upload(name, file.size, offset, piece, signal);
      offset = there.bytes;
      asked = false;
    } catch (error) {
      // A piece of which only a part arrived: the machine knows how much.
      const there = goesOn(error);
      if (there === null || asked || there > file.size) throw error;
      asked = true;
      offset = there;
    }
    tell(offset);
  } while (offset < file.size);
}
