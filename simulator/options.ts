import { ApiError } from './wire.ts';

/** The options a request may set, by the Go type they have. Others are ignored. */
const TYPES: Readonly<Record<string, 'integer' | 'float32' | 'boolean' | 'strings'>> = {
  num_predict: 'integer',
  num_keep: 'integer',
  seed: 'integer',
  top_k: 'integer',
  repeat_last_n: 'integer',
  num_ctx: 'integer',
  num_batch: 'integer',
  num_gpu: 'integer',
  main_gpu: 'integer',
  num_thread: 'integer',
  draft_num_predict: 'integer',
  temperature: 'float32',
  top_p: 'float32',
  min_p: 'float32',
  typical_p: 'float32',
  repeat_penalty: 'float32',
  presence_penalty: 'float32',
  frequency_penalty: 'float32',
  use_mmap: 'boolean',
  stop: 'strings',
};

/** Options that belong to the loaded model: with another value of one it is loaded again. */
const LAUNCH_OPTIONS = ['num_batch', 'num_gpu', 'main_gpu', 'use_mmap', 'num_thread', 'draft_num_predict'];

export interface Options {
  readonly numPredict: number;
  readonly stop: readonly string[];
  readonly seed: number | undefined;
  readonly contextLength: number;
  /** Equal for requests that can share a loaded model. */
  readonly launch: string;
}

const DEFAULT_CONTEXT_LENGTH = 4096;
const SMALLEST_CONTEXT_LENGTH = 4;

/** @throws ApiError 500, the status that a wrong option's type really has. */
export function decodeOptions(
  options: Readonly<Record<string, unknown>>,
  model: { readonly contextLength: number },
  shift: boolean,
): Options {
  const known: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (value === null || !Object.hasOwn(TYPES, name)) continue;
    known[name] = decodeOption(name, value);
  }
  const wanted = (known['num_ctx'] as number | undefined) ?? DEFAULT_CONTEXT_LENGTH;
  const contextLength = Math.min(Math.max(wanted, SMALLEST_CONTEXT_LENGTH), model.contextLength);
  return {
    numPredict: (known['num_predict'] as number | undefined) ?? -1,
    stop: (known['stop'] as readonly string[] | undefined) ?? [],
    seed: known['seed'] as number | undefined,
    contextLength,
    launch: JSON.stringify([contextLength, shift, ...LAUNCH_OPTIONS.map((name) => known[name] ?? null)]),
  };
}

function decodeOption(name: string, value: unknown): unknown {
  const wrong = (type: string) => new ApiError(500, `option "${name}" must be of ${type}`);
  switch (TYPES[name]) {
    case 'integer':
      if (typeof value !== 'number') throw wrong('type integer');
      return Math.trunc(value);
    case 'float32':
      if (typeof value !== 'number') throw wrong('type float32');
      return value;
    case 'boolean':
      if (typeof value !== 'boolean') throw wrong('type boolean');
      return value;
    default:
      if (!Array.isArray(value)) throw wrong('type array');
      if (!value.every((item) => typeof item === 'string')) throw wrong('an array of strings');
      return value;
  }
}
