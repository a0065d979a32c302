/** What tests of limits, signals and the usage stream look through: a ledger in memory and a log that can be awaited. */
import { randomUUID } from 'node:crypto';
import type { Telemetry } from '../../src/core/ports.ts';
import { GatewayError } from '../../src/domain/error.ts';
import type { UsageRecord } from '../../src/domain/record.ts';
import type { EntryLedger } from '../../src/storage/ledger.ts';
import { encodeEntry, idOf } from '../../src/storage/usage-entry.ts';
import { SILENT } from './pipeline.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
}

export interface TestTelemetry extends Telemetry {
  readonly lines: readonly LogLine[];
  lost(): number;
  /** Resolves with the next line that says so, from now on. */
  next(text: string): Promise<LogLine>;
}

export function createTestTelemetry(): TestTelemetry {
  const lines: LogLine[] = [];
  const waiting = new Set<{ readonly text: string; readonly resolve: (line: LogLine) => void }>();
  let lost = 0;
  return {
    ...SILENT,
    lines,
    lost: () => lost,
    log(level, message) {
      const line = { level, message };
      lines.push(line);
      for (const waiter of waiting) {
        if (!message.includes(waiter.text)) continue;
        waiting.delete(waiter);
        waiter.resolve(line);
      }
    },
    recordsLost(count) {
      lost += count;
    },
    next: (text) => new Promise((resolve) => waiting.add({ text, resolve })),
  };
}

export interface TestLedger extends EntryLedger {
  /** Ids in the order in which they were first kept. */
  readonly ids: ReadonlySet<string>;
  /** How many records each write brought. */
  readonly writes: readonly number[];
  /** While true every write fails as it does without a database. */
  away: boolean;
  /** Ids that it refuses for good, as malformed. */
  readonly refused: Set<string>;
  /** Resolves when it has all of these. */
  has(ids: readonly string[]): Promise<void>;
}

export function createTestLedger(): TestLedger {
  const ids = new Set<string>();
  const writes: number[] = [];
  const waiting = new Set<() => void>();
  const ledger: TestLedger = {
    ids,
    writes,
    away: false,
    refused: new Set(),
    append: (records) => ledger.appendEntries(records.map(encodeEntry)),
    async appendEntries(entries) {
      if (ledger.away) throw new GatewayError('storage_unavailable', 'The database is away.');
      const brought = entries.map(idOf).filter((id) => id !== undefined);
      if (brought.length < entries.length || brought.some((id) => ledger.refused.has(id))) {
        throw new GatewayError('internal', 'No.');
      }
      writes.push(brought.length);
      for (const id of brought) ids.add(id);
      for (const look of waiting) look();
    },
    has: (wanted) =>
      new Promise((resolve) => {
        const look = () => {
          if (!wanted.every((id) => ids.has(id))) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
  return ledger;
}

export function usageRecord(id: string = randomUUID()): UsageRecord {
  return {
    id,
    requestId: `request-${id}`,
    keyId: 'key',
    protocol: 'rest',
    operation: 'chat',
    model: 'llama3.1:8b',
    backend: 'ollama-1',
    status: 'ok',
    finishReason: 'stop',
    streamed: true,
    usage: { promptTokens: 12, completionTokens: 34 },
    timings: { totalMs: 56.7, firstTokenMs: 8.9 },
    startedAt: new Date('2026-01-02T03:04:05.678Z'),
  };
}
