type RandomBytes = (count: number) => Uint8Array;

/** Letters, digits, `-` and `_`, of 6 bits each. */
const LENGTH = 24;
const BYTES = (LENGTH * 6) / 8;
/** Few, as each id may keep those that were drawn with it. */
const DRAWN_AT_ONCE = 16;

/**
 * A random id of 144 bits. It is opaque; the prefix says what it names.
 * @param randomBytes their source.
 */
export function createId(prefix: string, randomBytes: RandomBytes): string {
  return prefix + encode(randomBytes(BYTES));
}

/** As `createId`, for what is asked for with every request: a call of the source costs more than what it brings. */
export function createIds(prefix: string, randomBytes: RandomBytes): () => string {
  let drawn = '';
  let at = 0;
  return () => {
    if (at === drawn.length) {
      drawn = encode(randomBytes(BYTES * DRAWN_AT_ONCE));
      at = 0;
    }
    at += LENGTH;
    return prefix + drawn.slice(at - LENGTH, at);
  };
}

function encode({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64url');
}
