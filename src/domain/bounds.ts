/** Both ends are allowed. */
export interface Bound {
  readonly min: number;
  readonly max: number;
}

/** What the numbers of a request may be, the same in every protocol. */
export const BOUNDS = {
  temperature: { min: 0, max: 2 },
  topP: { min: 0, max: 1 },
  topK: { min: 0, max: Number.MAX_SAFE_INTEGER },
  minP: { min: 0, max: 1 },
  frequencyPenalty: { min: -2, max: 2 },
  presencePenalty: { min: -2, max: 2 },
  maxOutputTokens: { min: 1, max: Number.MAX_SAFE_INTEGER },
  choices: { min: 1, max: 128 },
  topLogprobs: { min: 0, max: 20 },
  dimensions: { min: 1, max: Number.MAX_SAFE_INTEGER },
} as const satisfies Readonly<Record<string, Bound>>;

/**
 * How long the lists and names of a request may be. OpenAI's bound on stop strings is 4; clients made for local models
 * send all of a chat template's, and Ollama takes any number.
 */
export const MAX_STOPS = 32;
export const MAX_TOOLS = 128;
export const MAX_EMBEDDING_INPUTS = 2048;
export const MAX_MODEL_NAME = 256;

/** The name of a tool or of a schema. */
export const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
export const NAME_RULE = '1 to 64 letters, digits, _ and -';
