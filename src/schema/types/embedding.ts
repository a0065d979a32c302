import { BOUNDS, MAX_EMBEDDING_INPUTS } from '../../domain/bounds.ts';
import type { EmbeddingRequest } from '../../domain/chat.ts';
import { type EmbeddingResult, foldEmbedding } from '../../domain/result.ts';
import { builder } from '../builder.ts';
import { checkModel, decodeKeepAlive, within } from '../chat-request.ts';
import { ArgumentError } from '../errors.ts';
import { encodeNodeId } from '../ids.ts';
import { noteLimits } from '../limits.ts';
import { COMPLETION_ID } from './chat-answer.ts';
import { KEEP_ALIVE_SECONDS } from './chat-input.ts';
import { INFERENCE_ERRORS, resolveResult } from './error.ts';
import { TimingsType, TokenUsage } from './usage.ts';

interface IndexedVector {
  readonly index: number;
  readonly vector: readonly number[];
}

interface EmbeddingAnswer extends EmbeddingResult {
  readonly completionId: string;
}

/** What is long enough for its selections to be counted. */
const IS_VECTOR = { isVector: true };

const EmbeddingType = builder.objectRef<IndexedVector>('Embedding').implement({
  description: 'What the model makes of one text.',
  fields: (t) => ({
    index: t.exposeInt('index', { description: 'The place of the text in the input, from 0.' }),
    vector: t.expose('vector', {
      type: 'Vector',
      extensions: IS_VECTOR,
      description: 'The vector, as numbers.',
    }),
    base64: t.string({
      extensions: IS_VECTOR,
      description:
        'The same in base64, as little-endian 32-bit floating-point numbers: four bytes a dimension, a third of the size.',
      resolve: ({ vector }) => encodeBase64(vector),
    }),
  }),
});

const Embeddings = builder.objectRef<EmbeddingAnswer>('Embeddings').implement({
  description: 'Vectors for texts.',
  fields: (t) => ({
    completionId: t.exposeID('completionId', { description: COMPLETION_ID }),
    model: t.exposeString('model', { description: 'The full name of the model that answered.' }),
    warnings: t.exposeStringList('warnings', {
      description: 'What was asked for and could not be honoured, one sentence each.',
    }),
    data: t.field({
      type: [EmbeddingType],
      description: 'One for each text, in their order.',
      resolve: ({ vectors }) => vectors.map((vector, index) => ({ vector, index })),
    }),
    usage: t.expose('usage', { type: TokenUsage, description: 'What it took, in tokens.' }),
    timings: t.expose('timings', { type: TimingsType, description: 'Where the time went.' }),
  }),
});

const EmbeddingsResult = builder.unionType('EmbeddingsResult', {
  description: 'Vectors for texts, or why there are none.',
  types: [Embeddings, ...INFERENCE_ERRORS],
  resolveType: resolveResult('Embeddings'),
});

const EmbeddingsInput = builder.inputType('EmbeddingsInput', {
  description: 'Texts to be turned into vectors.',
  fields: (t) => ({
    model: t.string({
      required: true,
      description: 'The name of the model. Without a tag, `:latest` is meant.',
    }),
    input: t.stringList({
      required: true,
      description: `The texts: 1 to ${MAX_EMBEDDING_INPUTS}, none empty.`,
    }),
    dimensions: t.int({
      description: 'Cuts the vectors to this length, at least 1, and normalises them again.',
    }),
    keepAliveSeconds: t.float({
      description: KEEP_ALIVE_SECONDS,
    }),
  }),
});

builder.mutationField('createEmbeddings', (t) =>
  t.field({
    type: EmbeddingsResult,
    scope: 'embeddings',
    metered: true,
    description: 'Turns texts into vectors.',
    args: { input: t.arg({ type: EmbeddingsInput, required: true, description: 'The texts.' }) },
    resolve: async (_root, { input }, context) => {
      const { gateway, principal, requestId, signal } = context;
      const request = decodeEmbeddings(input);
      const exchange = gateway.embed(request, {
        principal,
        requestId,
        protocol: 'graphql',
        operation: 'embedding',
        streamed: false,
        signal,
      });
      try {
        const result = await foldEmbedding(exchange.events);
        return { ...result, completionId: encodeNodeId('Request', exchange.id) };
      } finally {
        noteLimits(exchange, context);
      }
    },
  }),
);

/** @throws ArgumentError. */
function decodeEmbeddings(input: typeof EmbeddingsInput.$inferInput): EmbeddingRequest {
  const { length } = input.input;
  if (length === 0 || length > MAX_EMBEDDING_INPUTS) {
    throw new ArgumentError('input.input', `input.input must have 1 to ${MAX_EMBEDDING_INPUTS} texts.`);
  }
  const empty = input.input.indexOf('');
  if (empty >= 0) {
    throw new ArgumentError(`input.input[${empty}]`, `input.input[${empty}] must not be empty.`);
  }
  const dimensions = within('dimensions', input.dimensions, BOUNDS.dimensions);
  return {
    kind: 'embedding',
    model: checkModel(input.model),
    inputs: input.input,
    ...(dimensions !== undefined && { dimensions }),
    ...decodeKeepAlive(input.keepAliveSeconds),
  };
}

function encodeBase64(vector: readonly number[]): string {
  const bytes = Buffer.allocUnsafe(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}
