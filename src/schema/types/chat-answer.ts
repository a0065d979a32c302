import type { ToolCall } from '../../domain/chat.ts';
import type { FinishReason, TokenLogprob } from '../../domain/event.ts';
import type { ChatResult, ChoiceResult } from '../../domain/result.ts';
import { builder } from '../builder.ts';
import { TimingsType, TokenUsage } from './usage.ts';

/** A whole answer with what identifies it. */
export interface ChatAnswer extends ChatResult {
  readonly completionId: string;
  readonly createdAt: Date;
  readonly wantsLogprobs: boolean;
}

/** One choice at its place among the others. */
interface Choice extends ChoiceResult {
  readonly index: number;
  readonly wantsLogprobs: boolean;
}

export const COMPLETION_ID =
  'Identifies the answer. Once the request has ended, it is the id of its `Request`. Opaque.';

export const FinishReasonEnum = builder.enumType('FinishReason', {
  description: 'Why a model stopped.',
  values: {
    STOP: { value: 'stop', description: 'It was done, or came to a stop string.' },
    LENGTH: { value: 'length', description: 'It came to the bound on its tokens.' },
    TOOL_CALLS: { value: 'toolCalls', description: 'It waits for the results of its tool calls.' },
  } as const satisfies Record<string, { value: FinishReason['unified']; description: string }>,
});

const TopLogprob = builder.objectRef<Omit<TokenLogprob, 'top'>>('TopLogprob').implement({
  description: 'A token that the model might have chosen.',
  fields: (t) => ({
    token: t.exposeString('token', { description: 'Its text.' }),
    logprob: t.exposeFloat('logprob', { description: 'The natural logarithm of its probability.' }),
    bytes: t.expose('bytes', {
      type: ['Int'],
      nullable: true,
      description: 'Its bytes in UTF-8, each 0 to 255. Null where the backend does not tell.',
    }),
  }),
});

export const TokenLogprobType = builder.objectRef<TokenLogprob>('TokenLogprob').implement({
  description: 'How probable a token of the answer was.',
  fields: (t) => ({
    token: t.exposeString('token', { description: 'Its text.' }),
    logprob: t.exposeFloat('logprob', { description: 'The natural logarithm of its probability.' }),
    bytes: t.expose('bytes', {
      type: ['Int'],
      nullable: true,
      description: 'Its bytes in UTF-8, each 0 to 255. Null where the backend does not tell.',
    }),
    topLogprobs: t.expose('top', {
      type: [TopLogprob],
      description: 'The most probable tokens at this place, as many as were asked for.',
    }),
  }),
});

const ToolCallType = builder.objectRef<ToolCall>('ToolCall').implement({
  description: 'A tool that the model wants called.',
  fields: (t) => ({
    id: t.exposeString('id', { description: 'What a tool result has to name as its `toolCallId`.' }),
    name: t.exposeString('name', { description: "The tool's name, as the request has it." }),
    arguments: t.exposeString('arguments', { description: 'The JSON text of an object.' }),
  }),
});

const AssistantMessage = builder.objectRef<ChoiceResult>('AssistantMessage').implement({
  description: 'What the model says.',
  fields: (t) => ({
    content: t.string({
      nullable: true,
      description: 'Its text. Null where it only calls tools.',
      resolve: ({ text, toolCalls }) => (text === '' && toolCalls.length > 0 ? undefined : text),
    }),
    reasoning: t.string({
      nullable: true,
      description: 'What it thought before. Null where it did not, or does not show it.',
      resolve: ({ reasoning }) => (reasoning === '' ? undefined : reasoning),
    }),
    toolCalls: t.expose('toolCalls', {
      type: [ToolCallType],
      description: 'The tools that it wants called.',
    }),
  }),
});

const ChatChoice = builder.objectRef<Choice>('ChatChoice').implement({
  description: 'One of the answers to a chat.',
  fields: (t) => ({
    index: t.exposeInt('index', { description: 'Its place among the answers, from 0.' }),
    message: t.field({
      type: AssistantMessage,
      description: 'What the model says.',
      resolve: (choice) => choice,
    }),
    logprobs: t.field({
      type: [TokenLogprobType],
      nullable: true,
      description: 'How probable each token of the text was. Null where it was not asked for.',
      resolve: ({ wantsLogprobs, logprobs }) => (wantsLogprobs ? [...logprobs] : undefined),
    }),
    finishReason: t.field({
      type: FinishReasonEnum,
      description: 'Why the model stopped.',
      resolve: ({ finish }) => finish.unified,
    }),
    rawFinishReason: t.string({
      description: 'The same in the words of the backend.',
      resolve: ({ finish }) => finish.raw,
    }),
  }),
});

export const ChatCompletion = builder.objectRef<ChatAnswer>('ChatCompletion').implement({
  description: 'The whole answer to a chat.',
  fields: (t) => ({
    completionId: t.exposeID('completionId', { description: COMPLETION_ID }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When the gateway began to answer.' }),
    model: t.exposeString('model', { description: 'The full name of the model that answered.' }),
    backend: t.exposeString('backend', { description: 'The label of the model server that answered.' }),
    warnings: t.exposeStringList('warnings', {
      description: 'What was asked for and could not be honoured, one sentence each.',
    }),
    choices: t.field({
      type: [ChatChoice],
      description: 'The answers, as many as `n` asked for.',
      resolve: ({ choices, wantsLogprobs }) =>
        choices.map((choice, index) => ({ ...choice, index, wantsLogprobs })),
    }),
    usage: t.expose('usage', { type: TokenUsage, description: 'What it took, over all answers.' }),
    timings: t.expose('timings', { type: TimingsType, description: 'Where the time went.' }),
  }),
});
