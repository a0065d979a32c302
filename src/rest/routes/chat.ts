import type { Clock } from '../../core/ports.ts';
import { type AnswerOptions, sendStream, sendWhole } from '../answer.ts';
import type { BodyHandler } from '../body.ts';
import { callerOf, type RestConfig, type RestGateway } from '../context.ts';
import { addIgnoredParameters } from '../headers.ts';
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
export function createChatCompletion(options: InferenceOptions): BodyHandler {
  const { gateway, config, clock } = options;
  return (body, res) => {
    const { request, stream, includeUsage, warnings } = decodeChat(body);
    if (config.debug) {
      addIgnoredParameters(res, unknownFields(body, chatCompletionRequest, CHAT_REFUSALS));
    }
    const exchange = gateway.chat(request, callerOf(res, 'chat', stream));
    const stamp = { id: `chatcmpl-${exchange.id}`, created: unixSeconds(clock) };
    if (stream) {
      const encoder = new ChatEncoder({ ...stamp, choices: request.choices, includeUsage, warnings });
      return sendStream(res, exchange, encoder, warnings, options);
    }
    const wantsLogprobs = request.logprobs !== undefined;
    return sendWhole(res, exchange, warnings, (result) => encodeChatCompletion(stamp, result, wantsLogprobs));
  };
}

export function unixSeconds(clock: Clock): number {
  return Math.floor(clock.now() / 1000);
}
