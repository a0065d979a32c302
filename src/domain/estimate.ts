import { type ChatRequest, type InferenceRequest, textOf } from './chat.ts';

/** Output tokens to hold for a request that sets no bound of its own. */
export const DEFAULT_OUTPUT_TOKENS = 1024;

/** A usual tokenizer makes a token of about four characters of English. */
const CHARACTERS_PER_TOKEN = 4;
/** The template's markers around each message. */
const TOKENS_PER_MESSAGE = 4;
/** What common vision models make of one image. */
const TOKENS_PER_IMAGE = 768;

/**
 * Tokens of the prompt, before any model has counted them. Tokenizing for real would block the event loop and needs
 * each model's vocabulary; a guess is enough, because it is replaced by the real number when the request ends.
 */
export function estimatePromptTokens(request: InferenceRequest): number {
  if (request.kind === 'embedding') {
    return request.inputs.reduce((sum, input) => sum + 1 + tokensIn(input.length), 0);
  }
  return estimateChatPrompt(request) * request.choices;
}

/** Tokens that the answer may take, over all its choices, and whether the caller set that bound. */
export function boundOutputTokens(request: InferenceRequest): {
  readonly tokens: number;
  readonly given: boolean;
} {
  if (request.kind === 'embedding') return { tokens: 0, given: true };
  const bound = request.sampling.maxOutputTokens;
  return { tokens: (bound ?? DEFAULT_OUTPUT_TOKENS) * request.choices, given: bound !== undefined };
}

function estimateChatPrompt(request: ChatRequest): number {
  let tokens = tokensIn(request.suffix?.length ?? 0);
  for (const message of request.messages) {
    tokens += TOKENS_PER_MESSAGE + tokensIn(textOf(message.content).length);
    for (const part of message.content) if (part.type === 'image') tokens += TOKENS_PER_IMAGE;
    if (message.role === 'assistant') {
      for (const call of message.toolCalls) tokens += tokensIn(call.name.length + call.arguments.length);
    }
  }
  for (const tool of request.tools) tokens += tokensIn(JSON.stringify(tool).length);
  return tokens;
}

function tokensIn(characters: number): number {
  return Math.ceil(characters / CHARACTERS_PER_TOKEN);
}
