import { z } from 'zod';
import type { Capability, Model } from '../../domain/model.ts';

const CAPABILITIES = [
  'completion',
  'tools',
  'thinking',
  'vision',
  'embedding',
  'insert',
  'audio',
  'image',
] as const satisfies readonly Capability[];

const name = z.string().min(1).max(512);
const text = z.string().max(512).optional().catch(undefined);
const count = z.int().nonnegative().optional().catch(undefined);
/** Those the gateway knows. Absent before 0.30 in listings, before 0.6.4 altogether. */
const capabilities = z
  .array(z.unknown())
  .transform((list) => CAPABILITIES.filter((capability) => list.includes(capability)))
  .optional()
  .catch(undefined);

const listed = z.object({
  name,
  modified_at: z.string().pipe(z.coerce.date()).optional().catch(undefined),
  size: count,
  digest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional()
    .catch(undefined),
  details: z
    .object({
      family: text,
      parameter_size: text,
      quantization_level: text,
      context_length: count,
      embedding_length: count,
    })
    .catch({}),
  capabilities,
});

const list = z.object({ models: z.array(z.unknown()).nullable() });
const shown = z.object({ capabilities, model_info: z.record(z.string(), z.unknown()).catch({}) });
const running = z.object({ name });

/** What `/api/show` knows beyond a listing of an older server. */
export interface ModelDetails {
  readonly capabilities: readonly Capability[];
  readonly contextLength?: number;
  readonly embeddingLength?: number;
}

export interface ListedModel {
  readonly model: Model;
  /** False where the listing is of a server that tells capabilities only one model at a time. */
  readonly complete: boolean;
}

/**
 * The models of `/api/tags`. An entry that cannot be read is left out, as one broken model must not hide the others.
 * @throws ZodError where the answer is no list at all.
 */
export function decodeTags(answer: unknown): readonly ListedModel[] {
  return (list.parse(answer).models ?? []).flatMap((entry) => {
    const { success, data } = listed.safeParse(entry);
    if (!success) return [];
    const { details } = data;
    const model: Model = {
      id: data.name,
      capabilities: data.capabilities ?? [],
      ...(details.family && { family: details.family }),
      ...(details.parameter_size && { parameterSize: details.parameter_size }),
      ...(details.quantization_level && { quantization: details.quantization_level }),
      ...(details.context_length && { contextLength: details.context_length }),
      ...(details.embedding_length && { embeddingLength: details.embedding_length }),
      ...(data.digest && { digest: data.digest }),
      ...(data.size !== undefined && { sizeBytes: data.size }),
      ...(data.modified_at && { modifiedAt: data.modified_at }),
    };
    return [{ model, complete: data.capabilities !== undefined }];
  });
}

/** The ids in `/api/ps`. @throws ZodError where the answer is no list at all. */
export function decodeRunning(answer: unknown): ReadonlySet<string> {
  const entries = list.parse(answer).models ?? [];
  return new Set(
    entries.flatMap((entry) => {
      const { success, data } = running.safeParse(entry);
      return success ? [data.name] : [];
    }),
  );
}

/** The answer of `/api/show`. @throws ZodError where it is none. */
export function decodeShow(answer: unknown): ModelDetails {
  const { capabilities: known, model_info: info } = shown.parse(answer);
  // The key must be exact: phi3 has `phi3.rope.scaling.original_context_length` beside `phi3.context_length`.
  const architecture = info['general.architecture'];
  const contextLength = count.parse(info[`${architecture}.context_length`]);
  const embeddingLength = count.parse(info[`${architecture}.embedding_length`]);
  return {
    capabilities: known ?? [],
    ...(contextLength && { contextLength }),
    ...(embeddingLength && { embeddingLength }),
  };
}
