/** The whole outside world of the core, on one page. */
import type { ChatRequest, EmbeddingRequest } from '../domain/chat.ts';
import type { ErrorCode, GatewayError } from '../domain/error.ts';
import type { ChatStream, EmbeddingStream } from '../domain/event.ts';
import type { Claim, Decision, Limits, LimitsState } from '../domain/limit.ts';
import type { Backend } from '../domain/model.ts';
import type { ApiKey } from '../domain/principal.ts';
import type { UsageRecord } from '../domain/record.ts';
import type { Abortable } from './signal.ts';

/** The fleet of model servers. Which backend gets a request is the core's decision, not the provider's. */
export interface ChatProvider {
  /** Every configured backend as last seen. Synchronous and cheap: it is read on each request. */
  backends(): readonly Backend[];
  /**
   * Looks again now. Called when a model is asked for that nobody is known to have; calls within a second share one
   * look. Never rejects.
   */
  refresh(): Promise<void>;
  /**
   * One answer of one backend to a request (`choices` is not its business). Nothing is sent before the first `next()`.
   * Events follow the grammar in `domain/event.ts` from `started` on, with `choice` 0.
   * @param signal ends the exchange at once and closes the connection, which is what frees the backend's slot.
   * @param onRead is told of each read of the answer, as a sign of life, before the events that come of it and also where
   * none do. `withheld` counts the pieces of output in it that no event shows: what is to become a tool call is held back
   * until it is whole.
   * @throws GatewayError from the iterator. A stream that ends without `finished` is never a normal end.
   */
  chat(
    backendId: string,
    request: ChatRequest,
    signal: Abortable,
    onRead?: (withheld: number) => void,
  ): ChatStream;
  /** As `chat`, for embeddings. */
  embed(backendId: string, request: EmbeddingRequest, signal: Abortable): EmbeddingStream;
  close(): Promise<void>;
}

/** API keys at rest. Every method rejects with GatewayError `storage_unavailable` while the database is away. */
export interface KeyStore {
  /**
   * The key that a secret belongs to, whether still valid or not: judging that is the core's. Where the secret itself
   * ends earlier than the key (it was rotated away), `expiresAt` is the secret's.
   * @param digest SHA-256 of the secret, in lower-case hex.
   */
  findByDigest(digest: string): Promise<ApiKey | undefined>;
  get(keyId: string): Promise<ApiKey | undefined>;
  /** Newest first. `after` is the id of the last key of the page before. */
  list(page: KeyFilter & { readonly limit: number; readonly after?: string }): Promise<readonly ApiKey[]>;
  /** @returns false, and changes nothing, where a key has this secret already. */
  create(key: ApiKey, digest: string): Promise<boolean>;
  /** @returns the key as it is now, or undefined where there is none. */
  update(keyId: string, change: KeyChange): Promise<ApiKey | undefined>;
  /** Adds a secret; the earlier ones end at `graceUntil`, or earlier where they already would. */
  rotate(
    keyId: string,
    secret: { readonly digest: string; readonly prefix: string },
    graceUntil: Date,
  ): Promise<ApiKey | undefined>;
  /** Idempotent: the first time counts. */
  revoke(keyId: string, at: Date): Promise<ApiKey | undefined>;
  /** Notes when keys were last used. May lag; never moves backwards. */
  touch(lastUsed: ReadonlyMap<string, Date>): Promise<void>;
}

/** Which keys to list: those that fit everything given. */
export interface KeyFilter {
  /** A part of the name, whatever its case. */
  readonly name?: string;
  readonly revoked?: boolean;
}

/** What can change about a key. Absent: stays. Null: is taken away. */
export interface KeyChange {
  readonly name?: string;
  readonly scopes?: ApiKey['scopes'];
  readonly models?: readonly string[];
  readonly limits?: { readonly [K in keyof Limits]: Limits[K] | null };
  readonly expiresAt?: Date | null;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The ledger at rest: one row per request. */
export interface Ledger {
  /**
   * Keeps records in one write. A record whose id is there already is left as it is.
   * @throws GatewayError `storage_unavailable`: none of the records may be considered kept.
   */
  append(records: readonly UsageRecord[]): Promise<void>;
}

/** Questions to the ledger. Every method rejects with GatewayError `storage_unavailable` while the database is away. */
export interface LedgerReader {
  /**
   * Sums per interval and group, oldest first; intervals without a request are absent. As this takes its time, few are
   * made at once, and keys take turns.
   * @throws GatewayError also `storage_unavailable` where too many of one key wait; the signal's reason.
   */
  buckets(query: UsageQuery, asker: Asker): Promise<readonly UsageBucket[]>;
  /** Newest first. Ties in time are ordered by id, so that pages neither overlap nor skip. */
  records(query: RecordQuery): Promise<readonly UsageRecord[]>;
  record(id: string): Promise<UsageRecord | undefined>;
}

/** Who wants to know. */
export interface Asker {
  readonly keyId: string;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: Abortable;
}

/** Which records to look at. `keyIds` undefined: every key's. */
export interface RecordFilter {
  readonly keyIds?: readonly string[];
  readonly model?: string;
  readonly status?: UsageRecord['status'];
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly to?: Date;
}

export interface RecordQuery extends RecordFilter {
  readonly limit: number;
  /** Where the page before ended. */
  readonly after?: { readonly startedAt: Date; readonly id: string };
}

export interface UsageQuery extends RecordFilter {
  readonly from: Date;
  readonly to: Date;
  readonly interval: 'hour' | 'day';
  readonly groupBy: readonly ('key' | 'model')[];
}

/** What happened in one interval, in UTC, to one group. */
export interface UsageBucket {
  readonly start: Date;
  /** Present where grouped by it. */
  readonly keyId?: string;
  readonly model?: string;
  readonly requests: number;
  readonly errors: number;
  readonly cancelled: number;
  /** Sums of the known counts. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Percentiles over the requests that have the figure, in milliseconds; absent where none has. */
  readonly totalMs?: Percentiles;
  readonly firstTokenMs?: Percentiles;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** The way from a finished request to the ledger. It outlives outages of whatever lies behind it, within bounds. */
export interface UsageSink {
  /** Returns at once and never throws: the request is over, and nobody is left to tell. */
  record(record: UsageRecord): void;
  /**
   * What an answer waits for before its end, so that nobody who has it sees this process die without a record of it.
   * Absent where records stay in this process until they are in the ledger.
   * @returns what resolves when the records so far have left, which they do within the turn of the event loop; undefined
   * where they have, or cannot. Never rejects.
   */
  departure?(): Promise<void> | undefined;
  /** Resolves when everything recorded so far is where a crash of this process cannot lose it, or cannot get there. */
  flush(): Promise<void>;
}

/** Requests per minute, tokens per minute and concurrent requests, decided together. Never rejects: see `mode`. */
export interface Limiter {
  /**
   * Takes a request, its tokens and a concurrency lease from all of a key's limits, or from none.
   * Idempotent by the claim's id.
   */
  claim(claim: Claim): Promise<Decision>;
  /** Keeps the leases of running requests alive. Called every `LEASE_RENEW_MS`; an unrenewed lease lasts `LEASE_TTL_MS`. */
  renew(claims: readonly Claim[]): Promise<unknown>;
  /**
   * Ends a claim: gives the lease back and corrects the held tokens to the real number, which may leave a debt.
   * Only the first settlement of an id counts.
   */
  settle(claim: Claim, tokens: number): Promise<unknown>;
  /** The limits as they stand, taking nothing. */
  peek(keyId: string, limits: Limits): Promise<LimitsState>;
}

export const LEASE_TTL_MS = 30_000;
export const LEASE_RENEW_MS = 10_000;

/** Short messages to every replica, this one included. At most once: `lost` says that some may have been missed. */
export interface Signals {
  publish(signal: Signal): void;
  /** @returns the function that ends the subscription. */
  subscribe(listener: (signal: Signal | { readonly type: 'lost' }) => void): () => void;
}

export type Signal = { readonly type: 'keyChanged'; readonly keyId: string };

/** What operators see. Never content, never a secret. Nothing here throws or waits. */
export interface Telemetry {
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: LogFields): void;
  /** A request entered the core. */
  requestStarted(request: Pick<UsageRecord, 'protocol' | 'operation'>): void;
  /** Its one log line and its counters. */
  requestEnded(record: UsageRecord, error: GatewayError | undefined): void;
  /** A request whose key could not be looked up: it has not entered the core, and failed all the same. */
  keyLookupFailed(code: ErrorCode): void;
  firstToken(model: string, elapsedMs: number): void;
  /** The time between two batches of one stream. */
  tokenGap(model: string, elapsedMs: number): void;
  limitHit(limit: 'requests' | 'tokens' | 'concurrency'): void;
  /** Records that no store took and the bounded queue had no room for. */
  recordsLost(count: number): void;
}

/** Fields of a log line. Only these types, so that no object with more than meant to be shown slips in. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Time, as a value, so that tests can hold it. */
export interface Clock {
  /** Milliseconds since 1970, never going back. */
  now(): number;
  /** Runs `act` once, `ms` from now. @returns the function that prevents it. */
  after(ms: number, act: () => void): () => void;
}

/** How many usage records are on their way to the ledger, for metrics. */
export interface UsageBacklog {
  /** The memory of this process, where its end loses them, or Redis, where all replicas see the same ones. */
  readonly place: 'memory' | 'redis';
  readonly records: number;
}

/** One dependency, as `/ready` shows it. */
export interface DependencyState {
  readonly name: 'database' | 'redis' | 'upstream';
  /** `embedded` and `simulator` work, but are not what production runs on. */
  readonly state: 'up' | 'down' | 'embedded' | 'simulator';
  /** For operators, without addresses. */
  readonly detail?: string;
}
