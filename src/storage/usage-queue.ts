import type { Clock, LogFields, Telemetry, UsageSink } from '../core/ports.ts';
import { type GatewayError, toGatewayError } from '../domain/error.ts';
import { createBatches } from './batches.ts';
import type { EntryLedger } from './ledger.ts';
import { pause, within } from './pause.ts';
import { encodeEntry, idOf, type UsageEntry } from './usage-entry.ts';

/** What the queue holds at most, what it hands on being under way included. */
export const QUEUE_CAPACITY = 10_000;
const FLUSH_WITHIN_MS = 5000;
const FLUSH_AGAIN_MS = 200;

export interface UsageQueue extends UsageSink {
  /** Records in the memory of this process, those under way included. */
  waiting(): number;
  /** What still waits is lost, and counted as such. */
  close(): void;
}

interface UsageQueueOptions {
  /** See `createBatches`. */
  readonly store: (entries: readonly UsageEntry[]) => Promise<void>;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly capacity?: number;
}

/** As `UsageQueue`, also for records that are encoded already. */
export interface EntryQueue extends UsageQueue {
  add(entry: UsageEntry): void;
}

/** Usage records that are nowhere but in the memory of this process. */
export function createUsageQueue(options: UsageQueueOptions): EntryQueue {
  const { store, telemetry, clock, capacity = QUEUE_CAPACITY } = options;
  const overflow = createOverflow(telemetry, capacity);
  const closed = new AbortController();
  const batches = createBatches<UsageEntry>({
    async store(entries) {
      await store(entries);
      overflow.end();
    },
    clock,
    capacity,
  });
  const storeAll = async () => {
    while (!closed.signal.aborted && !(await batches.storeAll())) {
      await pause(clock, FLUSH_AGAIN_MS, closed.signal);
    }
  };
  const add = (entry: UsageEntry) => {
    if (!batches.add(entry)) overflow.lose();
  };
  return {
    add,
    record: (record) => add(encodeEntry(record)),
    waiting: () => batches.waiting(),
    async flush() {
      await within(clock, FLUSH_WITHIN_MS, storeAll());
    },
    close() {
      closed.abort();
      const lost = batches.close();
      if (lost > 0) overflow.abandon(lost);
    },
  };
}

/** Counts every record that is lost and speaks of a burst of them once. */
function createOverflow(telemetry: Telemetry, capacity: number) {
  let overflowing = false;
  return {
    lose() {
      telemetry.recordsLost(1);
      if (overflowing) return;
      overflowing = true;
      const message = 'usage records are being lost: no store takes them and the queue is full';
      telemetry.log('error', message, { capacity });
    },
    end() {
      overflowing = false;
    },
    abandon(count: number) {
      telemetry.recordsLost(count);
      telemetry.log('error', 'usage records are lost: no store took them before the end', { count });
    },
  };
}

/**
 * Keeps entries in the ledger. Where it refuses them together, those that are no records are dropped, as nothing will
 * ever make them records. A record that it refuses while it takes others is singled out by halving and dropped, so that
 * it cannot stop them. Where it refuses everything, the fault is more likely its own, and nothing is dropped.
 * @throws GatewayError none of the records may be considered kept.
 */
export async function keep(
  ledger: EntryLedger,
  telemetry: Telemetry,
  entries: readonly UsageEntry[],
): Promise<void> {
  if (entries.length === 0 || !(await refusalOf(ledger, entries))) return;
  const records = entries.filter((entry) => idOf(entry) !== undefined);
  const refusals = await offer(ledger, records);
  const [first] = refusals;
  if (first && refusals.length === records.length && first.error.code !== 'invalid_request')
    throw first.error;
  const drop = (count: number, why: string, fields: LogFields) => {
    if (count === 0) return;
    telemetry.recordsLost(count);
    telemetry.log('error', why, { count, ...fields });
  };
  drop(
    entries.length - records.length,
    'entries of the usage stream are no usage records and were dropped',
    {},
  );
  drop(refusals.length, 'the ledger refuses usage records, which are dropped', {
    firstId: first && idOf(first.entry),
    code: first?.error.code,
  });
}

interface LedgerRefusal {
  readonly entry: UsageEntry;
  readonly error: GatewayError;
}

async function offer(ledger: EntryLedger, entries: readonly UsageEntry[]): Promise<readonly LedgerRefusal[]> {
  const [entry] = entries;
  if (entry === undefined) return [];
  const error = await refusalOf(ledger, entries);
  if (!error) return [];
  if (entries.length === 1) return [{ entry, error }];
  const middle = Math.ceil(entries.length / 2);
  const first = await offer(ledger, entries.slice(0, middle));
  return [...first, ...(await offer(ledger, entries.slice(middle)))];
}

/**
 * @returns what the ledger has against these entries together, if anything.
 * @throws GatewayError `storage_unavailable`
 */
async function refusalOf(
  ledger: EntryLedger,
  entries: readonly UsageEntry[],
): Promise<GatewayError | undefined> {
  try {
    await ledger.appendEntries(entries);
    return undefined;
  } catch (thrown) {
    const error = toGatewayError(thrown);
    if (error.code === 'storage_unavailable') throw error;
    return error;
  }
}
