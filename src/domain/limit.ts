/** A key's limits. An absent one does not limit. */
export interface Limits {
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly concurrentRequests?: number;
}

/** Whether nothing has to be asked, held or counted for a key. */
export function isUnlimited({ requestsPerMinute, tokensPerMinute, concurrentRequests }: Limits): boolean {
  return requestsPerMinute === undefined && tokensPerMinute === undefined && concurrentRequests === undefined;
}

/** Whether they limit alike: a key that was looked up twice has them twice. */
export function sameLimits(a: Limits, b: Limits): boolean {
  return (
    a === b ||
    (a.requestsPerMinute === b.requestsPerMinute &&
      a.tokensPerMinute === b.tokensPerMinute &&
      a.concurrentRequests === b.concurrentRequests)
  );
}

export type LimitName = 'requests' | 'tokens' | 'concurrency';

/** One limit as it stands. Buckets refill continuously, so `resetMs` is the time until it is full again. */
export interface LimitState {
  readonly limit: number;
  /** Never below 0, also where a settled request left a debt. */
  readonly remaining: number;
  readonly resetMs: number;
}

/** Every limit of a key as it stands; absent where the key has none. */
export interface LimitsState {
  /** `degraded`: counted by this replica alone, against its share, because the shared store is away. */
  readonly mode: 'exact' | 'degraded';
  readonly requests?: LimitState;
  readonly tokens?: LimitState;
  readonly concurrency?: LimitState;
}

/** What a request asks of the limits. */
export interface Claim {
  /** The request's own id: asking twice with one id takes once. */
  readonly id: string;
  readonly keyId: string;
  readonly limits: Limits;
  /** Tokens to hold until the real number is known. */
  readonly tokens: number;
}

export type Decision =
  | { readonly admitted: true; readonly state: LimitsState }
  | {
      readonly admitted: false;
      readonly state: LimitsState;
      readonly refusedBy: LimitName;
      /** When the same claim could pass; `undefined` where it never can, being larger than the whole limit. */
      readonly retryAfterMs: number | undefined;
    };
