/**
 * What one body of JSON may hold. Checking a value against a schema costs hundreds of times what parsing it did, and a
 * wrong one costs memory as well: a few megabytes of `[1,1,…` would stop a process for seconds.
 */
export const MAX_JSON_VALUES = 100_000;
/** No request nests deeper; a JSON Schema that does is not for a model to fill in. */
export const MAX_JSON_DEPTH = 100;

const TOO_MANY = `has more than ${MAX_JSON_VALUES} values`;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;

/**
 * What is too much about JSON, as the end of a sentence, by its bytes alone: the parser itself takes seconds over
 * megabytes of `[`. Done as soon as it is certain. What is not JSON may pass; the parser refuses it.
 * @param depth levels allowed, for JSON that carries a request within.
 */
export function findExcess(json: Uint8Array, depth = MAX_JSON_DEPTH): string | undefined {
  let level = 0;
  let values = 0;
  for (let at = 0; at < json.length; at++) {
    switch (json[at]) {
      case QUOTE:
        at = endOfString(json, at);
        break;
      case COMMA:
        if (++values > MAX_JSON_VALUES) return TOO_MANY;
        break;
      // A container's members are one more than its commas: the opening counts for the first.
      case 0x5b: // [
      case 0x7b: // {
        if (++level > depth) return `is nested deeper than ${depth} levels`;
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

/** @param start where the string's opening quote is. @returns where its closing one is, or the end of the bytes. */
function endOfString(json: Uint8Array, start: number): number {
  for (let from = start + 1; ; ) {
    const quote = json.indexOf(QUOTE, from);
    if (quote < 0) return json.length;
    let escapes = 0;
    while (json[quote - 1 - escapes] === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return quote;
    from = quote + 1;
  }
}
