/** Durations by the millisecond, however many: a minute's worth of buckets, of which the last takes all that is longer. */
export interface Histogram {
  add(elapsedMs: number): void;
  readonly count: number;
  /** @param share from 0 to 1. @returns whole milliseconds; undefined where there is nothing. */
  percentile(share: number): number | undefined;
}

const BUCKETS = 60_000;

export function createHistogram(): Histogram {
  const buckets = new Uint32Array(BUCKETS + 1);
  let count = 0;
  return {
    add(elapsedMs) {
      const bucket = Math.min(Math.round(elapsedMs), BUCKETS);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
      count++;
    },
    get count() {
      return count;
    },
    percentile(share) {
      let below = 0;
      const index = buckets.findIndex((inBucket) => {
        below += inBucket;
        return below > 0 && below >= share * count;
      });
      return index < 0 ? undefined : index;
    },
  };
}
