import { Bag } from '../../domain/bag.ts';
import type { InferenceRequest } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { boundOutputTokens } from '../../domain/estimate.ts';
import { type Claim, type Decision, isUnlimited, type Limits } from '../../domain/limit.ts';
import { totalTokens } from '../../domain/usage.ts';
import type { Call, Step } from '../call.ts';
import { type Clock, LEASE_RENEW_MS, type Limiter, type Telemetry } from '../ports.ts';
import { staged } from '../stage.ts';

/**
 * One decision over requests per minute, tokens per minute and concurrent requests. What the request may take is held
 * before it runs and corrected to what it did take when it ends, once, whatever its end.
 */
export function admit(deps: {
  readonly limiter: Limiter;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}): Step {
  const { limiter, telemetry, clock } = deps;
  const leases = createLeases(limiter, clock);
  return (next) => (request, call) => {
    if (isUnlimited(call.principal.limits)) return next(request, call);
    const claim = toClaim(request, call);
    let release: (() => void) | undefined;
    return staged({
      async open() {
        const decision = await limiter.claim(claim);
        call.notes.limits = decision.state;
        if (!decision.admitted) {
          telemetry.limitHit(decision.refusedBy);
          throw refusal(decision, claim);
        }
        release = leases.keep(claim);
        if (call.signal.aborted) throw call.signal.reason;
        return next(request, call);
      },
      close() {
        if (!release) return;
        release();
        const used = totalTokens(call.notes.usage()) ?? 0;
        // Nobody waits for it: the answer is out, and a limiter whose store is away has its own way to catch up.
        limiter.settle(claim, used).catch((error: Error) => {
          telemetry.log('warn', 'a claim could not be settled; its lease will expire', {
            error: error.message,
          });
        });
      },
    });
  };
}

function toClaim(request: InferenceRequest, call: Call): Claim {
  const { keyId, limits } = call.principal;
  const output = boundOutputTokens(request);
  const tokens = call.notes.promptEstimate + output.tokens;
  // A bound that the caller did not set must not be what refuses the request for good.
  const held = output.given ? tokens : Math.min(tokens, limits.tokensPerMinute ?? tokens);
  return { id: call.id, keyId, limits, tokens: held };
}

function refusal(decision: Extract<Decision, { admitted: false }>, claim: Claim): GatewayError {
  const { refusedBy: limit, retryAfterMs } = decision;
  const allowed = describe(claim.limits)[limit];
  if (retryAfterMs === undefined) {
    const message = `This request asks for ${claim.tokens} tokens, more than this API key's limit of ${allowed}.`;
    return new GatewayError('request_too_large', message, { limit });
  }
  const message = `This API key's limit of ${allowed} is reached. Try again in ${Math.ceil(retryAfterMs / 1000)} s.`;
  return new GatewayError('rate_limited', message, { limit, retryAfterMs });
}

function describe(limits: Limits): Readonly<Record<'requests' | 'tokens' | 'concurrency', string>> {
  return {
    requests: `${limits.requestsPerMinute} requests per minute`,
    tokens: `${limits.tokensPerMinute} tokens per minute`,
    concurrency: `${limits.concurrentRequests} concurrent requests`,
  };
}

/** Renews the claims of all running requests together: a store that hears nothing of a claim forgets what it holds. */
function createLeases(limiter: Limiter, clock: Clock): { keep(claim: Claim): () => void } {
  const running = new Bag<Claim>();
  let ticking = false;
  const tick = () => {
    ticking = running.size > 0;
    if (!ticking) return;
    // A renewal that fails is tried again by the next; a lease outlives two of them.
    limiter.renew([...running]).catch(() => undefined);
    clock.after(LEASE_RENEW_MS, tick);
  };
  return {
    keep(claim) {
      running.add(claim);
      if (!ticking) {
        ticking = true;
        clock.after(LEASE_RENEW_MS, tick);
      }
      return () => running.delete(claim);
    },
  };
}
