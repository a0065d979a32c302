/** Whether parsed JSON nests deeper than `limit` levels. Iterative, because it stands before everything that recurses. */
export function isDeeperThan(root: object, limit: number): boolean {
  let level: object[] = [root];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > limit) return true;
    const below: object[] = [];
    for (const node of level) {
      for (const value of Object.values(node)) {
        if (typeof value === 'object' && value !== null) below.push(value);
      }
    }
    level = below;
  }
  return false;
}
