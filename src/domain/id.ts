/** Random ids, given a source of random bytes. Ids are opaque; the prefix says what they name. */
const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_';

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

/** 24 characters of 6 random bits each. */
export function createId(prefix: string, randomBytes: RandomBytes): string {
  let id = prefix;
  for (const byte of randomBytes(24)) id += ALPHABET[byte & 63];
  return id;
}
