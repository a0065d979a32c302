/**
 * The canonical request. Every protocol decodes into it and every provider encodes from it, so that N protocols and
 * M providers need N + M translators. Everything is readonly: a step that wants another request makes another one.
 */
export type InferenceRequest = ChatRequest | EmbeddingRequest;

export interface ChatRequest {
  readonly kind: 'chat';
  readonly model: string;
  /** At least one. */
  readonly messages: readonly Message[];
  /**
   * What comes after a gap: the answer is what belongs between the text of the only message, a user's, and this. Not
   * empty.
   */
  readonly suffix?: string;
  /** Empty when the model may call nothing. */
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  /** False: at most one call per answer. */
  readonly parallelToolCalls: boolean;
  readonly responseFormat: ResponseFormat;
  readonly sampling: Sampling;
  /** Absent: the model's own default. `none` switches thinking off. */
  readonly reasoningEffort?: ReasoningEffort;
  /** Absent: no log probabilities. `top` is 0 to 20 alternatives per token. */
  readonly logprobs?: { readonly top: number };
  /** How many independent answers, 1 to 128. */
  readonly choices: number;
  /** How long the backend is to keep the model in memory afterwards, in seconds: any wish, see `allowedKeepAlive`. */
  readonly keepAlive?: number;
}

export interface EmbeddingRequest {
  readonly kind: 'embedding';
  readonly model: string;
  /** At least one. */
  readonly inputs: readonly string[];
  /** Cut the vectors to this length, normalised again. */
  readonly dimensions?: number;
  readonly keepAlive?: number;
}

export type Message =
  | { readonly role: 'system'; readonly content: readonly TextPart[] }
  | { readonly role: 'user'; readonly content: readonly (TextPart | ImagePart)[] }
  | {
      readonly role: 'assistant';
      readonly content: readonly TextPart[];
      readonly reasoning?: string;
      readonly toolCalls: readonly ToolCall[];
    }
  | {
      readonly role: 'tool';
      readonly toolCallId: string;
      readonly content: readonly (TextPart | ImagePart)[];
    };

export interface TextPart {
  readonly type: 'text';
  readonly text: string;
}

/** An image as the bytes themselves, in base64. Nothing is ever fetched. */
export interface ImagePart {
  readonly type: 'image';
  readonly base64: string;
  readonly mediaType: string;
}

/** A call the model made. `arguments` is the JSON text of an object; in a request, whatever the caller has kept of it. */
export interface ToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

export interface Tool {
  readonly name: string;
  readonly description?: string;
  /** JSON Schema of the arguments object. */
  readonly parameters?: JsonObject;
}

export type ToolChoice =
  | { readonly type: 'auto' }
  | { readonly type: 'none' }
  /** Some tool must be called. */
  | { readonly type: 'required' }
  /** This tool must be called. */
  | { readonly type: 'tool'; readonly name: string };

export type ResponseFormat =
  | { readonly type: 'text' }
  /** Any JSON object. */
  | { readonly type: 'json' }
  | { readonly type: 'jsonSchema'; readonly name: string; readonly schema: JsonObject };

/** Absent values mean the model's own defaults. */
export interface Sampling {
  readonly maxOutputTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly frequencyPenalty?: number;
  readonly presencePenalty?: number;
  readonly seed?: number;
  /** Replaces the model's own stop strings. */
  readonly stop?: readonly string[];
}

export type ReasoningEffort = 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' | 'max';

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** The text of a message's text parts, joined without a separator as the parts of one message are one text. */
export function textOf(parts: readonly (TextPart | ImagePart)[]): string {
  let text = '';
  for (const part of parts) if (part.type === 'text') text += part.text;
  return text;
}
