import type { Clock } from '../../core/ports.ts';
import { foldChat } from '../../domain/result.ts';
import { type AnswerOptions, sendJson, sendStream, withLimitHeaders } from '../answer.ts';
import { type Handler, principalOf, type RestConfig, type RestGateway } from '../context.ts';
import { setIgnoredParameters, setWarnings } from '../headers.ts';
import { CHAT_REFUSALS, chatCompletionRequest } from '../openai/parameters.ts';
import { decodeChat } from '../openai/request.ts';
import { encodeChatCompletion } from '../openai/response.ts';
import { ChatEncoder } from '../openai/stream.ts';
import { unknownFields } from '../openai/validation.ts';

/** What the three inference routes are made of. */
export interface InferenceOptions extends AnswerOptions {
  readonly gateway: RestGateway;
  readonly config: Pick<RestConfig, 'debug'>;
}

/** `POST /v1/chat/completions` */
export function createChatCompletion(options: InferenceOptions): Handler {
  const { gateway, config, clock } = options;
  return async (req, res) => {
    const { request, stream, includeUsage, warnings } = decodeChat(req.body);
    if (config.debug) {
      setIgnoredParameters(res, unknownFields(req.body, chatCompletionRequest, CHAT_REFUSALS));
    }
    const exchange = gateway.chat(request, {
      principal: principalOf(res),
      requestId: res.locals.requestId,
      protocol: 'rest',
      operation: 'chat',
      streamed: stream,
      signal: res.locals.signal,
    });
    const stamp = { id: `chatcmpl-${exchange.id}`, created: unixSeconds(clock) };
    if (stream) {
      const encoder = new ChatEncoder({ ...stamp, choices: request.choices, includeUsage, warnings });
      return sendStream(res, exchange, encoder, warnings, options);
    }
    const result = await withLimitHeaders(res, exchange, () => foldChat(exchange.events));
    setWarnings(res, [...warnings, ...result.warnings]);
    sendJson(res, encodeChatCompletion(stamp, result, request.logprobs !== undefined), clock);
  };
}

export function unixSeconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}
