import { expect, it } from "vitest";
import { missingCharacters, NAME } from "./account";

it("a name is what the console takes", () => {
  for (const name of ["a", "eva", "eva-2", `a${"b".repeat(31)}`]) expect(NAME.test(name), name).toBe(true);
  for (const name of ["", "Eva", "2eva", "eva_2", "-eva", `a${"b".repeat(32)}`]) expect(NAME.test(name), name).toBe(false);
});

it("a password is counted in characters, as people count them", () => {
  expect(missingCharacters("")).toBe(10);
  expect(missingCharacters("ännchen🦀")).toBe(2);
  expect(missingCharacters("correct horse battery")).toBe(0);
});
