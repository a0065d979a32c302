import { randomBytes } from 'node:crypto';
import type { Caller, Exchange } from '../../core/gateway.ts';
import { type Abortable, Cancellation, forwardAbort } from '../../core/signal.ts';
import { staged } from '../../core/stage.ts';
import { createBound } from '../../core/steps/bound.ts';
import { cancellable } from '../../core/stream.ts';
import type { ChatRequest } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import type { ChatEvent } from '../../domain/event.ts';
import { createId } from '../../domain/id.ts';
import type { Principal } from '../../domain/principal.ts';
import { type ChatResult, foldChat } from '../../domain/result.ts';
import { type Source, sendStream } from '../answer.ts';
import type { BodyHandler } from '../body.ts';
import { callerOf, type RestGateway, type RestResponse } from '../context.ts';
import { throwInTermsOf } from '../errors.ts';
import { addIgnoredParameters, addWarnings } from '../headers.ts';
import {
  COMPLETION_FIELDS,
  createCompletionEncoder,
  encodeCompletion,
  type PromptEvent,
} from '../openai/completion.ts';
import { COMPLETION_REFUSALS, completionRequest } from '../openai/parameters.ts';
import { decodeCompletion } from '../openai/request.ts';
import { unknownFields } from '../openai/validation.ts';
import { sendJson } from '../send.ts';
import { type InferenceOptions, unixSeconds } from './chat.ts';

/**
 * `POST /v1/completions`. Each prompt is a request of its own to the core, one after the other, so that many prompts
 * occupy no more of the fleet, and of the key's concurrency, than one.
 */
export function createCompletion(options: InferenceOptions): BodyHandler {
  const { gateway, config, clock } = options;
  return (body, res) => {
    const { requests, echoes, stream, includeUsage, warnings } = decodeCompletion(body);
    if (config.debug) {
      addIgnoredParameters(res, unknownFields(body, completionRequest, COMPLETION_REFUSALS));
    }
    const caller = callerOf(res, 'completion', stream);
    refuseTooMany(requests.length, caller.principal);
    const id = createId('cmpl-', randomBytes);
    const form = { id, created: unixSeconds(clock), choices: requests[0]?.choices ?? 1, echoes };
    const answer = async () => {
      if (stream) {
        const encoder = createCompletionEncoder({ ...form, includeUsage, warnings });
        return await sendStream(res, streamAnswers(gateway, requests, caller), encoder, warnings, options);
      }
      const results = await foldAnswers(res, gateway, requests, caller);
      addWarnings(res, [...warnings, ...results.flatMap((result) => result.warnings)]);
      sendJson(res, encodeCompletion(form, results));
    };
    return answer().catch(throwInTermsOf(COMPLETION_FIELDS));
  };
}

/**
 * Refuses what would be given up after most of its answers were made.
 * @throws GatewayError `request_too_large`.
 */
function refuseTooMany(prompts: number, { limits: { requestsPerMinute: limit } }: Principal): void {
  if (prompts === 1 || limit === undefined || prompts <= limit) return;
  const message = `Each of the ${prompts} prompts counts as a request, and this API key is limited to ${limit} requests per minute.`;
  throw new GatewayError('request_too_large', message, { limit: 'requests', param: 'prompt' });
}

/** The answers to several prompts as one stream; a prompt begins when the one before it is done. */
function streamAnswers(
  gateway: RestGateway,
  requests: readonly ChatRequest[],
  caller: Caller,
): Source<PromptEvent> {
  let current: Exchange<ChatEvent> | undefined;

  async function* events(signal: Abortable): AsyncGenerator<readonly PromptEvent[]> {
    for (const [prompt, request] of requests.entries()) {
      current = gateway.chat(request, { ...caller, signal });
      for await (const batch of current.events) yield batch.map((event) => ({ ...event, prompt }));
    }
  }

  return {
    events: cancellable(events, caller.signal),
    get limits() {
      return current?.limits;
    },
  };
}

/** The answers to several prompts. Together they are one answer, and bounded as one. */
async function foldAnswers(
  res: RestResponse,
  gateway: RestGateway,
  requests: readonly ChatRequest[],
  caller: Caller,
): Promise<ChatResult[]> {
  const results: ChatResult[] = [];
  const keep = createBound();
  const all = new Cancellation();
  forwardAbort(caller.signal, all);
  for (const request of requests) {
    const exchange = gateway.chat(request, { ...caller, signal: all });
    const events = staged(() => exchange.events, {
      pass(batch) {
        const failure = keep(batch);
        if (!failure) return batch;
        // Merely left, the request would be recorded as one whose client has gone.
        all.abort(failure);
        throw failure;
      },
    });
    res.locals.source = exchange;
    results.push(await foldChat(events));
  }
  return results;
}
