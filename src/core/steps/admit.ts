import { Bag } from '../../domain/bag.ts';
import type { InferenceRequest } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import { boundOutputTokens } from '../../domain/estimate.ts';
import { type Claim, type Decision, isUnlimited, type Limits } from '../../domain/limit.ts';
import { totalTokens } from '../../domain/usage.ts';
import type { Call, InferenceEvent, Step } from '../call.ts';
import { type Clock, LEASE_RENEW_MS, type Limiter, type Telemetry } from '../ports.ts';
import { type Stage, staged } from '../stage.ts';

interface AdmitDependencies {
  readonly limiter: Limiter;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/**
 * One decision over requests per minute, tokens per minute and concurrent requests. What the request may take is held
 * before it runs and corrected to what it did take when it ends, once, whatever its end.
 */
export function admit(deps: AdmitDependencies): Step {
  const leases = createLeases(deps.limiter, deps.clock);
  return (next) => (request, call) => {
    if (isUnlimited(call.principal.limits)) return next(request, call);
    const admission = new Admission(deps, leases, call, toClaim(request, call));
    const open = (decision: Decision) => {
      admission.take(decision);
      return next(request, call);
    };
    return staged(() => deps.limiter.claim(admission.claim).then(open), admission);
  };
}

class Admission implements Stage<InferenceEvent> {
  readonly #deps: AdmitDependencies;
  readonly #leases: Leases;
  readonly #call: Call;
  readonly claim: Claim;
  #isHeld = false;

  constructor(deps: AdmitDependencies, leases: Leases, call: Call, claim: Claim) {
    this.#deps = deps;
    this.#leases = leases;
    this.#call = call;
    this.claim = claim;
  }

  /** @throws GatewayError `rate_limited` or `request_too_large`; the signal's reason. */
  take(decision: Decision): void {
    this.#call.notes.limits = decision.state;
    if (!decision.admitted) {
      this.#deps.telemetry.limitHit(decision.refusedBy);
      throw refusal(decision, this.claim);
    }
    this.#leases.add(this.claim);
    this.#isHeld = true;
    const { signal } = this.#call;
    if (signal.aborted) throw signal.reason;
  }

  close(): undefined {
    if (!this.#isHeld) return;
    const { limiter, telemetry } = this.#deps;
    this.#leases.delete(this.claim);
    const used = totalTokens(this.#call.notes.usage()) ?? 0;
    // Nobody waits for it: the answer is out, and a limiter whose store is away has its own way to catch up.
    limiter.settle(this.claim, used).catch((error: Error) => {
      telemetry.log('warn', 'a claim could not be settled; its lease will expire', { error: error.message });
    });
  }
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

type Leases = Pick<Bag<Claim>, 'add' | 'delete'>;

/** Renews the claims of all running requests together: a store that hears nothing of a claim forgets what it holds. */
function createLeases(limiter: Limiter, clock: Clock): Leases {
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
    add(claim) {
      running.add(claim);
      if (ticking) return;
      ticking = true;
      clock.after(LEASE_RENEW_MS, tick);
    },
    delete: (claim) => running.delete(claim),
  };
}
