/**
 * What one body of JSON may hold. Checking a value against a schema costs hundreds of times what parsing it did, and a
 * wrong one costs memory as well: a few megabytes of `[1,1,…` would stop a process for seconds.
 */
export const MAX_JSON_VALUES = 100_000;

/**
 * Whether parsed JSON nests deeper than `depth` levels, or holds more than `MAX_JSON_VALUES` values. Iterative, because
 * it stands before everything that recurses, and done as soon as either is certain.
 */
export function findExcess(root: object, depth: number): 'depth' | 'values' | undefined {
  let level: object[] = [root];
  let values = 0;
  for (let reached = 1; level.length > 0; reached++) {
    if (reached > depth) return 'depth';
    const below: object[] = [];
    for (const node of level) {
      const members: readonly unknown[] = Array.isArray(node) ? node : Object.values(node);
      values += members.length;
      if (values > MAX_JSON_VALUES) return 'values';
      for (const value of members) {
        if (typeof value === 'object' && value !== null) below.push(value);
      }
    }
    level = below;
  }
  return undefined;
}
