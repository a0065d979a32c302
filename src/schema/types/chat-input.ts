import type { ReasoningEffort } from '../../domain/chat.ts';
import { KEEP_ALIVE } from '../../domain/keep-alive.ts';
import { builder } from '../builder.ts';

/** What `keepAliveSeconds` is, wherever there is one. */
export const KEEP_ALIVE_SECONDS =
  `How long the model stays in memory afterwards, in seconds: ${KEEP_ALIVE.min} to ${KEEP_ALIVE.max}. ` +
  'Anything else has no effect, with a warning, as the memory is shared.';

const MessageRole = builder.enumType('MessageRole', {
  description: 'Who says a message.',
  values: {
    SYSTEM: { value: 'system', description: 'Whoever instructs the model. Its parts are texts.' },
    DEVELOPER: { value: 'developer', description: 'Another name of `SYSTEM`.' },
    USER: { value: 'user', description: 'Whoever asks the model. Its parts are texts and images.' },
    ASSISTANT: {
      value: 'assistant',
      description: 'The model. Its parts are texts, reasoning and tool calls.',
    },
    TOOL: { value: 'tool', description: 'A tool that was called. Its one part is a tool result.' },
  } as const,
});

const ReasoningEffortEnum = builder.enumType('ReasoningEffort', {
  description:
    'How much a model is to think before it answers. Models tell fewer degrees apart than there are.',
  values: {
    NONE: { value: 'none', description: 'Not at all.' },
    MINIMAL: { value: 'minimal', description: 'As little as it can.' },
    LOW: { value: 'low', description: 'A little.' },
    MEDIUM: { value: 'medium', description: 'Some.' },
    HIGH: { value: 'high', description: 'Much.' },
    XHIGH: { value: 'xhigh', description: 'Very much.' },
    MAX: { value: 'max', description: 'As much as it can.' },
  } as const satisfies Record<Uppercase<ReasoningEffort>, { value: ReasoningEffort; description: string }>,
});

const ImageInput = builder.inputType('ImageInput', {
  description: 'An image for a model that sees.',
  fields: (t) => ({
    url: t.string({
      required: true,
      description: 'A `data:image/…;base64,…` URI with the image itself. Nothing is ever fetched.',
    }),
  }),
});

const ToolCallInput = builder.inputType('ToolCallInput', {
  description: 'A tool call that the model made earlier.',
  fields: (t) => ({
    id: t.string({ required: true, description: "The call's id, as it was answered." }),
    name: t.string({ required: true, description: "The tool's name." }),
    arguments: t.string({
      required: true,
      description:
        'The JSON text of an object, as it was answered. Anything else is left out, with a warning.',
    }),
  }),
});

const ToolResultInput = builder.inputType('ToolResultInput', {
  description: 'What a tool that was called gave back.',
  fields: (t) => ({
    toolCallId: t.string({ required: true, description: 'The id of a tool call in an earlier message.' }),
    content: t.string({ required: true, description: 'The result as text, often JSON.' }),
  }),
});

const MessagePartInput = builder.inputType('MessagePartInput', {
  description: 'A part of a message: exactly one of these.',
  isOneOf: true,
  fields: (t) => ({
    text: t.string({ description: 'Text.' }),
    image: t.field({ type: ImageInput, description: 'An image. Only from a user.' }),
    reasoning: t.string({ description: 'What the model thought. Only from the assistant.' }),
    toolCall: t.field({ type: ToolCallInput, description: 'A tool call. Only from the assistant.' }),
    toolResult: t.field({
      type: ToolResultInput,
      description: 'The result of a tool call. Only from a tool.',
    }),
  }),
});

const MessageInput = builder.inputType('MessageInput', {
  description: 'A message of a chat.',
  fields: (t) => ({
    role: t.field({ type: MessageRole, required: true, description: 'Who says it.' }),
    content: t.field({
      type: [MessagePartInput],
      required: true,
      description: 'What is said: at least one part. Texts are joined without a separator.',
    }),
  }),
});

const ToolInput = builder.inputType('ToolInput', {
  description: 'A function that the model may ask to be called.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'Its name: 1 to 64 letters, digits, _ and -.' }),
    description: t.string({ description: 'What it does and when to call it, for the model.' }),
    parameters: t.field({
      type: 'JSON',
      description: 'The JSON Schema of the object that it takes. Absent: it takes nothing.',
    }),
  }),
});

const ToolChoiceMode = builder.enumType('ToolChoiceMode', {
  description: 'Whether the model calls tools.',
  values: {
    AUTO: { value: 'auto', description: 'As it sees fit.' },
    NONE: { value: 'none', description: 'It must not.' },
    REQUIRED: { value: 'required', description: 'It must call at least one.' },
  } as const,
});

const ToolChoiceInput = builder.inputType('ToolChoiceInput', {
  description: 'Which tools the model calls: exactly one of these.',
  isOneOf: true,
  fields: (t) => ({
    mode: t.field({ type: ToolChoiceMode, description: 'Whether it calls any.' }),
    tool: t.string({ description: 'The name of the one tool that it must call.' }),
  }),
});

const ResponseFormatType = builder.enumType('ResponseFormatType', {
  description: 'What the text of an answer is.',
  values: {
    TEXT: { value: 'text', description: 'Any text.' },
    JSON_OBJECT: { value: 'json', description: 'The JSON text of some object.' },
  } as const,
});

const JsonSchemaInput = builder.inputType('JsonSchemaInput', {
  description: 'What a JSON answer has to look like.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'Its name: 1 to 64 letters, digits, _ and -.' }),
    schema: t.field({ type: 'JSON', required: true, description: 'A JSON Schema.' }),
  }),
});

const ResponseFormatInput = builder.inputType('ResponseFormatInput', {
  description: 'What the text of the answer has to be: exactly one of these.',
  isOneOf: true,
  fields: (t) => ({
    type: t.field({ type: ResponseFormatType, description: 'A kind without further conditions.' }),
    jsonSchema: t.field({ type: JsonSchemaInput, description: 'JSON that fits a schema.' }),
  }),
});

export const ChatCompletionInput = builder.inputType('ChatCompletionInput', {
  description: "A chat to be answered. What is absent is left to the model's own defaults.",
  fields: (t) => ({
    model: t.string({
      required: true,
      description: 'The name of the model. Without a tag, `:latest` is meant.',
    }),
    messages: t.field({
      type: [MessageInput],
      required: true,
      description: 'The chat so far, oldest first: at least one message.',
    }),
    tools: t.field({ type: [ToolInput], description: 'What the model may ask to be called. At most 128.' }),
    toolChoice: t.field({
      type: ToolChoiceInput,
      description: 'Which of them it calls. Absent: as it sees fit.',
    }),
    parallelToolCalls: t.boolean({
      required: true,
      defaultValue: true,
      description: 'Whether one answer may call several tools.',
    }),
    responseFormat: t.field({
      type: ResponseFormatInput,
      description: 'What the text has to be. Absent: any.',
    }),
    reasoningEffort: t.field({ type: ReasoningEffortEnum, description: 'How much the model is to think.' }),
    maxCompletionTokens: t.field({
      type: 'SafeInt',
      description: 'The bound on what one answer may have, in tokens, reasoning included: at least 1.',
    }),
    temperature: t.float({
      description: 'How freely tokens are chosen, 0 to 2. At 0 the most probable ones are.',
    }),
    topP: t.float({
      description: 'Only the most probable tokens that together have this probability, 0 to 1.',
    }),
    topK: t.field({
      type: 'SafeInt',
      description: 'Only so many of the most probable tokens. 0: no such bound.',
    }),
    minP: t.float({
      description: 'Only tokens at least this probable, as a fraction of the most probable one, 0 to 1.',
    }),
    frequencyPenalty: t.float({
      description: 'Lowers the chances of tokens the more often they were used, -2 to 2.',
    }),
    presencePenalty: t.float({ description: 'Lowers the chances of tokens that were used, -2 to 2.' }),
    seed: t.field({
      type: 'SafeInt',
      description: 'The same seed and request give the same answer, as far as can be.',
    }),
    stop: t.stringList({ description: 'Texts before which the model stops: at most 32, none empty.' }),
    n: t.int({
      required: true,
      defaultValue: 1,
      description: 'How many independent answers, 1 to 128. Each counts its tokens.',
    }),
    logprobs: t.boolean({
      required: true,
      defaultValue: false,
      description: 'Whether to tell how probable each token was.',
    }),
    topLogprobs: t.int({
      description: 'How many alternatives to tell for each token, 0 to 20. Only with `logprobs`.',
    }),
    keepAliveSeconds: t.float({
      description: KEEP_ALIVE_SECONDS,
    }),
  }),
});
