import { describe, expect, test } from '@jest/globals';
import { decodeRunning, decodeShow, decodeTags } from '../../../src/providers/ollama/catalogue.ts';

const digest = '46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e';
const llama = {
  name: 'llama3.1:8b',
  model: 'llama3.1:8b',
  modified_at: '2026-09-01T10:00:00.123456789+02:00',
  size: 4920753328,
  digest,
  details: {
    parent_model: '',
    format: 'gguf',
    family: 'llama',
    families: null,
    parameter_size: '8.0B',
    quantization_level: 'Q4_K_M',
    context_length: 131072,
    embedding_length: 4096,
  },
  capabilities: ['completion', 'tools', 'telepathy'],
};

describe('a listing', () => {
  test('tells everything of a model, and only capabilities that are known', () => {
    expect(decodeTags({ models: [llama] })).toEqual([
      {
        complete: true,
        model: {
          id: 'llama3.1:8b',
          family: 'llama',
          parameterSize: '8.0B',
          quantization: 'Q4_K_M',
          contextLength: 131072,
          embeddingLength: 4096,
          capabilities: ['completion', 'tools'],
          digest,
          sizeBytes: 4920753328,
          modifiedAt: new Date('2026-09-01T08:00:00.123Z'),
        },
      },
    ]);
  });

  test('of an old server is incomplete', () => {
    const { capabilities: _, ...old } = llama;
    expect(decodeTags({ models: [old] })).toMatchObject([{ complete: false, model: { capabilities: [] } }]);
  });

  test('survives entries that are broken, in whole or in part', () => {
    const odd = { name: 'odd', size: -1, digest: 7, details: 'x', modified_at: 'never', capabilities: 'all' };
    const listed = decodeTags({ models: [null, {}, { name: 5 }, odd, { name: 'bare' }] });
    expect(listed.map(({ model }) => model)).toEqual([
      { id: 'odd', capabilities: [] },
      { id: 'bare', capabilities: [] },
    ]);
  });

  test('without models is empty, and what is no listing is an error', () => {
    expect(decodeTags({ models: null })).toEqual([]);
    expect(() => decodeTags({})).toThrow();
  });
});

test('the models in memory are known by their ids', () => {
  expect(decodeRunning({ models: [{ name: 'mistral:7b', size_vram: 1 }, { no: 'name' }] })).toEqual(
    new Set(['mistral:7b']),
  );
});

test('the context length of a model is its architecture’s own, not one that ends alike', () => {
  const shown = decodeShow({
    capabilities: ['completion'],
    model_info: {
      'general.architecture': 'phi3',
      'phi3.rope.scaling.original_context_length': 4096,
      'phi3.context_length': 131072,
      'phi3.embedding_length': 3072,
    },
  });
  expect(shown).toEqual({ capabilities: ['completion'], contextLength: 131072, embeddingLength: 3072 });
});
