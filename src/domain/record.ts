import type { ErrorCode } from './error.ts';
import type { FinishReason } from './event.ts';
import type { Timings, Usage } from './usage.ts';

/** What the ledger keeps of one request, whatever its end. Never content. */
export interface UsageRecord {
  /** Unique: a record that is written twice is kept once. */
  readonly id: string;
  /** The id shown to the caller in `x-request-id`; the caller may have chosen it, so it is not unique. */
  readonly requestId: string;
  readonly keyId: string;
  readonly protocol: Protocol;
  readonly operation: 'chat' | 'completion' | 'embedding';
  readonly model: string;
  readonly backend?: string | undefined;
  readonly status: 'ok' | 'error' | 'cancelled';
  readonly errorCode?: ErrorCode | undefined;
  readonly finishReason?: FinishReason['unified'] | undefined;
  readonly streamed: boolean;
  readonly usage: Usage;
  readonly timings: Timings;
  readonly startedAt: Date;
}

export type Protocol = 'rest' | 'graphql';
