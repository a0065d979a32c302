import { randomInt } from 'node:crypto';

/**
 * What one body of JSON may hold. Checking a value against a schema costs hundreds of times what parsing it did, and a
 * wrong one costs memory as well: a few megabytes of `[1,1,…` would stop a process for seconds.
 */
export const MAX_JSON_VALUES = 100_000;
/** No request nests deeper; a JSON Schema that does is not for a model to fill in. */
export const MAX_JSON_DEPTH = 100;

/** Bounds that not all JSON has alike. */
export interface JsonBounds {
  /** Levels of nesting, where something is wrapped around the request. */
  readonly depth?: number;
  /** Different names of members, and bytes of each. A new one costs the parser as much as some fifty numbers. */
  readonly names?: { readonly count: number; readonly bytes: number };
  /** Length in bytes, escapes as they are written, of the strings that are not nested deeper than `level`. */
  readonly text?: { readonly level: number; readonly bytes: number };
}

/** The bound that JSON goes beyond, and the end of a sentence that says so. */
export interface Excess {
  readonly bound: 'values' | keyof JsonBounds;
  readonly sentence: string;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;

const TOO_MANY: Excess = { bound: 'values', sentence: `has more than ${MAX_JSON_VALUES} values` };

/**
 * What is too much about JSON, by its bytes alone: the parser itself takes seconds over megabytes of `[`. Done as soon as
 * it is certain. What is not JSON may pass; the parser refuses it.
 */
export function findExcess(json: Uint8Array, bounds: JsonBounds = {}): Excess | undefined {
  const { depth = MAX_JSON_DEPTH, names, text } = bounds;
  const seen = new Set<number>();
  let level = 0;
  let values = 0;
  let start = 0;
  let end = 0;
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case QUOTE:
        start = at + 1;
        end = endOfString(json, start);
        at = end;
        if (text && level <= text.level && end - start > text.bytes) {
          return { bound: 'text', sentence: `has a text longer than ${text.bytes} bytes` };
        }
        break;
      // The string before it was the name of a member.
      case COLON:
        if (!names) break;
        if (end - start > names.bytes) {
          return { bound: 'names', sentence: `has a name longer than ${names.bytes} bytes` };
        }
        seen.add(hashOf(json, start, end));
        if (seen.size > names.count) {
          return { bound: 'names', sentence: `has more than ${names.count} different names` };
        }
        break;
      case COMMA:
        if (++values > MAX_JSON_VALUES) return TOO_MANY;
        break;
      // A container's members are one more than its commas: the opening counts for the first.
      case 0x5b: // [
      case 0x7b: // {
        if (++level > depth) return { bound: 'depth', sentence: `is nested deeper than ${depth} levels` };
        if (++values > MAX_JSON_VALUES) return TOO_MANY;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        level--;
        break;
    }
  }
  return undefined;
}

/** @param start the first byte of a string. @returns where its closing quote is, or the end of the bytes. */
function endOfString(json: Uint8Array, start: number): number {
  for (let from = start; ; ) {
    const quote = json.indexOf(QUOTE, from);
    if (quote < 0) return json.length;
    let escapes = 0;
    while (json[quote - 1 - escapes] === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return quote;
    from = quote + 1;
  }
}

/** Not to be guessed, so that nobody can find names that all look alike. */
const BASIS = randomInt(2 ** 32);

/** FNV-1a. Names are told apart by it, since keeping them all would cost more than parsing them. */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = BASIS;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash;
}
