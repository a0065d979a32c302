/**
 * The shapes of Ollama's native API. What the gateway sends is typed in full. What it receives is `unknown` field by
 * field: a backend may be old, broken or hostile, so nothing is believed before it has been looked at.
 */
import type { JsonObject } from '../../domain/chat.ts';

/** What the bodies of `POST /api/chat` and `POST /api/generate` share. */
export interface WireGeneration {
  readonly model: string;
  readonly stream: true;
  readonly truncate: false;
  readonly options?: WireOptions;
  readonly keep_alive?: number | string;
  readonly logprobs?: true;
  readonly top_logprobs?: number;
  readonly think?: boolean | 'low' | 'medium' | 'high' | 'max';
}

/** Body of `POST /api/chat`. */
export interface WireChatRequest extends WireGeneration {
  readonly messages: readonly WireMessage[];
  readonly tools?: readonly WireTool[];
  /** `json`, or a JSON Schema that the answer is held to. */
  readonly format?: 'json' | JsonObject;
}

/** Body of `POST /api/generate`, as far as it fills in the middle of a text. */
export interface WireGenerateRequest extends WireGeneration {
  readonly prompt: string;
  readonly suffix: string;
}

export interface WireMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
  readonly thinking?: string;
  /** Plain base64, without a `data:` prefix. */
  readonly images?: readonly string[];
  readonly tool_calls?: readonly {
    readonly id: string;
    readonly function: { readonly index: number; readonly name: string; readonly arguments: JsonObject };
  }[];
  readonly tool_name?: string;
  readonly tool_call_id?: string;
}

export interface WireTool {
  readonly type: 'function';
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters: JsonObject;
  };
}

export interface WireOptions {
  readonly num_predict?: number;
  readonly num_ctx?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly top_k?: number;
  readonly min_p?: number;
  readonly frequency_penalty?: number;
  readonly presence_penalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
}

/** Body of `POST /api/embed`. */
export interface WireEmbedRequest {
  readonly model: string;
  readonly input: readonly string[];
  readonly truncate: false;
  readonly dimensions?: number;
  readonly keep_alive?: number | string;
  readonly options?: Pick<WireOptions, 'num_ctx'>;
}

/** An object as it arrived. */
export type WireObject = Readonly<Record<string, unknown>>;

export function isWireObject(value: unknown): value is WireObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** More than any prompt or answer has, and far from where arithmetic on numbers becomes inexact. */
const LARGEST_COUNT = 1_000_000_000;

/** A token count, or `undefined` where it is absent or is not one. */
export function parseCount(value: unknown): number | undefined {
  const isCount =
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= LARGEST_COUNT;
  return isCount ? value : undefined;
}

const LONGEST_NANOSECONDS = 7 * 24 * 3600 * 1e9;

/** Nanoseconds as milliseconds, or `undefined` where they are absent or cannot be true. */
export function parseDurationMs(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && value <= LONGEST_NANOSECONDS ? value / 1e6 : undefined;
}
