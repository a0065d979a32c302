import type { Clock } from '../core/ports.ts';
import { type Cancellable, cancellable } from '../core/stream.ts';
import type { LimitState, LimitsState } from '../domain/limit.ts';
import type { GraphQLContext } from './context.ts';

/** Leaves the limits that a request was decided under for `extensions.rateLimit`. */
export function noteLimits(
  { limits }: { readonly limits?: LimitsState | undefined },
  context: Pick<GraphQLContext, 'rateLimit'>,
): void {
  if (limits) context.rateLimit = limits;
}

/**
 * A key's limits as they change: now, and then whenever a look every `everyMs` finds something else. That limits
 * refill with time alone is a change only once a whole request or token has come back. It ends when the gateway drains,
 * which would otherwise wait for it in vain.
 */
export function watchLimits(context: GraphQLContext, everyMs: number): Cancellable<LimitsState> {
  const { gateway, clock, signal: outer } = context;
  return cancellable(async function* (signal) {
    let last: LimitsState | undefined;
    for (;;) {
      const state = await gateway.limits(context.principal);
      if (!last || differs(last, state)) yield [state];
      last = state;
      if (gateway.report().draining) return;
      await pause(everyMs, clock, signal);
    }
  }, outer);
}

const NAMES = ['requests', 'tokens', 'concurrency'] as const;

function differs(a: LimitsState, b: LimitsState): boolean {
  const isSame = (x: LimitState | undefined, y: LimitState | undefined) =>
    x?.limit === y?.limit && x?.remaining === y?.remaining;
  return a.mode !== b.mode || NAMES.some((name) => !isSame(a[name], b[name]));
}

/** Rejects as soon as the signal aborts. */
function pause(ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
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
