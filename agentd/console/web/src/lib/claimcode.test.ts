import { describe, expect, it } from "vitest";
import { caretAfter, formatCode, isWholeCode } from "./claimcode";

describe("a claim code", () => {
  it("gets its dashes and capitals by itself", () => {
    expect(formatCode("abcd")).toBe("ABCD");
    expect(formatCode("abcde")).toBe("ABCD-E");
    expect(formatCode(" ab cd-efgh_jkmn extra ")).toBe("ABCD-EFGH-JKMN");
    expect(formatCode("")).toBe("");
  });

  it("is whole with twelve characters", () => {
    expect(isWholeCode("ABCD-EFGH-JKMN")).toBe(true);
    expect(isWholeCode("ABCD-EFGH-JKM")).toBe(false);
  });

  it("keeps the cursor behind the letter that was typed", () => {
    expect(caretAfter("abcde", 5)).toBe(6);
    expect(caretAfter("abXcd-efgh", 3)).toBe(3);
    expect(caretAfter("abcdefghjkmn", 12)).toBe(14);
    expect(caretAfter("ab", 2)).toBe(2);
  });
});
