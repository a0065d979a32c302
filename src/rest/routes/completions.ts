import type { Caller, Gateway } from '../../core/gateway.ts';
import { cancellable } from '../../core/stream.ts';
import type { ChatRequest } from '../../domain/chat.ts';
import type { LimitsState } from '../../domain/limit.ts';
import { type ChatResult, foldChat } from '../../domain/result.ts';
import { type Source, sendJson, sendStream, withLimitHeaders } from '../answer.ts';
import { type Handler, principalOf } from '../context.ts';
import { setIgnoredParameters, setWarnings } from '../headers.ts';
import { createCompletionEncoder, encodeCompletion, type PromptEvent } from '../openai/completion.ts';
import { COMPLETION_REFUSALS, completionRequest } from '../openai/parameters.ts';
import { decodeCompletion } from '../openai/request.ts';
import { unknownFields } from '../openai/validation.ts';
import { type InferenceOptions, unixSeconds } from './chat.ts';

/**
 * `POST /v1/completions`. Each prompt is a request of its own to the core, one after the other, so that many prompts
 * occupy no more of the fleet, and of the key's concurrency, than one.
 */
export function createCompletion(options: InferenceOptions): Handler {
  const { gateway, config, clock } = options;
  return async (req, res) => {
    const { requests, echoes, stream, includeUsage, warnings } = decodeCompletion(req.body);
    if (config.debug) {
      setIgnoredParameters(res, unknownFields(req.body, completionRequest, COMPLETION_REFUSALS));
    }
    const caller: Caller = {
      principal: principalOf(res),
      requestId: res.locals.requestId,
      protocol: 'rest',
      operation: 'completion',
      streamed: stream,
      signal: res.locals.signal,
    };
    const answers = createAnswers(gateway, requests, caller);
    const stamp = { id: `cmpl-${answers.id}`, created: unixSeconds(clock) };
    const form = { ...stamp, choices: requests[0]?.choices ?? 1, echoes };
    if (stream) {
      return sendStream(res, answers, createCompletionEncoder({ ...form, includeUsage }), warnings, options);
    }
    const results = await withLimitHeaders(res, answers, () => answers.fold());
    setWarnings(
      res,
      results.flatMap((result) => result.warnings),
    );
    sendJson(res, encodeCompletion(form, results), clock);
  };
}

interface Answers extends Source<PromptEvent> {
  /** The first exchange's. */
  readonly id: string;
  fold(): Promise<readonly ChatResult[]>;
}

/** The answers to several prompts as one: as a stream, or folded; either starts a prompt when the one before is done. */
function createAnswers(gateway: Gateway, requests: readonly ChatRequest[], caller: Caller): Answers {
  const leaving = new AbortController();
  const signal = AbortSignal.any([caller.signal, leaving.signal]);
  const start = (request: ChatRequest) => gateway.chat(request, { ...caller, signal });
  // Nothing happens before its first event is asked for.
  const first = requests[0] && start(requests[0]);
  let current = first;

  async function* events(ending: AbortSignal): AsyncGenerator<readonly PromptEvent[]> {
    ending.addEventListener('abort', () => leaving.abort(ending.reason), { once: true });
    for (const [prompt, request] of requests.entries()) {
      if (prompt > 0) current = start(request);
      if (!current) return;
      for await (const batch of current.events) {
        yield batch.map((event) => ({ ...event, prompt }));
      }
    }
  }

  return {
    id: first?.id ?? '',
    events: cancellable(events, caller.signal),
    get limits(): LimitsState | undefined {
      return current?.limits;
    },
    async fold() {
      const results: ChatResult[] = [];
      for (const [prompt, request] of requests.entries()) {
        if (prompt > 0) current = start(request);
        if (current) results.push(await foldChat(current.events));
      }
      return results;
    },
  };
}
