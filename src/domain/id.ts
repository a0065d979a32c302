/** Random ids, given a source of random bytes. Ids are opaque; the prefix says what they name. */
const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_';

/** 24 characters of 6 random bits each. */
export function createId(prefix: string, randomBytes: (count: number) => Uint8Array): string {
  let id = prefix;
  for (const byte of randomBytes(24)) id += ALPHABET[byte & 63];
  return id;
}
