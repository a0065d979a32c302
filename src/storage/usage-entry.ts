import type { UsageRecord } from '../domain/record.ts';
import { encodeRow, REQUIRED } from './usage-row.ts';

/**
 * A usage record on its way to the ledger: its row, as the JSON that the ledger's `insert` reads. It is encoded once;
 * whoever moves it hands the text on as it is.
 */
export type UsageEntry = string;

export function encodeEntry(record: UsageRecord): UsageEntry {
  return JSON.stringify(encodeRow(record));
}

/** @returns undefined where the entry is no row, whatever its values: a newer replica may have ones unknown here. */
export function idOf(entry: UsageEntry): string | undefined {
  let row: unknown;
  try {
    row = JSON.parse(entry);
  } catch {
    return undefined;
  }
  if (typeof row !== 'object' || row === null) return undefined;
  const values = row as Readonly<Record<string, unknown>>;
  const isComplete = REQUIRED.every(([column, isValid]) => isValid(values[column]));
  return isComplete ? String(values['id']) : undefined;
}
