import { describe, expect, it } from "vitest";
import { age, bytes, duration, percent, share } from "./format";

describe("quantities", () => {
  it("show three digits and a binary unit", () => {
    expect([0, 1023, 1024, 1536, 2 ** 31, 1.31 * 2 ** 30, 312 * 2 ** 20].map(bytes)).toEqual([
      "0 B",
      "1023 B",
      "1 KiB",
      "1.5 KiB",
      "2 GiB",
      "1.31 GiB",
      "312 MiB",
    ]);
  });

  it("show time in its two largest units", () => {
    expect([7, 4200, 59_000, 192_000, 7_500_000, 1_051_200_000].map(duration)).toEqual([
      "7 ms",
      "4.2 s",
      "59 s",
      "3 min 12 s",
      "2 h 5 min",
      "12 d 4 h",
    ]);
    expect(age(999)).toBe("0 s");
    expect(age(3_600_000)).toBe("1 h");
  });

  it("show small shares with a digit more", () => {
    expect([0, 4.25, 9.96, 37.4, 100].map(percent)).toEqual(["0 %", "4.3 %", "10 %", "37 %", "100 %"]);
    expect(share(1, 0)).toBe(0);
    expect(share(5, 4)).toBe(100);
  });
});
