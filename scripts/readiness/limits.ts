import { query } from './answers.ts';
import { type Client, NoAnswer } from './client.ts';
import { valueAt } from './json.ts';

export const LIMITS = ['concurrency', 'tokens', 'requests'] as const;
export type Limit = (typeof LIMITS)[number];

/** A key's limits as one replica sees them. */
export interface Look {
  readonly isDegraded: boolean;
  /** When it was answered, by `performance.now()`. */
  readonly at: number;
  /** Those that the key has. */
  readonly bounds: ReadonlyMap<Limit, number>;
  /** What is out of each: the milliseconds until it has all come back, or how many requests are running. */
  readonly out: Readonly<Record<Limit, number>>;
}

const DOCUMENT = `{ viewer { limits {
  mode concurrency { limit remaining } tokens { limit resetMs } requests { limit resetMs }
} } }`;

/** Asks for the limits; which replica answers is for the load balancer to say. Takes nothing. @throws NoAnswer */
export async function lookAtLimits(client: Client): Promise<Look> {
  const { answer, data, errorCode } = await query(client, DOCUMENT);
  const limits = valueAt(data, 'viewer', 'limits');
  if (limits === undefined) throw new NoAnswer(`the limits cannot be seen: ${errorCode ?? answer.status}`);
  const numberAt = (limit: Limit, field: string) => Number(valueAt(limits, limit, field) ?? 0);
  const has = LIMITS.filter((limit) => typeof valueAt(limits, limit, 'limit') === 'number');
  return {
    isDegraded: valueAt(limits, 'mode') === 'DEGRADED',
    at: performance.now(),
    bounds: new Map(has.map((limit) => [limit, numberAt(limit, 'limit')])),
    out: {
      concurrency: numberAt('concurrency', 'limit') - numberAt('concurrency', 'remaining'),
      tokens: numberAt('tokens', 'resetMs'),
      requests: numberAt('requests', 'resetMs'),
    },
  };
}

/** A limit in which one running request can be seen for a while, and how. */
export interface Witness {
  readonly limit: Limit;
  /** How many tokens the request has to ask for. */
  readonly maxTokens: number;
  /** What one such request takes at least, in the terms of `Look.out`. */
  readonly takes: number;
}

const MINUTE_MS = 60_000;
/** Below this, what one request takes has come back before all replicas can be asked. */
const MOST_REQUESTS_PER_MINUTE = 120;
const FEWEST_TOKENS_PER_MINUTE = 400;
/** So many that an answer is not over too soon. */
const MANY_TOKENS = 1000;

/** @returns undefined where one request shows in none of the limits for long enough. */
export function chooseWitness({ bounds }: Pick<Look, 'bounds'>): Witness | undefined {
  const tokens = bounds.get('tokens');
  // They are held while the request runs, whether the model makes as many or not.
  const held = tokens === undefined ? MANY_TOKENS : Math.floor(tokens / 4);
  const maxTokens = Math.min(held, MANY_TOKENS);
  if ((bounds.get('concurrency') ?? 0) > 0) return { limit: 'concurrency', maxTokens, takes: 1 };
  if (tokens !== undefined && tokens >= FEWEST_TOKENS_PER_MINUTE) {
    return { limit: 'tokens', maxTokens: held, takes: (held * MINUTE_MS) / tokens };
  }
  const requests = bounds.get('requests') ?? 0;
  if (requests > 0 && requests <= MOST_REQUESTS_PER_MINUTE) {
    return { limit: 'requests', maxTokens, takes: MINUTE_MS / requests };
  }
  return undefined;
}

/** How far apart the moments of two looks may be from those of their answers. */
const SLACK_MS = 250;

/** Whether a look shows one request more than an earlier one did. */
export function showsRequest({ limit, takes }: Witness, look: Look, earlier: Look): boolean {
  if (limit === 'concurrency') return look.out[limit] > 0;
  return look.out[limit] > Math.max(0, earlier.out[limit] - (look.at - earlier.at)) + takes / 2;
}

/**
 * Whether a look counts what another one, shortly before it, has counted. Less may be out by then, as the buckets fill
 * up again by the millisecond.
 * @returns undefined where it comes too late to tell.
 */
export function agrees({ limit }: Witness, look: Look, first: Look): boolean | undefined {
  if (limit === 'concurrency') return look.out[limit] > 0;
  const least = first.out[limit] - (look.at - first.at) - SLACK_MS;
  return least > 0 ? look.out[limit] >= least : undefined;
}
