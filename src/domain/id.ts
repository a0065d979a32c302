type RandomBytes = (count: number) => Uint8Array;

/** The same, but asked for many at a time: a call of the system's source costs more than what it brings. */
export function pooled(randomBytes: RandomBytes, size = 4096): RandomBytes {
  let pool: Uint8Array = new Uint8Array();
  let taken = 0;
  return (count) => {
    if (taken + count > pool.length) {
      pool = randomBytes(Math.max(size, count));
      taken = 0;
    }
    taken += count;
    return pool.subarray(taken - count, taken);
  };
}

/**
 * A random id: 24 letters, digits, `-` and `_` of 6 bits each. It is opaque; the prefix says what it names.
 * @param randomBytes their source.
 */
export function createId(prefix: string, randomBytes: RandomBytes): string {
  const { buffer, byteOffset, byteLength } = randomBytes(18);
  return prefix + Buffer.from(buffer, byteOffset, byteLength).toString('base64url');
}
