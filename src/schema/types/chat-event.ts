import type { ChatEvent, FinishReason, TokenLogprob } from '../../domain/event.ts';
import type { Timings, Usage } from '../../domain/usage.ts';
import { builder } from '../builder.ts';
import type { ErrorObject } from '../errors.ts';
import { COMPLETION_ID, FinishReasonEnum, TokenLogprobType } from './chat-answer.ts';
import { ErrorInterface } from './error.ts';
import { TimingsType, TokenUsage } from './usage.ts';

/** An event as a value of the schema: one flat object, whose fields are its own properties. */
export type ChatEventObject = {
  readonly completionId: string;
  readonly sequence: number;
} & (
  | { readonly __typename: 'ChatQueued'; readonly position: number }
  | { readonly __typename: 'ChatModelLoading'; readonly model: string }
  | {
      readonly __typename: 'ChatStarted';
      readonly model: string;
      readonly backend: string;
      readonly warnings: readonly string[];
    }
  | { readonly __typename: 'ChatReasoningDelta'; readonly choice: number; readonly reasoning: string }
  | {
      readonly __typename: 'ChatContentDelta';
      readonly choice: number;
      readonly content: string;
      readonly logprobs: readonly TokenLogprob[] | undefined;
    }
  | {
      readonly __typename: 'ChatToolCallDelta';
      readonly choice: number;
      readonly index: number;
      readonly id: string;
      readonly name: string;
      readonly arguments: string;
    }
  | {
      readonly __typename: 'ChatFinished';
      readonly choices: readonly FinishedChoice[];
      readonly usage: Usage;
      readonly timings: Timings;
    }
  | { readonly __typename: 'ChatFailed'; readonly error: ErrorObject }
);

interface FinishedChoice {
  readonly choice: number;
  readonly finishReason: FinishReason['unified'];
  readonly rawFinishReason: string;
}

type Named<Name extends ChatEventObject['__typename']> = Extract<ChatEventObject, { __typename: Name }>;

export function encodeChatEvent(completionId: string, sequence: number, event: ChatEvent): ChatEventObject {
  switch (event.type) {
    case 'content':
      return {
        __typename: 'ChatContentDelta',
        completionId,
        sequence,
        choice: event.choice,
        content: event.text,
        logprobs: event.logprobs,
      };
    case 'reasoning': {
      const { choice, text: reasoning } = event;
      return { __typename: 'ChatReasoningDelta', completionId, sequence, choice, reasoning };
    }
    case 'toolCall': {
      const { type: _, ...call } = event;
      return { __typename: 'ChatToolCallDelta', completionId, sequence, ...call };
    }
    case 'queued':
      return { __typename: 'ChatQueued', completionId, sequence, position: event.position };
    case 'loading':
      return { __typename: 'ChatModelLoading', completionId, sequence, model: event.model };
    case 'started': {
      const { model, backend, warnings } = event;
      return { __typename: 'ChatStarted', completionId, sequence, model, backend, warnings };
    }
    case 'finished': {
      const { usage, timings } = event;
      const choices = event.reasons.map(({ unified, raw }, choice) => ({
        choice,
        finishReason: unified,
        rawFinishReason: raw,
      }));
      return { __typename: 'ChatFinished', completionId, sequence, choices, usage, timings };
    }
  }
}

export const ChatEventInterface = builder.interfaceRef<ChatEventObject>('ChatCompletionEvent').implement({
  description:
    'One step of an answer. In order: `ChatQueued` (any number), `ChatModelLoading` (perhaps), `ChatStarted`, then deltas and tool calls, and `ChatFinished`. `ChatFailed` may take the place of any of them; whichever of the two comes is the last.',
  resolveType: (event) => event.__typename,
  fields: (t) => ({
    completionId: t.exposeID('completionId', {
      description: `${COMPLETION_ID} Where arguments are refused no request begins, and no \`Request\` will have it.`,
    }),
    sequence: t.exposeInt('sequence', {
      description:
        'The place in the answer, from 0. It grows by one from event to event, so that a missing one would show.',
    }),
  }),
});

const interfaces = [ChatEventInterface];
const CHOICE = 'Which of the answers it belongs to, from 0.';

builder.objectType(builder.objectRef<Named<'ChatQueued'>>('ChatQueued'), {
  description: 'The request waits for a model server.',
  interfaces,
  fields: (t) => ({
    position: t.exposeInt('position', { description: 'How many requests are ahead, from 0.' }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatModelLoading'>>('ChatModelLoading'), {
  description: 'The model server is reading the model into memory, which may take minutes.',
  interfaces,
  fields: (t) => ({ model: t.exposeString('model', { description: 'The full name of the model.' }) }),
});

builder.objectType(builder.objectRef<Named<'ChatStarted'>>('ChatStarted'), {
  description: 'The model produces.',
  interfaces,
  fields: (t) => ({
    model: t.exposeString('model', { description: 'The full name of the model that answers.' }),
    backend: t.exposeString('backend', { description: 'The label of the model server that answers.' }),
    warnings: t.exposeStringList('warnings', {
      description: 'What was asked for and could not be honoured, one sentence each.',
    }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatReasoningDelta'>>('ChatReasoningDelta'), {
  description: 'The next piece of what the model thinks.',
  interfaces,
  fields: (t) => ({
    choice: t.exposeInt('choice', { description: CHOICE }),
    reasoning: t.exposeString('reasoning', { description: 'To be appended to what came before.' }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatContentDelta'>>('ChatContentDelta'), {
  description: 'The next piece of the text.',
  interfaces,
  fields: (t) => ({
    choice: t.exposeInt('choice', { description: CHOICE }),
    content: t.exposeString('content', { description: 'To be appended to what came before.' }),
    logprobs: t.expose('logprobs', {
      type: [TokenLogprobType],
      nullable: true,
      description: 'How probable each token of this piece was. Null where it was not asked for.',
    }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatToolCallDelta'>>('ChatToolCallDelta'), {
  description:
    'The next tool that the model wants called. Backends give calls whole, so nothing is to be appended.',
  interfaces,
  fields: (t) => ({
    choice: t.exposeInt('choice', { description: CHOICE }),
    index: t.exposeInt('index', { description: 'The place among the calls of its answer, from 0.' }),
    id: t.exposeString('id', { description: 'What a tool result has to name as its `toolCallId`.' }),
    name: t.exposeString('name', { description: "The tool's name, as the request has it." }),
    arguments: t.exposeString('arguments', { description: 'The JSON text of an object.' }),
  }),
});

const FinishedChoiceType = builder.objectRef<FinishedChoice>('ChatFinishedChoice').implement({
  description: 'How one of the answers ended.',
  fields: (t) => ({
    choice: t.exposeInt('choice', { description: 'Which of the answers, from 0.' }),
    finishReason: t.expose('finishReason', { type: FinishReasonEnum, description: 'Why the model stopped.' }),
    rawFinishReason: t.exposeString('rawFinishReason', {
      description: 'The same in the words of the backend.',
    }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatFinished'>>('ChatFinished'), {
  description: 'The answer is complete. The last event.',
  interfaces,
  fields: (t) => ({
    choices: t.expose('choices', {
      type: [FinishedChoiceType],
      description: 'How each of the answers ended.',
    }),
    usage: t.expose('usage', { type: TokenUsage, description: 'What it took, over all answers.' }),
    timings: t.expose('timings', { type: TimingsType, description: 'Where the time went.' }),
  }),
});

builder.objectType(builder.objectRef<Named<'ChatFailed'>>('ChatFailed'), {
  description: 'The answer is not complete, and will not be. The last event.',
  interfaces,
  fields: (t) => ({
    error: t.expose('error', { type: ErrorInterface, description: 'Why.' }),
  }),
});
