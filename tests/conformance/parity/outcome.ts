/** What a request comes to, in words that belong to neither protocol. */
import type { InferenceRequest, ToolCall } from '../../../src/domain/chat.ts';
import type { ErrorCode } from '../../../src/domain/error.ts';
import type { LimitName } from '../../../src/domain/limit.ts';

/** A protocol, as far as a caller of chats and embeddings is concerned. */
export interface Driver {
  readonly protocol: 'rest' | 'graphql';
  ask(request: InferenceRequest, options: AskOptions): Promise<Outcome>;
}

export interface AskOptions {
  /** The value of the `Authorization` header; empty: none is sent. */
  readonly authorization: string;
  readonly form: Form;
  /** The caller leaves when it aborts; the outcome has nothing then. */
  readonly signal: AbortSignal;
  /** Called for each piece of text that a stream brings. */
  readonly onText: () => void;
}

/** How an answer comes: a chat as one or as a stream, vectors as numbers or as the bytes of these. */
export type Form = 'whole' | 'streamed' | 'numbers' | 'base64';

export interface Outcome {
  /** The id of the ledger's row; undefined where the caller is not told. */
  readonly id?: string;
  readonly chat?: ChatAnswer;
  readonly embeddings?: EmbeddingsAnswer;
  readonly failure?: Failure;
  /** The limits as the caller is shown them with the answer. */
  readonly limits?: Readonly<Record<string, { readonly limit: number; readonly remaining: number }>>;
}

export interface ChatAnswer {
  readonly model: string;
  readonly warnings: string;
  readonly choices: readonly ChoiceAnswer[];
  readonly usage: Readonly<Record<string, number | null>>;
  /** The names of the timings that were measured. */
  readonly measured: readonly string[];
}

export interface ChoiceAnswer {
  readonly text: string;
  readonly reasoning: string;
  readonly toolCalls: readonly ToolCall[];
  readonly finishReason: string | null;
  /** Each token with its log probability and alternatives, where they were asked for. */
  readonly logprobs: readonly unknown[] | null;
}

export interface EmbeddingsAnswer {
  readonly model: string;
  readonly warnings: string;
  readonly vectors: readonly (readonly number[])[];
  readonly usage: Readonly<Record<string, number | null>>;
}

export interface Failure {
  readonly code: ErrorCode;
  /** The field at fault, in the protocol's own terms. */
  readonly field?: string;
  readonly limitName?: LimitName;
  readonly retryAfterMs?: number;
}

/** The names of the fields that have a value, in camelCase whatever they were in. */
export function measuredNames(timings: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.entries(timings)
    .filter(([name, value]) => value !== null && value !== undefined && name !== '__typename')
    .map(([name]) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()))
    .sort();
}

/** Little-endian float32 in base64, as both protocols have vectors. */
export function decodeVector(base64: string): readonly number[] {
  const bytes = Buffer.from(base64, 'base64');
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
}
