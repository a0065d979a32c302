import { pause, within } from './pause.ts';
import { moveOn, type StoredEntry, type StreamOptions } from './usage-stream.ts';

/** So long after it was put there, an entry is taken for one that was left behind. */
const LEFT_BEHIND_MS = 5000;
/** What is decoded, written and taken out at once, and keeps everything else waiting: a millisecond or two. */
const BATCH = 100;
const CLOSE_WITHIN_MS = 3000;

export interface UsageSweep {
  /** Finishes the batch in hand. */
  close(): Promise<void>;
}

interface UsageSweepOptions extends StreamOptions {
  /** Also the time between two sweeps. */
  readonly leftBehindMs?: number;
}

/**
 * Moves on, now and then, what others have left in the usage stream: replicas that have ended, or have found the database
 * away for long. Every replica does, which needs no agreement: the ledger ignores what it gets twice.
 */
export function startUsageSweep(options: UsageSweepOptions): UsageSweep {
  const { redis, stream, shard, telemetry, clock, leftBehindMs = LEFT_BEHIND_MS } = options;
  const stop = new AbortController();
  let complained = false;
  /** Where to go on, so that entries that the ledger refuses are not all that is ever tried. */
  let from = '-';

  const read = async (until: number): Promise<readonly StoredEntry[]> => {
    const entries = await shard().ask(() => redis.xrange(stream, from, until, 'COUNT', BATCH));
    // In place of an entry that has no text at all, one that the ledger refuses.
    return entries.map(([id, fields]) => ({ id, entry: fields[1] || 'null' }));
  };
  const sweep = async (): Promise<void> => {
    // The server's time, as ids are made of it.
    const [seconds] = await shard().ask(() => redis.time());
    const until = Number(seconds) * 1000 - leftBehindMs;
    while (!stop.signal.aborted) {
      const batch = await read(until);
      const last = batch.at(-1);
      if (last) {
        from = `(${last.id}`;
        await moveOn(options, batch);
      }
      if (batch.length < BATCH) {
        from = '-';
        return;
      }
    }
  };
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      try {
        await sweep();
        complained = false;
      } catch (error) {
        // What Redis refuses here alone, such as for want of a permission, nobody else notices.
        if (isReply(error) && !REFUSES_EVERYBODY.test(error.message) && !complained) {
          complained = true;
          telemetry.log('error', 'usage records stay in Redis, which refuses to hand them over', {
            reason: error.message,
          });
        }
      }
      await pause(clock, leftBehindMs, stop.signal);
    }
  };

  const running = run();
  return {
    async close() {
      stop.abort();
      await within(clock, CLOSE_WITHIN_MS, running);
    },
  };
}

/** What counts as Redis being away, which is reported elsewhere. */
const REFUSES_EVERYBODY = /^(CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN) /;

/** Whether it is what Redis answered, and not the want of an answer. */
function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}
