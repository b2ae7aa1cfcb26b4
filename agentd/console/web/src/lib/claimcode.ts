// The claim code as a person types it: XXXX-XXXX-XXXX.

const GROUP = 4;
const LENGTH = 12;

/** Upper case, groups of four; everything that is not a letter or a digit is left out. */
export function formatCode(typed: string): string {
  const letters = typed.toUpperCase().replace(/[^A-Z0-9]/g, "").slice(0, LENGTH);
  return letters.match(new RegExp(`.{1,${GROUP}}`, "g"))?.join("-") ?? "";
}

/** Whether all twelve characters are there. */
export function isWholeCode(code: string): boolean {
  return formatCode(code).replace(/-/g, "").length === LENGTH;
}

/**
 * Where the cursor belongs after formatting: behind as many letters and digits as it stood behind before,
 * and behind a dash rather than in front of it.
 */
export function caretAfter(typed: string, caret: number): number {
  const before = typed.slice(0, caret).replace(/[^A-Za-z0-9]/g, "").length;
  const code = formatCode(typed);
  if (before >= LENGTH) return code.length;
  const position = before + Math.floor(before / GROUP);
  return Math.min(position, code.length);
}
