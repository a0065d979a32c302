/** Token counts of one request. An unknown count is `undefined`, never 0: zero is a measurement, absence is not. */
export interface Usage {
  /** Tokens of the prompt, cached ones included. */
  readonly promptTokens?: number | undefined;
  /** Tokens the model produced, reasoning and tool calls included. */
  readonly completionTokens?: number | undefined;
  /** The part of `completionTokens` spent on reasoning. Ollama does not report it. */
  readonly reasoningTokens?: number | undefined;
  /** The part of `promptTokens` served from the backend's prompt cache. */
  readonly cachedTokens?: number | undefined;
  /** True where a count was made by the gateway because the backend reported none, as for an answer that was cut. */
  readonly estimated?: boolean | undefined;
}

/** Where the time of one request went, in milliseconds. Local models make these worth knowing. */
export interface Timings {
  /**
   * Waiting for a backend's place in the gateway, and for a slot at the backend: its total, less loading, reading the
   * prompt and generating.
   */
  readonly queueMs?: number | undefined;
  readonly loadMs?: number | undefined;
  readonly promptMs?: number | undefined;
  /** From the arrival of the request to its first event with text, reasoning or a tool call. */
  readonly firstTokenMs?: number | undefined;
  readonly totalMs?: number | undefined;
  /** Tokens per second while the model was generating. */
  readonly tokensPerSecond?: number | undefined;
}

/** Prompt and completion together, or `undefined` if neither is known. */
export function totalTokens(usage: Usage): number | undefined {
  if (usage.promptTokens === undefined && usage.completionTokens === undefined) return undefined;
  return (usage.promptTokens ?? 0) + (usage.completionTokens ?? 0);
}

const COUNTS = ['promptTokens', 'completionTokens', 'reasoningTokens', 'cachedTokens'] as const;

/** Adds counts up. A count is known in the sum if it is known in any part. */
export function sumUsage(parts: readonly Usage[]): Usage {
  const sum: { -readonly [K in keyof Usage]: Usage[K] } = {};
  for (const part of parts) {
    for (const count of COUNTS) {
      const value = part[count];
      if (value !== undefined) sum[count] = (sum[count] ?? 0) + value;
    }
    if (part.estimated) sum.estimated = true;
  }
  return sum;
}
