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

/** Not to be guessed, so that nobody can find names that all look alike. */
const BASIS = randomInt(2 ** 32);

/** What is too much about JSON, by its bytes alone; see `JsonScan`. */
export function findExcess(json: Uint8Array, bounds?: JsonBounds): Excess | undefined {
  return new JsonScan(bounds).add(json);
}

/**
 * Looks for what is too much about JSON while it comes in, by its bytes alone: the parser itself takes seconds over
 * megabytes of `[`. What is not JSON may pass; the parser refuses it.
 */
export class JsonScan {
  readonly #bounds: JsonBounds;
  readonly #names = new Set<number>();
  #level = 0;
  #values = 0;
  /** Whether the bytes so far end within a string, and there with a backslash that escapes what comes next. */
  #inString = false;
  #escaping = false;
  /** What former bytes held of the latest string. */
  #length = 0;
  #hash = BASIS;

  constructor(bounds: JsonBounds = {}) {
    this.#bounds = bounds;
  }

  /** @returns what is too much, as soon as it is certain. Nothing needs to be added after that. */
  add(json: Uint8Array): Excess | undefined {
    const { depth = MAX_JSON_DEPTH } = this.#bounds;
    // The part of the latest string that these bytes hold.
    let start = 0;
    let end = 0;
    let at = 0;
    let excess: Excess | undefined;
    if (this.#inString) {
      end = this.#endOfString(json, start);
      at = end + 1;
      excess = this.#excessOfText(end);
    }
    for (; at < json.length && !excess; at++) {
      switch (json[at]) {
        case QUOTE:
          this.#length = 0;
          this.#hash = BASIS;
          start = at + 1;
          end = this.#endOfString(json, start);
          at = end;
          excess = this.#excessOfText(end - start);
          break;
        // The string before it was the name of a member.
        case COLON:
          excess = this.#excessOfNames(json, start, end);
          break;
        case COMMA:
          if (++this.#values > MAX_JSON_VALUES) excess = TOO_MANY;
          break;
        // A container's members are one more than its commas: the opening counts for the first.
        case 0x5b: // [
        case 0x7b: // {
          if (++this.#level > depth)
            excess = { bound: 'depth', sentence: `is nested deeper than ${depth} levels` };
          else if (++this.#values > MAX_JSON_VALUES) excess = TOO_MANY;
          break;
        case 0x5d: // ]
        case 0x7d: // }
          this.#level--;
          break;
      }
    }
    this.#hash = this.#hashOf(json, start, end);
    this.#length += end - start;
    return excess;
  }

  /** @param length of what these bytes hold of the latest string. */
  #excessOfText(length: number): Excess | undefined {
    const { text } = this.#bounds;
    if (!text || this.#level > text.level || this.#length + length <= text.bytes) return undefined;
    return { bound: 'text', sentence: `has a text longer than ${text.bytes} bytes` };
  }

  #excessOfNames(json: Uint8Array, start: number, end: number): Excess | undefined {
    const { names } = this.#bounds;
    if (!names) return undefined;
    if (this.#length + end - start > names.bytes) {
      return { bound: 'names', sentence: `has a name longer than ${names.bytes} bytes` };
    }
    this.#names.add(this.#hashOf(json, start, end));
    if (this.#names.size <= names.count) return undefined;
    return { bound: 'names', sentence: `has more than ${names.count} different names` };
  }

  /** FNV-1a. Names are told apart by it, since keeping them all would cost more than parsing them. */
  #hashOf(json: Uint8Array, start: number, end: number): number {
    const { names } = this.#bounds;
    let hash = this.#hash;
    // What is too long for a name is refused as one before its hash is asked for.
    const until = Math.min(end, start + (names?.bytes ?? 0));
    for (let at = start; at < until; at++) hash = Math.imul(hash ^ (json[at] ?? 0), 0x01000193);
    return hash;
  }

  /** @returns where the closing quote of a string is, or the end of the bytes where it goes on. */
  #endOfString(json: Uint8Array, start: number): number {
    for (let from = start; ; ) {
      const quote = json.indexOf(QUOTE, from);
      const end = quote < 0 ? json.length : quote;
      let escapes = 0;
      while (end - escapes > start && json[end - escapes - 1] === BACKSLASH) escapes++;
      if (end - escapes === start && this.#escaping) escapes++;
      const isEscaped = escapes % 2 === 1;
      if (quote < 0 || !isEscaped) {
        this.#inString = quote < 0;
        this.#escaping = this.#inString && isEscaped;
        return end;
      }
      from = quote + 1;
    }
  }
}
