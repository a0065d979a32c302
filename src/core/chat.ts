import { GatewayError } from '../domain/error.ts';
import type { Authenticator } from './authenticate.ts';
import type { Handler, Step } from './call.ts';
import type { Places } from './places.ts';
import type { ChatProvider, Clock, Limiter, Telemetry, UsageSink } from './ports.ts';
import { admit } from './steps/admit.ts';
import { authorize } from './steps/authorize.ts';
import { bound } from './steps/bound.ts';
import { choices } from './steps/choices.ts';
import { type Deadlines, deadlines } from './steps/deadlines.ts';
import { meter } from './steps/meter.ts';
import { resolve } from './steps/resolve.ts';
import { route } from './steps/route.ts';

export interface InferenceDependencies {
  readonly provider: ChatProvider;
  readonly places: Places;
  readonly limiter: Limiter;
  readonly usage: UsageSink;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly watch: Authenticator['watch'];
}

/** Everything that happens to a request, outermost first. Chats and embeddings take the same way. */
export function steps(deps: InferenceDependencies): readonly Step[] {
  return [
    // Seen by every request, refused ones too.
    meter(deps),
    // What can be refused without spending anything.
    authorize(deps.watch),
    resolve(deps.provider),
    // From here on the request counts.
    admit(deps),
    bound(),
    choices(),
    // Once per attempt.
    route(deps),
    deadlines(deps.deadlines, deps.clock),
  ];
}

/** The steps around the provider. */
export function createHandler(deps: InferenceDependencies): Handler {
  const ask: Handler = (request, call) => {
    if (call.backendId === '') throw new GatewayError('internal', 'The request was not routed.');
    const onRead = (withheld: number) => {
      call.notes.outputs += withheld;
      call.onRead?.();
    };
    return request.kind === 'chat'
      ? deps.provider.chat(call.backendId, request, call.signal, onRead)
      : deps.provider.embed(call.backendId, request, call.signal);
  };
  return steps(deps).reduceRight((next, step) => step(next), ask);
}
