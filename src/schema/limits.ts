import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/ports.ts';
import type { Abortable } from '../core/signal.ts';
import { type Cancellable, cancellable } from '../core/stream.ts';
import type { LimitState, LimitsState } from '../domain/limit.ts';
import type { Principal } from '../domain/principal.ts';
import type { GraphQLContext, SchemaGateway } from './context.ts';

/** Leaves the limits that a request was decided under for `extensions.rateLimit`. */
export function noteLimits(
  { limits }: { readonly limits?: LimitsState | undefined },
  context: Pick<GraphQLContext, 'rateLimit'>,
): void {
  if (limits) context.rateLimit = limits;
}

/** Less than anybody may ask for as the time between two looks. */
const SHARED_MS = 200;
const SHARED_KEYS = 1000;

/** Limits for whoever looks at them again and again: one look is shared by all of a key who look at about the same time. */
export function createSharedLimits(
  gateway: Pick<SchemaGateway, 'limits'>,
  clock: Clock,
): (principal: Principal) => Promise<LimitsState> {
  const looks = new LRUCache<string, { readonly at: number; readonly state: Promise<LimitsState> }>({
    max: SHARED_KEYS,
  });
  return (principal) => {
    const now = clock.now();
    const latest = looks.get(principal.keyId);
    if (latest && now - latest.at < SHARED_MS) return latest.state;
    const state = gateway.limits(principal);
    looks.set(principal.keyId, { at: now, state });
    return state;
  };
}

/**
 * A key's limits as they change: now, and then whenever a look every `everyMs` finds something else. That limits
 * refill with time alone is a change only once a whole request or token has come back. It ends at once when the gateway
 * drains, as if it had been left: a drain waits for what has an end, and this has none.
 */
export function watchLimits(context: GraphQLContext, everyMs: number): Cancellable<LimitsState> {
  const { clock, signal: left, draining } = context;
  const look = async function* (signal: Abortable) {
    let last: LimitsState | undefined;
    for (;;) {
      const state = await context.sharedLimits(context.principal);
      if (!last || differs(last, state)) yield [state];
      last = state;
      await pause(everyMs, clock, signal);
    }
  };
  return cancellable(look, left, draining);
}

const NAMES = ['requests', 'tokens', 'concurrency'] as const;

function differs(a: LimitsState, b: LimitsState): boolean {
  const isSame = (x: LimitState | undefined, y: LimitState | undefined) =>
    x?.limit === y?.limit && x?.remaining === y?.remaining;
  return a.mode !== b.mode || NAMES.some((name) => !isSame(a[name], b[name]));
}

/** Rejects as soon as the signal aborts. */
function pause(ms: number, clock: Clock, signal: Abortable): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      cancel();
      reject(signal.reason);
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', abort);
      resolve();
    });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
