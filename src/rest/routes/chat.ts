import type { Clock } from '../../core/ports.ts';
import { foldChat } from '../../domain/result.ts';
import { type AnswerOptions, sendStream, withLimits } from '../answer.ts';
import { callerOf, type Handler, type RestConfig, type RestGateway } from '../context.ts';
import { addIgnoredParameters, addWarnings } from '../headers.ts';
import { CHAT_REFUSALS, chatCompletionRequest } from '../openai/parameters.ts';
import { decodeChat } from '../openai/request.ts';
import { encodeChatCompletion } from '../openai/response.ts';
import { ChatEncoder } from '../openai/stream.ts';
import { unknownFields } from '../openai/validation.ts';
import { sendJson } from '../send.ts';

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
      addIgnoredParameters(res, unknownFields(req.body, chatCompletionRequest, CHAT_REFUSALS));
    }
    const exchange = gateway.chat(request, callerOf(res, 'chat', stream));
    const stamp = { id: `chatcmpl-${exchange.id}`, created: unixSeconds(clock) };
    if (stream) {
      const encoder = new ChatEncoder({ ...stamp, choices: request.choices, includeUsage, warnings });
      return sendStream(res, exchange, encoder, warnings, options);
    }
    const result = await withLimits(res, exchange, () => foldChat(exchange.events));
    addWarnings(res, [...warnings, ...result.warnings]);
    sendJson(res, encodeChatCompletion(stamp, result, request.logprobs !== undefined));
  };
}

export function unixSeconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}
