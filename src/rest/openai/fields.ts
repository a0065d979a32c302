import { z } from 'zod';
import { BOUNDS, type Bound, MAX_MODEL_NAME, MAX_STOPS, NAME, NAME_RULE } from '../../domain/bounds.ts';
import type { JsonObject } from '../../domain/chat.ts';
import { DURATION, KEEP_ALIVE } from '../../domain/keep-alive.ts';

/* What the parameters of several operations are made of. */

/** A number within the bounds that all protocols share. */
export const numberIn = ({ min, max }: Bound) => z.number().min(min).max(max);
export const intIn = ({ min, max }: Bound) => z.int().min(min).max(max);
/** Accepted whatever it is: a value that is not looked at cannot be wrong. */
export const inert = (description: string) => z.unknown().optional().describe(description);
/** Anything that JSON can say in an object: it has come out of a JSON parser, so only the outermost kind is in doubt. */
export const jsonObject = z.record(z.string(), z.unknown()).pipe(z.custom<JsonObject>());
/** The name of a tool or of a schema. */
export const declaredName = z.string().regex(NAME, `expected ${NAME_RULE}`);

export const model = z.string().min(1).max(MAX_MODEL_NAME);
export const maxTokens = intIn(BOUNDS.maxOutputTokens);
export const stop = z.union([z.string().min(1), z.array(z.string().min(1)).max(MAX_STOPS)]);
export const reasoningEffort = z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']);
export const keepAlive = z
  .union([z.number(), z.string().regex(DURATION, 'expected seconds as a number, or a duration such as 5m')])
  .describe(
    `Extension: how long the model stays in memory, in seconds or as \`5m\`. Outside of ${KEEP_ALIVE.min} to ` +
      `${KEEP_ALIVE.max} seconds it has no effect, with a warning.`,
  );

/** What a function says of itself, wherever an operation has it. */
export const functionFields = {
  name: declaredName,
  description: z.string().nullish(),
  parameters: jsonObject.nullish().describe('JSON Schema of the arguments object.'),
  strict: z.boolean().nullish(),
};

export const imageDetail = z.enum(['auto', 'low', 'high', 'original']);
export const IMAGE_RULE =
  'A `data:` URI with base64. Nothing is ever fetched, so http(s) addresses are refused.';

export const samplingFields = {
  temperature: numberIn(BOUNDS.temperature).nullish(),
  top_p: numberIn(BOUNDS.topP).nullish(),
  frequency_penalty: numberIn(BOUNDS.frequencyPenalty).nullish(),
  presence_penalty: numberIn(BOUNDS.presencePenalty).nullish(),
  seed: z.int().nullish(),
  stop: stop.nullish(),
  top_k: intIn(BOUNDS.topK).nullish().describe('Extension.'),
  min_p: numberIn(BOUNDS.minP).nullish().describe('Extension.'),
};

/** What they would do makes no difference to the answer. */
export const inertFields = {
  user: inert('Without effect.'),
  service_tier: inert('Without effect: there is one tier.'),
  safety_identifier: inert('Without effect.'),
  prompt_cache_key: inert('Without effect: the backend caches by itself.'),
  prompt_cache_retention: inert('Without effect.'),
  prompt_cache_options: inert('Without effect.'),
};

export interface KeepAliveField {
  readonly keep_alive?: z.output<typeof keepAlive> | null | undefined;
}

export type SamplingFields = { [K in keyof typeof samplingFields]?: z.output<(typeof samplingFields)[K]> };
