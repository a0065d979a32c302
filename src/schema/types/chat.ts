import type { Exchange } from '../../core/gateway.ts';
import { GatewayError, toGatewayError } from '../../domain/error.ts';
import type { ChatEvent } from '../../domain/event.ts';
import { foldChat } from '../../domain/result.ts';
import { builder } from '../builder.ts';
import { decodeChat } from '../chat-request.ts';
import { coalesce } from '../coalesce.ts';
import type { GraphQLContext } from '../context.ts';
import { ArgumentError, encodeError } from '../errors.ts';
import { createEventStream, type EventEncoder, failure } from '../event-stream.ts';
import { encodeNodeId } from '../ids.ts';
import { noteLimits } from '../limits.ts';
import { ChatCompletion } from './chat-answer.ts';
import { ChatEventInterface, type ChatEventObject, encodeChatEvent } from './chat-event.ts';
import { ChatCompletionInput } from './chat-input.ts';
import { INFERENCE_ERRORS, resolveResult } from './error.ts';

const MAX_COALESCE_MS = 250;

const ChatCompletionResult = builder.unionType('ChatCompletionResult', {
  description: 'The answer to a chat, or why there is none.',
  types: [ChatCompletion, ...INFERENCE_ERRORS],
  resolveType: resolveResult('ChatCompletion'),
});

builder.mutationField('createChatCompletion', (t) =>
  t.field({
    type: ChatCompletionResult,
    scope: 'chat',
    metered: true,
    description: 'Answers a chat, all at once. `Subscription.chatCompletion` does so piece by piece.',
    args: { input: t.arg({ type: ChatCompletionInput, required: true, description: 'The chat.' }) },
    resolve: async (_root, { input }, context) => {
      const createdAt = new Date(context.clock.now());
      const { exchange, wantsLogprobs } = openChat(input, context, false);
      try {
        const result = await foldChat(exchange.events);
        return { ...result, completionId: completionIdOf(exchange), createdAt, wantsLogprobs };
      } finally {
        noteLimits(exchange, context);
      }
    },
  }),
);

builder.subscriptionField('chatCompletion', (t) =>
  t.field({
    type: ChatEventInterface,
    scope: 'chat',
    metered: true,
    description:
      'Answers a chat, piece by piece. Leaving the subscription ends the request at once. A failure is the last event.',
    args: {
      input: t.arg({ type: ChatCompletionInput, required: true, description: 'The chat.' }),
      coalesceMs: t.arg.int({
        required: true,
        defaultValue: 0,
        description: `Joins deltas that come within this time, 0 to ${MAX_COALESCE_MS} milliseconds, for fewer and larger events. The first of each kind comes at once.`,
      }),
    },
    subscribe: (_root, { input, coalesceMs }, context) => streamChat(input, coalesceMs, context),
    resolve: (event) => event,
  }),
);

/** @throws ArgumentError. */
function openChat(input: typeof ChatCompletionInput.$inferInput, context: GraphQLContext, streamed: boolean) {
  const { gateway, principal, requestId, signal } = context;
  const request = decodeChat(input);
  const exchange = gateway.chat(request, {
    principal,
    requestId,
    protocol: 'graphql',
    operation: 'chat',
    streamed,
    signal,
  });
  return { exchange, wantsLogprobs: request.logprobs !== undefined };
}

function streamChat(
  input: typeof ChatCompletionInput.$inferInput,
  coalesceMs: number,
  context: GraphQLContext,
): AsyncIterable<ChatEventObject> {
  try {
    if (coalesceMs < 0 || coalesceMs > MAX_COALESCE_MS) {
      throw new ArgumentError('coalesceMs', `coalesceMs must be 0 to ${MAX_COALESCE_MS}.`);
    }
    const { exchange } = openChat(input, context, true);
    const events = coalesceMs === 0 ? exchange.events : coalesce(exchange.events, coalesceMs, context.clock);
    return createEventStream(events, createEncoder(exchange, context));
  } catch (thrown) {
    // Refused before the core has seen it, so there will be no record to look up by this id.
    return createEventStream(failure(thrown), createEncoder({ id: context.requestId }, context));
  }
}

function createEncoder(
  exchange: Pick<Exchange<ChatEvent>, 'id'> & Partial<Exchange<ChatEvent>>,
  context: GraphQLContext,
): EventEncoder<ChatEvent, ChatEventObject> {
  const completionId = completionIdOf(exchange);
  let sequence = 0;
  let isFinished = false;

  const fail = (error: GatewayError): ChatEventObject | undefined => {
    noteLimits(exchange, context);
    if (isFinished || error.code === 'client_closed') return undefined;
    return { __typename: 'ChatFailed', completionId, sequence, error: encodeError(error, context) };
  };

  return {
    encode(event) {
      if (sequence === 0) noteLimits(exchange, context);
      isFinished = event.type === 'finished';
      return encodeChatEvent(completionId, sequence++, event);
    },
    fail(thrown) {
      // The core has logged its own failures by then.
      if (!(thrown instanceof GatewayError)) context.reportBug(thrown);
      return fail(toGatewayError(thrown));
    },
    end: () =>
      fail(new GatewayError('upstream_incomplete', 'The model stopped before its answer was complete.')),
  };
}

function completionIdOf({ id }: { readonly id: string }): string {
  return encodeNodeId('Request', id);
}
